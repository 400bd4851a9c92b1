"""Agreement with the reference implementations: 2e-5 forward, 2e-4 gradients."""

from pathlib import Path

import pytest
import torch

from dynconv import DynamicConv2d, KernelAttention
from dynconv.functional import METHODS, dynamic_conv, softmax_temperature

GOLDENS = Path(__file__).parent / "goldens"


def load(name):
    return {k: v for k, v in torch.load(GOLDENS / name, weights_only=True).items() if not k.startswith("__")}


def direction(y):
    return torch.linspace(-1, 1, y.numel()).reshape(y.shape)


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("case", load("dynamic_conv2d.pt"))
def test_dynamic_conv2d(case, method):
    golden = load("dynamic_conv2d.pt")[case]
    state, config = golden["state_dict"], golden["config"]
    num_kernels, out, channels = state["weight"].shape[:3]
    groups = config.get("groups", 1)
    options = {k: config[k] for k in ("stride", "padding", "dilation") if k in config}
    # the reference's hidden width is whatever its stored shapes say
    attention = KernelAttention(
        channels * groups,
        num_kernels,
        hidden_channels=len(state["attention.fc1.weight"]),
        temperature=golden["temperature"],
    )
    layer = DynamicConv2d(
        channels * groups, out, state["weight"].shape[3:], groups=groups, bias="bias" in state,
        num_kernels=num_kernels, attention=attention, method=method, **options,
    )  # fmt: skip
    loaded = layer.load_state_dict(state, strict=False)  # its file holds no temperature
    assert (loaded.missing_keys, loaded.unexpected_keys) == (["attention.temperature"], [])
    x = golden["x"].clone().requires_grad_()
    y = layer(x)
    torch.testing.assert_close(layer.attention.logits(x), golden["logits"], atol=2e-5, rtol=0)
    torch.testing.assert_close(layer.attention(x), golden["attention"], atol=2e-5, rtol=0)
    torch.testing.assert_close(y, golden["y"], atol=2e-5, rtol=0)
    (y * direction(y)).sum().backward()
    gradients = {"x": x.grad, **{name: p.grad for name, p in layer.named_parameters()}}
    expected = {k: v for k, v in golden["grads"].items() if k != "loss"}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name].reshape(gradient.shape), atol=2e-4, rtol=0, msg=name)


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("case", load("cond_conv2d.pt"))
def test_cond_conv2d(case, method):
    golden = load("cond_conv2d.pt")[case]
    config, state = golden["config"], golden["state_dict"]
    leaves = {"x": golden["x"], "weight": state["weight"], "bias": state["bias"]}
    leaves = {
        k: v.clone().requires_grad_() for k, v in {**leaves, "routing_weights": golden["routing_weights"]}.items()
    }
    options = {k: config[k] for k in ("stride", "padding", "dilation", "groups")}
    weight = leaves["weight"].reshape(config["K"], *config["weight_shape"])
    y = dynamic_conv(leaves["x"], weight, leaves["routing_weights"], leaves["bias"], **options, method=method)
    torch.testing.assert_close(y, golden["y"], atol=2e-5, rtol=0)
    (y * direction(y)).sum().backward()
    for name, leaf in leaves.items():
        torch.testing.assert_close(leaf.grad, golden["grads"][name], atol=2e-4, rtol=0, msg=name)


def test_temperature():
    golden = load("temperature.pt")
    for i, temperature in enumerate(golden["T"]):
        pi = softmax_temperature(golden["logits"], float(temperature))
        torch.testing.assert_close(pi, golden["softmax"][i], atol=2e-5, rtol=0)
        torch.testing.assert_close(-(pi * pi.log()).sum(-1), golden["entropy_nats"][i], atol=2e-5, rtol=0)

"""CondConv2d: timm's layer where both exist, given and computed weights, and every error."""

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from dynconv import CondConv2d
from dynconv.functional import METHODS
from dynconv.probe import intervene, record

GOLDEN = torch.load(Path(__file__).parents[1] / "goldens/cond_conv2d.pt", weights_only=True)


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_reference_values_from_its_flat_checkpoint(method):
    golden = GOLDEN["3x3_sym_pad"]
    layer = CondConv2d(8, 6, 3, padding=1, num_kernels=4, method=method)
    missing = layer.load_state_dict(golden["state_dict"], strict=False)
    assert missing.missing_keys == ["attention.fc.weight", "attention.fc.bias"]
    x, weights = golden["x"].clone().requires_grad_(), golden["routing_weights"].clone().requires_grad_()
    y = layer(x, weights)
    torch.testing.assert_close(y, golden["y"], atol=2e-5, rtol=0)
    direction = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
    (y * direction).sum().backward()
    got = {"x": x.grad, "routing_weights": weights.grad, "weight": layer.weight.grad, "bias": layer.bias.grad}
    for name, gradient in got.items():
        expected = golden["grads"][name].reshape(gradient.shape)
        torch.testing.assert_close(gradient, expected, atol=2e-4, rtol=0, msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
        {"kernel_size": 1, "bias": False},
        {"kernel_size": (3, 5), "padding": (1, 2)},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "padding": "same", "stride": 2},  # asymmetric, by the size of the input
        {"kernel_size": (2, 5), "padding": "same", "stride": (3, 2), "dilation": (2, 1)},
    ],
    ids=str,
)
@pytest.mark.parametrize("num_kernels", [1, 5])
def test_timms_layer_on_further_geometries(options, num_kernels):
    options = {"bias": True, **options}
    theirs = timm.layers.CondConv2d(8, 6, num_experts=num_kernels, **options)
    ours = CondConv2d(8, 6, num_kernels=num_kernels, **options)
    ours.load_state_dict(theirs.state_dict(), strict=False)
    x, weights = torch.randn(3, 8, 9, 7), torch.randn(3, num_kernels)
    torch.testing.assert_close(ours(x, weights), theirs(x, weights), atol=2e-5, rtol=1e-5)


def test_computed_weights_are_one_linear_layer_and_a_sigmoid():
    layer, x = CondConv2d(8, 6, 3, num_kernels=3).double(), torch.randn(2, 8, 9, 7, dtype=torch.float64)
    weights = torch.sigmoid(x.mean((2, 3)) @ layer.attention.fc.weight.T + layer.attention.fc.bias)
    rows = [
        nn.functional.conv2d(
            x[b : b + 1], torch.einsum("k,k...->...", weights[b], layer.weight), weights[b] @ layer.bias
        )
        for b in range(2)
    ]
    torch.testing.assert_close(layer(x), torch.cat(rows))
    torch.testing.assert_close(layer(x), layer(x, weights))
    torch.testing.assert_close(layer(x[0]), layer(x)[0])
    torch.testing.assert_close(layer(x[0], weights[0]), layer(x)[0])
    assert torch.autograd.gradcheck(layer, x[:1, :, :4, :4].clone().requires_grad_())


def test_a_probe_sees_and_replaces_weights_given_or_computed():
    layer, x, weights = CondConv2d(8, 6, 3, num_kernels=3), torch.randn(2, 8, 9, 7), torch.randn(2, 3)
    for arguments in ((x,), (x, weights)):
        with record(layer) as seen:
            y = layer(*arguments)
        used = seen["attention"].weights
        assert torch.equal(used, weights if len(arguments) == 2 else layer.attention(x))
        with intervene(layer, "shuffled"):
            shuffled = layer(*arguments)
        torch.testing.assert_close(shuffled, layer(x, used.flip(0)))
        assert not torch.allclose(shuffled, y)


def test_errors():
    layer, x = CondConv2d(8, 6, 3, num_kernels=3), torch.randn(2, 8, 9, 7)
    for build, message in (
        (lambda: layer(x, torch.ones(2, 4)), r"attention must be \(B, K\) = \(2, 3\).*got \(2, 4\)"),
        (lambda: layer(x, torch.ones(3)), r"got \(3,\)"),
        (lambda: layer(x[:, :5]), r"CondConv2d expects \(B, 8, H, W\).*got \(2, 5, 9, 7\)"),
        (lambda: CondConv2d(8, 6, 3, num_kernels=0), "num_kernels must be an integer of at least 1, got 0"),
        (lambda: CondConv2d(8, 6, 3, method="fft"), "got 'fft'"),
    ):
        with pytest.raises(ValueError, match=message):
            build()
    with pytest.raises(TypeError, match=r"got torch\.int64"):
        layer(x.long())

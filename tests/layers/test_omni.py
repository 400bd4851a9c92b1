"""ODConv2d: its formula, image by image and factor by factor; every geometry; its own exceptions."""

import pytest
import torch
from torch import nn

from dynconv import ODConv2d, OmniAttention
from dynconv.probe import intervene, record
from dynconv.surgery import fold, set_temperature

GEOMETRIES = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (3, 1), "stride": 2, "groups": 2},
    {"kernel_size": 3, "padding": "same", "dilation": 2, "padding_mode": "reflect"},
    {"kernel_size": 1, "bias": False},
    {"kernel_size": 3, "groups": 6},
    {"kernel_size": 3, "num_kernels": 1},
]


def by_the_formula(layer, x):
    """Scale the input's channels, mix and scale the kernel, convolve, scale the output's channels: as the paper draws it."""
    attention, rows = layer.attention, []
    h = nn.functional.linear(x.mean((2, 3)), attention.fc.weight)
    norm = attention.norm
    h = torch.relu((h - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps) * norm.weight + norm.bias)
    z = {
        over: nn.functional.linear(h, head.fc.weight, head.fc.bias) / attention.temperature
        for over, head in attention.heads.items()
    }
    b, one = len(x), x.new_ones(len(x), 1)
    kernels = torch.softmax(z["kernels"], 1) if "kernels" in z else one
    channels = torch.sigmoid(z["channels"])
    filters = torch.sigmoid(z["filters"]) if "filters" in z else one.expand(b, layer.out_channels)
    taps = torch.sigmoid(z["taps"]) if "taps" in z else one
    plain = nn.Conv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, bias=False, dtype=x.dtype, **layer.geometry()
    )
    for i in range(b):
        kernel = torch.einsum("k,k...->...", kernels[i], layer.weight) * taps[i].reshape(
            -1, *layer.kernel_size if taps.shape[1] > 1 else (1, 1)
        )
        y = torch.func.functional_call(plain, {"weight": kernel}, (x[i : i + 1] * channels[i][:, None, None],))
        y = y * filters[i][:, None, None]
        rows.append(y if layer.bias is None else y + (kernels[i] @ layer.bias)[:, None, None])
    return torch.cat(rows)


def a_layer(method="auto", temperature=0.7, **options):
    layer = ODConv2d(6, 6, **options, method=method, temperature=temperature).double().eval()
    for p in layer.attention.parameters():  # biases too
        nn.init.normal_(p)
    nn.init.uniform_(layer.attention.norm.running_mean)
    return layer


@pytest.mark.parametrize("method", ["auto", "grouped", "unfold"])
@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
def test_values_and_gradients_are_the_formulas(options, method):
    layer = a_layer(method, **options)
    x = torch.randn(3, 6, 9, 8, dtype=torch.float64, requires_grad=True)
    y, expected = layer(x), by_the_formula(layer, x)
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    leaves = [x, *layer.parameters()]
    torch.testing.assert_close(y, expected)
    ours, theirs = (torch.autograd.grad((out * direction).sum(), leaves) for out in (y, expected))
    torch.testing.assert_close(ours, theirs)


def test_heads_that_would_repeat_another_are_left_out():
    assert set(OmniAttention(6, 6, taps=9).heads) == {"kernels", "channels", "filters", "taps"}
    assert "taps" not in ODConv2d(6, 6, 1).attention.heads
    assert "filters" not in ODConv2d(6, 6, 3, groups=6).attention.heads
    assert "kernels" not in ODConv2d(6, 6, 3, num_kernels=1).attention.heads


def test_training_on_one_image_and_on_none():
    layer = ODConv2d(6, 4, 3).train()  # the official layer's batch norm refuses one image
    x = torch.randn(1, 6, 8, 8)
    before = layer.attention.norm.running_mean.clone()
    layer(x).sum().backward()
    assert torch.equal(layer.attention.norm.running_mean, before)
    torch.testing.assert_close(layer(x), layer.eval()(x))
    assert layer.train()(x[:0]).shape == (0, 4, 6, 6)
    layer(torch.randn(4, 6, 8, 8))
    assert not torch.equal(layer.attention.norm.running_mean, before)


def test_each_of_the_four_is_seen_and_replaced():
    layer, x = a_layer(kernel_size=3), torch.randn(3, 6, 8, 8, dtype=torch.float64)
    with record(layer) as seen:
        y = layer(x)
    shapes = {r.over: tuple(r.weights.shape) for r in seen.values()}
    assert shapes == {"kernels": (3, 4), "channels": (3, 6), "filters": (3, 6), "taps": (3, 9)}
    for name in seen:
        with intervene(layer, "shuffled", layers=name):
            assert not torch.allclose(layer(x), y)


def test_it_folds_at_frozen_attentions():
    layer, x = a_layer(kernel_size=3, padding=1), torch.randn(3, 6, 8, 8, dtype=torch.float64)
    with record(layer) as seen:
        layer(x)
    frozen = {r.over: r.weights.mean(0) for r in seen.values()}
    plain = fold(nn.Sequential(layer), {"0": frozen})
    with intervene(layer, "frozen"):
        torch.testing.assert_close(plain(x), layer(x))
    assert type(plain[0]) is nn.Conv2d
    assert isinstance(fold(nn.Sequential(layer), "uniform")[0], ODConv2d)
    with pytest.raises(ValueError, match=r"must be for \['channels', 'filters', 'kernels', 'taps'\], got \['taps'\]"):
        fold(nn.Sequential(layer), {"0": {"taps": torch.ones(9)}})
    with pytest.raises(ValueError, match=r"taps of '0' must be \(9,\), got \(4,\)"):
        fold(nn.Sequential(layer), {"0": {**frozen, "taps": torch.ones(4)}})


def test_temperature_travels_and_errors_name_the_value():
    layer = ODConv2d(6, 4, 3)
    assert set_temperature(layer, 5.0) == 1
    other = ODConv2d(6, 4, 3)
    other.load_state_dict(layer.state_dict())
    assert other.attention.temperature == 5
    for options, message in (
        ({"temperature": 0}, "above 0, got 0"),
        ({"temperature": float("nan")}, "above 0, got nan"),
        ({"reduction": 0}, "reduction must be an integer of at least 1, got 0"),
        ({"min_hidden": 0}, "min_hidden must be an integer of at least 1, got 0"),
        ({"num_kernels": 0}, "num_kernels must be an integer of at least 1, got 0"),
        ({"method": "outputs"}, "got 'outputs'"),
    ):
        with pytest.raises(ValueError, match=message):
            ODConv2d(6, 4, 3, **options)
    with pytest.raises(ValueError, match=r"ODConv2d expects \(B, 6, H, W\)"):
        layer(torch.zeros(2, 5, 8, 8))
    with pytest.raises(TypeError, match="floating point"):
        layer(torch.zeros(2, 6, 8, 8, dtype=torch.uint8))


def authors_layer(state, x, kernel_size, num_kernels, temperature=1.0):
    """What the authors' code does with its own names, image by image; their convolutions have no bias."""
    z = {name.removeprefix("attention."): t for name, t in state.items()}
    h = nn.functional.conv2d(x.mean((2, 3), keepdim=True), z["fc.weight"])
    h = torch.relu(
        nn.functional.batch_norm(h, *(z[f"bn.{n}"] for n in ("running_mean", "running_var", "weight", "bias")))
    )
    score = {
        n: nn.functional.conv2d(h, z[f"{n}_fc.weight"], z[f"{n}_fc.bias"])[..., 0, 0] / temperature
        for n in ("channel", "filter", "spatial", "kernel")
        if f"{n}_fc.weight" in z
    }
    rows = []
    for b in range(len(x)):
        gate = {n: torch.sigmoid(s[b]) for n, s in score.items()}
        kernel = (
            torch.einsum("k,k...->...", torch.softmax(score["kernel"][b], 0), z["weight"])
            if num_kernels > 1
            else z["weight"][0]
        )
        kernel = kernel * gate["spatial"].reshape(kernel_size, kernel_size) if "spatial" in gate else kernel
        rows.append(
            nn.functional.conv2d(x[b : b + 1] * gate["channel"][:, None, None], kernel) * gate["filter"][:, None, None]
        )
    return torch.cat(rows)  # fmt: skip


@pytest.mark.parametrize(("kernel_size", "num_kernels"), [(3, 4), (1, 4), (3, 1)])
def test_checkpoints_of_the_authors_compute_what_theirs_do(kernel_size, num_kernels):
    counts = {"channel": 6, "filter": 5, "spatial": kernel_size**2, "kernel": num_kernels}
    state = {
        "weight": torch.randn(num_kernels, 5, 6, kernel_size, kernel_size),
        "attention.fc.weight": torch.randn(16, 6, 1, 1),
    }
    state |= {f"attention.bn.{n}": torch.rand(16) + 0.5 for n in ("weight", "bias", "running_mean", "running_var")}
    for n, count in counts.items():
        if count > 1:
            state |= {
                f"attention.{n}_fc.weight": torch.randn(count, 16, 1, 1),
                f"attention.{n}_fc.bias": torch.randn(count),
            }
    layer = ODConv2d(6, 5, kernel_size, num_kernels=num_kernels, bias=False).eval()
    loaded = nn.ModuleDict({"conv": layer}).load_state_dict({f"conv.{n}": t for n, t in state.items()}, strict=False)
    assert not loaded.unexpected_keys
    assert loaded.missing_keys == ["conv.attention.temperature"]
    x = torch.randn(3, 6, 8, 7)
    torch.testing.assert_close(layer(x), authors_layer(state, x, kernel_size, num_kernels), atol=1e-5, rtol=1e-4)

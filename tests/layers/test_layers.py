"""StaticMixConv*, KernelAttention, DynamicConv*: identities, state, and everyday use."""

import copy
import inspect
import io
import math

import pytest
import torch
from torch import nn

from dynconv import (
    CondConv2d,
    DynamicConv1d,
    DynamicConv2d,
    DynamicConv3d,
    KernelAttention,
    ODConv2d,
    StaticMixConv1d,
    StaticMixConv2d,
    StaticMixConv3d,
)

STATIC = {1: StaticMixConv1d, 2: StaticMixConv2d, 3: StaticMixConv3d}
DYNAMIC = {1: DynamicConv1d, 2: DynamicConv2d, 3: DynamicConv3d}
PLAIN = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
GEOMETRIES = [
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "padding": "same", "dilation": 2},
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": 2, "padding": 1, "padding_mode": "circular", "bias": False},
    {"kernel_size": 1},
]


def an_input(n):
    return torch.randn(2, 4, *(9, 8, 7)[:n], dtype=torch.float64)


def assert_same_gradients(layer, reference_output, x):
    """Gradients of every parameter and of x, against those of an independent expression."""
    y = layer(x)
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    leaves = [x, *layer.parameters()]
    ours = torch.autograd.grad((y * direction).sum(), leaves)
    torchs = torch.autograd.grad((reference_output * direction).sum(), leaves)
    torch.testing.assert_close(y, reference_output)
    torch.testing.assert_close(ours, torchs)


# -------------------------------------------------------------------------------------------------------- static mix


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_static_mix_is_the_questions_sum_and_folds(n, geometry):
    layer = STATIC[n](4, 6, **geometry, num_kernels=3, temperature=2.0, dtype=torch.float64)
    nn.init.normal_(layer.attention.logits)
    x = an_input(n).requires_grad_()
    weights = torch.softmax(layer.attention.logits / 2.0, dim=0)  # K convolutions, softmax of K numbers, weighted sum
    outputs = []
    for k in range(3):
        one = PLAIN[n](4, 6, **geometry, dtype=torch.float64)
        parameters = {"weight": layer.weight[k]} | ({} if layer.bias is None else {"bias": layer.bias[k]})
        outputs.append(torch.func.functional_call(one, parameters, x))
    assert_same_gradients(layer, sum(w * y for w, y in zip(weights, outputs, strict=True)), x)
    folded = layer.fold()
    assert type(folded) is PLAIN[n]
    torch.testing.assert_close(folded(x), layer(x))


def test_static_mix_has_no_path_from_the_image_to_its_weights():
    layer, x = StaticMixConv2d(4, 6, 3), torch.randn(1, 4, 8, 8, requires_grad=True)
    layer(x)
    assert torch.autograd.grad(layer.attention().sum(), x, allow_unused=True) == (None,)


# --------------------------------------------------------------------------------------------------------- attention


@pytest.mark.parametrize("temperature", [1.0, 30.0])
def test_kernel_attention_is_its_formula(temperature):
    layer = KernelAttention(8, 3, temperature=temperature, dtype=torch.float64)
    x = torch.randn(5, 8, 4, 6, dtype=torch.float64, requires_grad=True)
    squeezed = x.mean((2, 3))
    logits = torch.relu(squeezed @ layer.fc1.weight.T) @ layer.fc2.weight.T + layer.fc2.bias
    assert_same_gradients(layer, torch.softmax(logits / temperature, dim=1), x)
    torch.testing.assert_close(layer(x).sum(1), torch.ones(5, dtype=torch.float64))  # over kernels, not the batch
    torch.testing.assert_close(layer(x)[1:2], layer(x[1:2]))


def test_sigmoid_attention_needs_not_sum_to_one():
    layer, x = KernelAttention(8, 3, temperature=1.0, activation="sigmoid"), torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(layer(x), torch.sigmoid(layer.logits(x)))


def test_hidden_width():
    assert KernelAttention(16).fc1.weight.shape == (4, 16)
    assert KernelAttention(3).fc1.weight.shape == (1, 3)
    assert KernelAttention(16, hidden_channels=5).fc1.weight.shape == (5, 16)


# ----------------------------------------------------------------------------------------------------------- dynamic


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_dynamic_conv_is_one_plain_conv_an_image(n, geometry):
    layer = DYNAMIC[n](4, 6, **geometry, num_kernels=3, temperature=0.5, dtype=torch.float64)
    x = an_input(n).requires_grad_()
    attention, rows = layer.attention(x), []
    for b in range(len(x)):
        one = PLAIN[n](4, 6, **geometry, dtype=torch.float64)
        parameters = {"weight": torch.einsum("k,k...->...", attention[b], layer.weight)}
        if layer.bias is not None:
            parameters["bias"] = attention[b] @ layer.bias
        rows.append(torch.func.functional_call(one, parameters, x[b : b + 1]))
    assert_same_gradients(layer, torch.cat(rows), x)


def test_one_kernel_is_the_plain_convolution():
    layer, plain = DynamicConv2d(4, 6, 3, num_kernels=1), nn.Conv2d(4, 6, 3)
    plain.load_state_dict({"weight": layer.weight[0].detach(), "bias": layer.bias[0].detach()})
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(layer(x), plain(x), atol=1e-5, rtol=1e-4)


def test_very_hot_is_the_mean_kernel():
    layer, x = DynamicConv2d(4, 6, 3, temperature=1e8), torch.randn(2, 4, 8, 8)
    mean = torch.nn.functional.conv2d(x, layer.weight.mean(0), layer.bias.mean(0))
    torch.testing.assert_close(layer(x), mean, atol=1e-5, rtol=1e-4)


def test_batches_of_none_and_images_without_a_batch():
    layer, x = DynamicConv2d(4, 6, 3), torch.randn(2, 4, 8, 8)
    assert layer(x[:0]).shape == (0, 6, 6, 6)
    torch.testing.assert_close(layer(x[0]), layer(x)[0], atol=1e-5, rtol=1e-4)
    assert StaticMixConv2d(4, 6, 3)(x[0]).shape == (6, 6, 6)


def test_another_attention():
    class Fixed(nn.Module):
        def forward(self, x):
            return x.new_tensor([[1.0, 0.0], [0.0, 2.0]])

    layer, x = DynamicConv2d(4, 6, 3, num_kernels=2, bias=False, attention=Fixed()), torch.randn(2, 4, 8, 8)
    expected = [torch.nn.functional.conv2d(x[b : b + 1], (b + 1) * layer.weight[b]) for b in range(2)]
    torch.testing.assert_close(layer(x), torch.cat(expected), atol=1e-5, rtol=1e-4)


# --------------------------------------------------------------------------------------------- state, initialisation


@pytest.mark.parametrize("layer", [StaticMixConv2d(4, 6, 3), DynamicConv2d(4, 6, 3)], ids=["static", "dynamic"])
def test_a_checkpoint_keeps_the_temperature(layer):
    layer = copy.deepcopy(layer)
    buffer = next(b for name, b in layer.named_buffers() if name.endswith("temperature"))
    buffer.fill_(7.0)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = type(layer)(4, 6, 3)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert next(b for name, b in other.named_buffers() if name.endswith("temperature")) == 7.0
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(other(x), layer(x))


@pytest.mark.parametrize("family", [StaticMixConv2d, DynamicConv2d])
def test_each_kernel_is_drawn_as_conv2d_draws_its_own(family):
    layer = family(16, 64, 3, num_kernels=4)
    bound = 1 / math.sqrt(16 * 9)  # torch's bound for weights and biases, from the fan-in of one kernel
    for values in (*layer.weight, *layer.bias):
        assert 0.85 * bound < values.abs().max() <= bound


@pytest.mark.parametrize("family", [StaticMixConv2d, DynamicConv2d])
def test_double_backward_half_precision_and_channels_last(family):
    layer = family(4, 6, 3, padding=1)
    x = torch.randn(2, 4, 8, 8)
    expected = layer(x)
    torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last)), expected, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), expected, atol=0.1, rtol=0.1)
    layer.double()
    assert torch.autograd.gradgradcheck(layer, torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True))


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("family", [StaticMixConv2d, DynamicConv2d])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_kernels": 0}, "num_kernels must be an integer of at least 1, got 0"),
        ({"num_kernels": 2.5}, "got 2.5"),
        ({"temperature": -1.0}, "temperature must be a finite number above 0, got -1.0"),
        ({"temperature": 0}, "above 0, got 0"),
        ({"temperature": math.nan}, "got nan"),
        ({"groups": 3}, "in_channels must be divisible by groups=3, got 4"),
        ({"in_channels": 0}, "in_channels must be an integer of at least 1, got 0"),
        ({"kernel_size": (3, 3, 3)}, r"kernel_size must be one or 2 integers of at least 1, got \(3, 3, 3\)"),
        ({"padding": -1}, "padding must be one or 2 integers of at least 0, got -1"),
        ({"padding_mode": "mirror"}, "got 'mirror'"),
    ],
)
def test_bad_arguments(family, changes, message):
    with pytest.raises(ValueError, match=message):
        family(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3, **changes})


@pytest.mark.parametrize("family", [StaticMixConv2d, DynamicConv2d])
def test_bad_inputs(family):
    layer = family(4, 6, 3)
    with pytest.raises(
        ValueError, match=rf"{family.__name__} expects \(B, 4, H, W\) or \(4, H, W\), got \(2, 5, 8, 8\)"
    ):
        layer(torch.zeros(2, 5, 8, 8))
    with pytest.raises(TypeError, match=r"expects floating point input, got torch.uint8"):
        layer(torch.zeros(2, 4, 8, 8, dtype=torch.uint8))


def test_each_family_names_what_it_does_not_take():
    for family, option, known in (
        (StaticMixConv2d, {"reduction": 2}, "num_kernels, temperature"),
        (StaticMixConv1d, {"method": "auto"}, "num_kernels, temperature"),
        (DynamicConv2d, {"min_hidden": 2}, "num_kernels, reduction, temperature, attention, method"),
        (CondConv2d, {"temperature": 1.0}, "num_kernels, method"),
        (ODConv2d, {"attention": None}, "num_kernels, reduction, min_hidden, temperature, method"),
        (ODConv2d, {"num_kernel": 4}, "num_kernels, reduction, min_hidden, temperature, method"),
    ):
        (name,) = option
        with pytest.raises(TypeError, match=rf"^{family.__name__} takes no {name}; .* it takes {known}$"):
            family(4, 6, 3, **option)


def test_a_notebook_shows_each_familys_arguments_and_a_subclass_its_own():
    class Square(DynamicConv2d):
        def __init__(self, channels: int):
            super().__init__(channels, channels, 3, temperature=2.0)

    plain = list(inspect.signature(nn.Conv2d).parameters)
    for family, more in (
        (StaticMixConv3d, {"num_kernels": 4, "temperature": 1.0}),
        (DynamicConv1d, {"num_kernels": 4, "reduction": 4, "temperature": 30.0, "attention": None, "method": "auto"}),
        (CondConv2d, {"num_kernels": 4, "method": "auto"}),
        (ODConv2d, {"num_kernels": 4, "reduction": 16, "min_hidden": 16, "temperature": 1.0, "method": "auto"}),
    ):
        parameters = inspect.signature(family).parameters
        assert list(parameters)[: len(plain)] == plain
        assert {name: p.default for name, p in parameters.items() if name not in plain} == more
    assert list(inspect.signature(Square).parameters) == ["channels"]
    assert Square(4).attention.temperature == 2


def test_bad_attention_arguments():
    for changes, message in (
        ({"activation": "tanh"}, "got 'tanh'"),
        ({"reduction": 0}, "reduction must be an integer of at least 1, got 0"),
        ({"hidden_channels": 0}, "hidden_channels must be an integer of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            KernelAttention(4, **changes)
    with pytest.raises(ValueError, match=r"expects \(B, 4, \*spatial\), got \(2, 5, 8, 8\)"):
        KernelAttention(4)(torch.zeros(2, 5, 8, 8))
    with pytest.raises(ValueError, match="got 'fft'"):
        DynamicConv2d(4, 6, 3, method="fft")

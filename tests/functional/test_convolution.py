"""The mathematics: identities in float64 over random geometries, gradients, and every error."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from dynconv import layers
from dynconv.functional import (
    METHODS,
    choose_method,
    conv,
    convolution,
    dynamic_conv,
    mix_kernels,
    mix_outputs,
    softmax_temperature,
)

PLAIN = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CASES = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def geometries(draw):
    """A random dynamic convolution: tensors and keyword arguments."""
    n = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    batch, num_kernels = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    channels, out = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 3)) for _ in range(n)]
    options = {
        "stride": tuple(draw(st.integers(1, 2)) for _ in range(n)),
        "padding": tuple(draw(st.integers(0, 2)) for _ in range(n)),
        "dilation": tuple(draw(st.integers(1, 2)) for _ in range(n)),
        "groups": groups,
    }
    sizes = [draw(st.integers(5, 8)) for _ in range(n)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    shapes = ((batch, channels, *sizes), (num_kernels, out, channels // groups, *kernel))
    shapes += ((batch, num_kernels), (num_kernels, out))
    x, weight, attention, bias = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return x, weight, attention, bias if draw(st.booleans()) else None, options


def one_by_one(x, weight, attention, bias, options):
    """The definition, image by image, with torch's own convolution."""
    rows = []
    for image, a in zip(x, attention, strict=True):
        kernel = sum(a[k] * weight[k] for k in range(len(weight)))
        offset = None if bias is None else sum(a[k] * bias[k] for k in range(len(weight)))
        rows.append(PLAIN[x.ndim - 2](image[None], kernel, offset, **options))
    return torch.cat(rows)


@CASES
@given(geometries(), st.sampled_from(["auto", *METHODS]))
def test_every_method_is_the_definition(geometry, method):
    x, weight, attention, bias, options = geometry
    y = dynamic_conv(x, weight, attention, bias, **options, method=method)
    torch.testing.assert_close(y, one_by_one(*geometry))


@CASES
@given(geometries(), st.sampled_from(["auto", *METHODS]))
def test_gradients_are_the_definitions(geometry, method):
    *tensors, options = geometry
    leaves = [t.requires_grad_() for t in tensors if t is not None]
    direction = None
    gradients = []
    for function in (lambda *t: dynamic_conv(*t, **options, method=method), lambda *t: one_by_one(*t, options)):
        y = function(*tensors)
        direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
        gradients.append(torch.autograd.grad((y * direction).sum(), leaves))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("method", ["grouped", "unfold"])
def test_a_few_images_at_a_time_is_all_at_once(method, monkeypatch):
    x, weight, attention = torch.randn(7, 4, 6, 6), torch.randn(3, 8, 4, 3, 3), torch.randn(7, 3)
    leaves = [t.double().requires_grad_() for t in (x, weight, attention)]
    answers = []
    for at_once in (7, 3, 1):
        monkeypatch.setattr("dynconv.functional.methods.MIXED_AT_ONCE", 0)
        monkeypatch.setattr("dynconv.functional.methods.FEWEST_AT_ONCE", at_once)
        y = dynamic_conv(*leaves, padding=1, method=method)
        answers.append((y, *torch.autograd.grad(y.square().sum(), leaves)))
    torch.testing.assert_close(answers[1], answers[0])
    torch.testing.assert_close(answers[2], answers[0])


@pytest.mark.parametrize(
    ("batch", "kernel", "size", "method", "built"),
    [
        (1, 3, 8, "grouped", "native"),
        (8, 3, 56, "grouped", "native"),
        (8, 5, 56, "grouped", "grouped"),
        (8, 3, 4, "unfold", "native"),
        (8, 3, 14, "grouped", "native"),
        (8, 1, 56, "unfold", "native"),
        (64, 1, 7, "unfold", "native"),
        (2, 1, 7, "unfold", "native"),
        (0, 3, 8, "outputs", "outputs"),
    ],
)
def test_the_method_that_auto_takes(batch, kernel, size, method, built, monkeypatch):
    x, weight = torch.empty(batch, 128, size, size), torch.empty(4, 128, 128, kernel, kernel)
    for library, expected in ((None, method), (object(), built)):
        monkeypatch.setattr("dynconv.native.convolution.library", lambda found=library: found)
        assert choose_method(x, weight) == expected
        assert choose_method(x.double(), weight.double()) == method
        assert choose_method(x, weight, (2, 2)) == expected
        few = "outputs" if batch == 0 else "native" if library else "unfold" if batch > 1 else "grouped"
        assert choose_method(x[:, :3], weight[:, :, :3]) == few


@pytest.mark.parametrize("with_bias", [False, True])
def test_rows_that_are_one_are_mixed_once(with_bias):
    """An expanded row is known by its step of 0; what is computed is one convolution of all images."""
    x, weight = torch.randn(5, 6, 9, 9, requires_grad=True), torch.randn(4, 8, 6, 3, 3, requires_grad=True)
    bias = torch.randn(4, 8, requires_grad=True) if with_bias else None
    alike = torch.randn(1, 4).expand(5, -1)
    found, expected = [], []
    for attention, to in ((alike, found), (alike.contiguous(), expected)):
        with FlopCounterMode(display=False) as counter:
            y = dynamic_conv(x, weight, attention, bias, padding=1)
        to += [y, *torch.autograd.grad(y.square().sum(), [t for t in (x, weight, bias) if t is not None])]
        to.append(counter.get_total_flops())
    once = 2 * weight[0].numel() * 4
    assert expected.pop() - found.pop() >= 4 * once  # of five images four are not mixed anew
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_rows_that_are_one_have_gradients_of_their_own():
    x, weight = torch.randn(3, 4, 5, 5), torch.randn(2, 4, 4, 3, 3)
    row = torch.randn(1, 2, requires_grad=True)
    each = row.expand(3, -1)
    each.retain_grad()
    dynamic_conv(x, weight, each).square().sum().backward()
    apart = row.detach().repeat(3, 1).requires_grad_()
    dynamic_conv(x, weight, apart).square().sum().backward()
    torch.testing.assert_close(each.grad, apart.grad)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_rows_that_are_one_have_one_tangent():
    x, weight, row = torch.randn(3, 4, 5, 5), torch.randn(2, 4, 4, 3, 3), torch.rand(1, 2)

    def along(method):
        return torch.func.jvp(lambda a: dynamic_conv(x, weight, a.expand(3, -1), method=method), (row,), (row.cos(),))[
            1
        ]

    torch.testing.assert_close(along("auto"), along("grouped"), atol=1e-5, rtol=1e-4)


def test_a_plan_hangs_on_what_is_built(monkeypatch):
    taken, tensors = [], (torch.randn(2, 16, 9, 9), torch.randn(3, 16, 16, 3, 3), torch.randn(2, 3))

    monkeypatch.setattr(
        convolution._Plan, "carry_out", lambda plan, *given: taken.append((plan.method, plan.registered))
    )
    for library in (None, object(), None):
        monkeypatch.setattr("dynconv.native.convolution.library", lambda found=library: found)
        dynamic_conv(*tensors, method="native")
    assert taken == [("unfold", False), ("native", True), ("unfold", False)]


def test_plans_are_dropped_while_other_threads_go_by_them(monkeypatch):
    monkeypatch.setattr(convolution, "MOST_PLANS", 1)

    def run(size):
        x, weight, pi = torch.randn(2, 4, size, size), torch.randn(3, 4, 4, 3, 3), torch.randn(2, 3)
        return [tuple(dynamic_conv(x, weight, pi, padding=1).shape) for _ in range(50)]

    with ThreadPoolExecutor(8) as pool:
        for size, shapes in zip(range(3, 19), pool.map(run, range(3, 19)), strict=True):
            assert set(shapes) == {(2, 4, size, size)}


@pytest.mark.parametrize(
    ("batch", "channels", "size", "kernel"), [(4, 3, 512, 7), (2, 4, 1024, 11), (64, 1, 256, 3), (8, 3, 256, 3)]
)
def test_large_images_are_not_unfolded_however_few_their_channels(batch, channels, size, kernel, monkeypatch):
    monkeypatch.setattr("dynconv.native.convolution.library", lambda: None)
    x, weight = torch.empty(batch, channels, size, size), torch.empty(4, 8, channels, kernel, kernel)
    assert choose_method(x, weight) == "grouped"
    assert choose_method(x[..., :16, :16], weight) == "unfold"


@CASES
@given(geometries())
def test_mixing_outputs_is_mixing_kernels(geometry):
    x, weight, attention, _, options = geometry
    pi = attention[0]
    outputs = [conv(x, w, **options) for w in weight]
    torch.testing.assert_close(mix_outputs(outputs, pi), conv(x, mix_kernels(weight, pi), **options))


@CASES
@given(geometries())
def test_one_kernel_with_weight_one_is_the_plain_convolution(geometry):
    x, weight, _, bias, options = geometry
    ones = torch.ones(len(x), 1, dtype=x.dtype)
    y = dynamic_conv(x, weight[:1], ones, None if bias is None else bias[:1], **options)
    plain = PLAIN[x.ndim - 2](x, weight[0], None if bias is None else bias[0], **options)
    torch.testing.assert_close(y, plain)


@CASES
@given(geometries())
def test_hot_is_the_mean_kernel_and_cold_the_largest_logits(geometry):
    x, weight, logits, bias, options = geometry
    plain = PLAIN[x.ndim - 2]
    y = dynamic_conv(x, weight, softmax_temperature(logits, 1e14), bias, **options)
    torch.testing.assert_close(y, plain(x, weight.mean(0), None if bias is None else bias.mean(0), **options))
    cold = softmax_temperature(logits, 1e-9)  # the gaps between random logits are far wider
    rows = [
        plain(image[None], weight[k], None if bias is None else bias[k], **options)
        for image, k in zip(x, logits.argmax(1), strict=True)
    ]
    torch.testing.assert_close(dynamic_conv(x, weight, cold, bias, **options), torch.cat(rows))


@CASES
@given(geometries(), st.integers(0, 2))
def test_an_image_does_not_depend_on_its_batch(geometry, index):
    x, weight, attention, bias, options = geometry
    b = index % len(x)
    whole = dynamic_conv(x, weight, attention, bias, **options)[b : b + 1]
    torch.testing.assert_close(whole, dynamic_conv(x[b : b + 1], weight, attention[b : b + 1], bias, **options))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's own layer says so of itself
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, (2, 1), "same", "valid"])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4)])
def test_paddings_are_those_of_conv2d(method, padding_mode, padding, kernel):
    layer = torch.nn.Conv2d(4, 6, kernel, padding=padding, padding_mode=padding_mode, dtype=torch.float64)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    options = {"padding": padding, "padding_mode": padding_mode}
    y = dynamic_conv(x, layer.weight[None], x.new_ones(2, 1), layer.bias[None], **options, method=method)
    torch.testing.assert_close(y, layer(x))
    torch.testing.assert_close(conv(x, layer.weight, layer.bias, **options), layer(x))


@CASES
@given(geometries(), st.sampled_from(["auto", *METHODS]), st.integers(1, 3))
def test_same_keeps_the_size_and_at_a_stride_divides_it(geometry, method, step):
    x, weight, attention, bias, options = geometry
    options = {**options, "stride": step, "padding": "same"}
    y = dynamic_conv(x, weight, attention, bias, **options, method=method)
    assert y.shape[2:] == tuple(-(-size // step) for size in x.shape[2:])
    # the fewest zeros with which that many windows fit, half on each side and an odd one at the end
    pads = [
        max(0, (n - 1) * step + d * (k - 1) + 1 - size)
        for n, k, d, size in zip(y.shape[2:], weight.shape[3:], options["dilation"], x.shape[2:], strict=True)
    ]
    padded = F.pad(x, [p for total in reversed(pads) for p in (total // 2, total - total // 2)])
    torch.testing.assert_close(y, one_by_one(padded, weight, attention, bias, {**options, "padding": 0}))


@pytest.mark.parametrize("method", METHODS)
def test_channels_last_and_empty_batches(method):
    x, weight, attention = torch.randn(2, 4, 7, 7), torch.randn(3, 6, 4, 3, 3), torch.randn(2, 3)
    expected = one_by_one(x, weight, attention, None, {})
    y = dynamic_conv(x.to(memory_format=torch.channels_last), weight, attention, method=method)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)
    assert dynamic_conv(x[:0], weight, attention[:0]).shape == (0, 6, 5, 5)


# ------------------------------------------------------------------------------------------------------- temperature


@CASES
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=8), st.floats(1e-3, 1e4), st.floats(-1e3, 1e3))
def test_softmax_sums_to_one_and_ignores_a_shift(logits, temperature, shift):
    z = torch.tensor(logits, dtype=torch.float64)
    pi = softmax_temperature(z, temperature)
    torch.testing.assert_close(pi.sum(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(pi, softmax_temperature(z + shift, temperature), atol=1e-6, rtol=1e-6)


@CASES
@given(st.floats(1e-2, 1e3), st.floats(1e-2, 1e2))
def test_temperature_and_the_scale_of_the_logits_cancel(temperature, scale):
    z = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(softmax_temperature(z * scale, temperature * scale), softmax_temperature(z, temperature))


def test_limits_of_temperature():
    z = torch.tensor([2.0, 1.0, -1.0])
    torch.testing.assert_close(softmax_temperature(z, 1e8), torch.full((3,), 1 / 3))
    torch.testing.assert_close(softmax_temperature(z, 1e-3), torch.tensor([1.0, 0.0, 0.0]))
    assert softmax_temperature(1e6 * z, 1e-6).isfinite().all()


def test_softmax_is_over_kernels_not_over_the_batch():
    pi = softmax_temperature(torch.randn(5, 4), 2.0)
    torch.testing.assert_close(pi.sum(1), torch.ones(5))


def test_softmax_gradient_is_torchs():
    z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: softmax_temperature(t, 3.0), z)
    ours, torchs = (
        torch.autograd.grad(f.square().sum(), z)[0] for f in (softmax_temperature(z, 3.0), (z / 3).softmax(-1))
    )
    torch.testing.assert_close(ours, torchs)


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf, torch.tensor(-2.0)])
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match=r"temperature must be a finite number above 0, got (0|-1.0|nan|inf|-2.0)"):
        softmax_temperature(torch.zeros(3), temperature)


def test_integer_logits():
    with pytest.raises(TypeError, match=r"logits must be floating point, got torch.int64"):
        softmax_temperature(torch.tensor([1, 2]), 1.0)


X, W, A = torch.zeros(2, 4, 7, 7), torch.zeros(3, 6, 4, 3, 3), torch.zeros(2, 3)
BAD = {
    "x has 5 channels": (
        {"x": torch.zeros(2, 5, 7, 7)},
        ValueError,
        r"x must be \(B, 4, 2 spatial sizes\).*got \(2, 5",
    ),
    "x is integer": ({"x": X.int()}, TypeError, r"x must be floating point, got torch.int32"),
    "x has no batch": ({"x": X[0]}, ValueError, r"got \(4, 7, 7\)"),
    "K = 0": ({"weight": W[:0], "attention": A[:, :0]}, ValueError, "at least one kernel, got K = 0"),
    "attention for another K": ({"attention": torch.zeros(2, 4)}, ValueError, r"\(B, K\) = \(2, 3\).*got \(2, 4\)"),
    "one attention for all": ({"attention": torch.zeros(3)}, ValueError, r"one row an image, got \(3,\)"),
    "one bias for all kernels": (
        {"bias": torch.zeros(6)},
        ValueError,
        r"bias must be \(K, O\) = \(3, 6\).*got \(6,\)",
    ),
    "groups do not divide": ({"x": torch.zeros(2, 16, 7, 7), "groups": 4}, ValueError, "got groups=4"),
    "unknown padding": ({"padding": "full"}, ValueError, "got 'full'"),
    "three strides": (
        {"stride": (1, 2, 3)},
        ValueError,
        r"stride must be one or 2 integers of at least 1, got \(1, 2, 3\)",
    ),
    "unknown padding mode": ({"padding_mode": "mirror"}, ValueError, "got 'mirror'"),
    "a kernel of size 0": ({"weight": W[..., :0]}, ValueError, r"no kernel size of 0, got \(3, 6, 4, 3, 0\)"),
    "no channels": ({"x": X[:, :0], "weight": W[:, :, :0]}, ValueError, r"at least one channel in and out"),
    "no channels out": ({"weight": W[:, :0]}, ValueError, r"at least one channel in and out .* got \(3, 0, 4, 3, 3\)"),
    "an image of no pixels": ({"x": X[..., :0], "padding": 1}, ValueError, r"larger than the padded input, \(7, 0\)"),
    "a stride that overflows": ({"stride": 2**60}, ValueError, f"stride must be below 2\\*\\*31, got {2**60}"),
    "a dilation that overflows": ({"dilation": (1, 2**31)}, ValueError, r"dilation must be below 2\*\*31"),
    "a padding that overflows": ({"padding": 2**58}, ValueError, f"padding must be below 2\\*\\*31, got {2**58}"),
    "more padding than memory": ({"padding": 2**30}, ValueError, "makes more numbers than any memory holds"),
    "unknown method": ({"method": "fft"}, ValueError, "got 'fft'"),
    "a plain weight": ({"weight": W[0, 0, 0]}, ValueError, r"got \(3, 3\)"),
}


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case, method):
    changes, error, message = BAD[case]
    with pytest.raises(error, match=message):
        dynamic_conv(**{"x": X, "weight": W, "attention": A, "method": method, **changes})


def test_mixes_of_the_wrong_shape():
    with pytest.raises(ValueError, match=r"K = 3 kernels, got \(4,\)"):
        mix_kernels(W, torch.zeros(4))
    with pytest.raises(ValueError, match=r"\(K,\) = \(3,\) or .* got \(2,\)"):
        mix_outputs([X] * 3, torch.zeros(2))
    with pytest.raises(ValueError, match=r"outputs must be"):
        mix_outputs(torch.zeros(2, 3), torch.zeros(3))


def test_a_method_that_is_gone_is_what_took_its_place():
    x, weight, attention = torch.randn(2, 4, 6, 6), torch.randn(3, 4, 4, 3, 3), torch.rand(2, 3)
    assert torch.equal(*(dynamic_conv(x, weight, attention, method=method) for method in ("tiled", "native")))
    assert layers.DynamicConv2d(4, 4, 3, method="tiled").method == "native"

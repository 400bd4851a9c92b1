"""The C++ library: the definition over random geometries, whatever the processor knows, and what autograd asks of it."""

import copy
import ctypes
import os
import pickle
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from dynconv import DynamicConv2d, native
from dynconv.functional import choose_method, dynamic_conv
from dynconv.native import building

CASES = settings(max_examples=100, deadline=None, derandomize=True)
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module", autouse=True)
def library():
    try:
        native.build()
    except RuntimeError as reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(reason))
    assert native.library() is not None


@st.composite
def geometries(draw):
    """A random dynamic convolution, half of them for Winograd's products, a third depthwise, scaled so that outputs are about 1."""
    batch, num_kernels = draw(st.integers(1, 20)), draw(st.integers(1, 9))
    channels, out = draw(st.integers(1, 40)), draw(st.integers(1, 70))
    tiles = draw(st.booleans())
    kernel = [3, 3] if tiles else [draw(st.integers(1, 5)) for _ in range(2)]
    options = {
        name: tuple(draw(st.integers(least, most)) for _ in range(2))
        for name, least, most in (
            ("stride", 1, 1 if tiles else 3),
            ("padding", 0, 5),
            ("dilation", 1, 1 if tiles else 2),
        )
    }
    sizes = [draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), 20)) for d, k, p in zip(options["dilation"], kernel, options["padding"], strict=True)]  # fmt: skip
    generator, inside = torch.Generator().manual_seed(draw(st.integers(0, 10**6))), channels
    if draw(st.integers(0, 2)) == 0:
        out, inside, options["groups"] = channels, 1, channels
    shapes = (batch, channels, *sizes), (num_kernels, out, inside, *kernel), (batch, num_kernels), (num_kernels, out)
    x, weight, attention, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, weight / weight[0, 0].numel() ** 0.5, attention / num_kernels**0.5, bias, options


def answers(tensors, options, method):
    leaves = [t.detach().requires_grad_() for t in tensors]
    y = dynamic_conv(*leaves, **options, method=method)
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape) / y[0, 0].numel() ** 0.5
    return y, *torch.autograd.grad((y * direction).sum(), leaves)


def agrees(geometry):
    *tensors, options = geometry
    found = answers(tensors, options, "native")
    expected = answers([t.double() for t in tensors], options, "outputs")
    for ours, theirs in zip(found, expected, strict=True):
        scale = theirs.abs().max().clamp(min=1)  # gradients sum over images and positions
        torch.testing.assert_close(ours.double() / scale, theirs / scale, **CLOSE)


@CASES
@given(geometries())
def test_output_and_gradients_are_the_definitions(geometry):
    agrees(geometry)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(
    ("batch", "channels", "out", "size"),
    [
        (1, 20, 16, (61, 40)),
        (2, 150, 140, (8, 9)),
        (9, 300, 34, (5, 7)),
        (1, 130, 160, (20, 20)),
        (3, 40, 80, (70, 69)),
        (40, 36, 300, (6, 5)),
    ],
    ids=str,
)
def test_however_the_work_is_cut(batch, channels, out, size, kernel):
    """One image or many, one slice of channels or several, cuts of rows, panels to a thread or images to a thread."""
    generator = torch.Generator().manual_seed(batch)
    shapes = (batch, channels, *size), (5, out, channels, kernel, kernel), (batch, 5), (5, out)
    x, weight, attention, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    agrees((x, weight / weight[0, 0].numel() ** 0.5, attention / 5**0.5, bias, {"padding": kernel // 2}))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(
    ("batch", "channels", "size"), [(1, 2, (150, 90)), (2, 33, (3, 300)), (3, 100, (7, 4)), (1, 16, (1, 1))], ids=str
)
def test_a_kernel_for_each_channel(batch, channels, size, stride, kernel, layout):
    """Images larger than what is laid out at a time, and smaller than their padding; channels that fill a register and that do not."""
    generator = torch.Generator().manual_seed(batch)
    shapes = (batch, channels, *size), (5, channels, 1, kernel, kernel), (batch, 5), (5, channels)
    x, weight, attention, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    for dilation, padding in ((1, kernel // 2), (2, kernel), (1, kernel + 2)):
        options = {"padding": padding, "stride": stride, "dilation": (dilation, 1), "groups": channels}
        turned = (attention / 5**0.5).T.contiguous().T  # which lies by columns
        agrees((x.to(memory_format=layout), weight / kernel, turned, bias, options))


SMALL = {  # size → kernel, stride, padding, dilation: sixteen pixels, and as many outputs
    (4, 4): [
        ((3, 3), 1, 1, 1),
        ((1, 1), 1, 0, 1),
        ((4, 4), 2, 3, 1),
        ((5, 3), 1, (2, 1), 1),
        ((3, 3), 1, (2, 3), (2, 3)),
        ((5, 5), 1, 2, 1),
    ],
    (2, 8): [((3, 3), 1, 1, 1), ((3, 3), (1, 2), (2, 1), 1), ((1, 9), 1, (0, 4), 1)],
    (16, 1): [((3, 1), 1, (1, 0), 1), ((3, 3), 1, (4, 1), (4, 1))],
}


@pytest.mark.parametrize("channels", [1, 7, 67, 200])
@pytest.mark.parametrize(("size", "geometry"), [(size, g) for size, all in SMALL.items() for g in all], ids=str)
def test_a_kernel_for_each_channel_of_images_that_fit_into_a_register(size, geometry, channels):
    kernel, *steps = geometry
    options = {**dict(zip(("stride", "padding", "dilation"), steps, strict=True)), "groups": channels}
    generator = torch.Generator().manual_seed(channels)
    shapes = (3, channels, *size), (5, channels, 1, *kernel), (3, 5), (5, channels)
    x, weight, attention, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    agrees((x, weight / 3, attention / 5**0.5, bias, options))
    assert dynamic_conv(x, weight, attention, **options).shape[2:].numel() == 16
    x[1, -1, 0, 0] = float("nan")
    found, expected = (dynamic_conv(x, weight, attention, bias, **options, method=m) for m in ("native", "outputs"))
    assert torch.equal(found.isnan(), expected.isnan())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("width", [1, 2, 4, 7, 8, 9, 13, 40])
@pytest.mark.parametrize("kernel", [(1, 3), (3, 5), (7, 7), (4, 3), (2, 7)], ids=str)
def test_a_kernel_for_each_channel_where_rows_stay_as_long(kernel, width, layout):
    """Images narrower than a kernel and wider than what is computed at a time, of one height and of more than is laid out."""
    generator = torch.Generator().manual_seed(width)
    for height, down, dilation in ((9, kernel[0] // 2, 1), (9, 5, 2), (200, 0, 1)):
        options = {"padding": (down, kernel[1] // 2), "dilation": (dilation, 1), "groups": 19}
        shapes = (2, 19, height, width), (5, 19, 1, *kernel), (2, 5), (5, 19)  # 19: a register of 16, and some
        x, weight, attention, bias = (torch.randn(shape, generator=generator) for shape in shapes)
        agrees((x.to(memory_format=layout), weight / 5, attention / 5**0.5, bias, options))
    x[1, -1, 3, 0] = x[0, 0, 7, -1] = float("nan")
    found, expected = (
        dynamic_conv(x.to(memory_format=layout), weight, attention, bias, **options, method=m)
        for m in ("native", "outputs")
    )
    assert torch.equal(found.isnan(), expected.isnan())


@pytest.mark.parametrize(("channels", "outs"), [(1, 1), (5, 16), (33, 17), (300, 40)])
@pytest.mark.parametrize(
    ("kernel", "stride"), [((1, 1), (1, 1)), ((2, 2), (2, 2)), ((2, 3), (3, 4)), ((4, 1), (4, 2))], ids=str
)
def test_channels_last_stay_so_where_no_pixel_is_seen_twice(kernel, stride, channels, outs):
    generator = torch.Generator().manual_seed(channels)
    shapes = (3, channels, 38, 23), (5, outs, channels, *kernel), (3, 5), (5, outs)
    x, weight, attention, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    weight, attention = weight / weight[0, 0].numel() ** 0.5, attention / 5**0.5
    x = x.to(memory_format=torch.channels_last)
    for dilation in (1, 2, (1, 2)):  # dilated, a kernel's taps do not lie side by side
        agrees((x, weight, attention, bias, {"stride": stride, "dilation": dilation}))
    y = dynamic_conv(x, weight, attention, stride=stride)
    torch.testing.assert_close(
        y, dynamic_conv(x, weight, attention, stride=stride, method="outputs"), atol=1e-5, rtol=0
    )
    assert y.is_contiguous(memory_format=torch.channels_last)
    compiled = torch.compile(dynamic_conv, backend="aot_eager")(x, weight, attention, stride=stride)
    assert torch.equal(compiled, y)
    assert compiled.stride() == y.stride()
    alone = dynamic_conv(x[:1], weight, attention[:1], stride=stride, padding=(1, 0))  # sees padding, which is laid out
    assert alone.is_contiguous()


@pytest.mark.parametrize("images", [1, 8, 9])
@pytest.mark.parametrize("channels", [176, 177])
def test_gradients_of_kernels_that_are_more_than_caches_hold(channels, images):
    generator = torch.Generator().manual_seed(channels * images)
    shapes = (images, channels, 4, 4), (4, 176, channels, 3, 3), (images, 4), (4, 176)
    x, weight, attention, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    agrees((x, weight / (9 * channels) ** 0.5, attention / 2, bias, {"padding": 1}))


@pytest.mark.parametrize("tracks", [True, False])
def test_channels_last_stays_so_where_each_channel_has_a_kernel(tracks):
    last = {"memory_format": torch.channels_last}
    x = torch.randn(2, 20, 7, 6).to(**last).requires_grad_(tracks)
    y = dynamic_conv(x, torch.randn(3, 20, 1, 3, 3), torch.rand(2, 3), padding=1, groups=20)
    assert y.is_contiguous(**last)
    if tracks:
        assert torch.autograd.grad(y.sum(), x)[0].is_contiguous(**last)
    layer = DynamicConv2d(20, 20, 3, padding=1, groups=20, temperature=1.0)
    torch.testing.assert_close(layer(x), layer(x.contiguous()), atol=1e-6, rtol=1e-5)
    compiled = torch.compile(layer, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, layer(x), atol=1e-6, rtol=1e-5)


def test_auto_takes_it_for_a_kernel_a_channel():
    assert choose_method(torch.empty(8, 64, 56, 56), torch.empty(4, 64, 1, 7, 7)) == "native"
    assert choose_method(torch.empty(8, 64, 56, 56), torch.empty(4, 128, 1, 3, 3)) == "grouped"  # two outputs a channel


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these are x86-64's instruction sets")
@pytest.mark.parametrize("instructions", [("-march=x86-64",), ("-mavx2", "-mfma"), ("-mavx512f", "-mfma")], ids=str)
def test_on_other_processors(instructions, tmp_path, monkeypatch):
    if any(flag[2:] not in building._processor().split() for flag in instructions if not flag.startswith("-march")):
        pytest.skip(f"this processor does not know {instructions}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(building, "FLAGS", (*(f for f in building.FLAGS if f != "-march=native"), *instructions))
    monkeypatch.setattr(building, "_path", building._path.__wrapped__)
    monkeypatch.setattr("dynconv.native.convolution.library", lambda: loaded)
    assert str(tmp_path) in str(native.build())
    loaded = native.library()
    settings(max_examples=15, deadline=None, derandomize=True)(given(geometries())(agrees))()
    monkeypatch.undo()
    native.library.cache_clear()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("images", "size"), [(1, 21), (3, 21), (3, 7)])
def test_what_is_not_finite_reaches_what_sees_it_and_nothing_else(images, size, value):
    # in large tiles of one image and of several, and in small ones
    x, weight, attention = torch.randn(images, 17, size, size), torch.rand(4, 18, 17, 3, 3) + 0.1, torch.rand(images, 4)
    x[0, 2, 4, 3] = value
    y = dynamic_conv(x, weight, attention, padding=1, method="native")
    seen = F.max_pool2d((~x.isfinite()).float().amax(1, keepdim=True), 3, 1, 1).bool()
    assert seen.sum() == 9
    assert torch.equal(~y.isfinite(), seen.expand_as(y))
    leaf, direction = torch.zeros_like(x).requires_grad_(), torch.randn_like(y)
    direction[0, 2, 4, 3] = value
    (of_x,) = torch.autograd.grad(dynamic_conv(leaf, weight, attention, padding=1, method="native"), leaf, direction)
    assert torch.equal(~of_x.isfinite(), seen.expand_as(of_x))


def test_large_tiles_round_little():
    generator = torch.Generator().manual_seed(0)
    shapes = (8, 128, 28, 28), (4, 128, 128, 3, 3), (8, 4), (4, 128)
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    found, exact = (
        answers([t.to(dtype) for t in tensors], {"padding": 1}, method)
        for dtype, method in ((torch.float32, "native"), (torch.float64, "grouped"))
    )
    for ours, theirs in zip(found, exact, strict=True):
        assert (ours - theirs).abs().max() < 4e-6 * theirs.abs().max()


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads(threads):
    x, weight, attention = torch.randn(7, 12, 9, 8), torch.randn(4, 33, 12, 3, 3), torch.randn(7, 4)
    before = torch.get_num_threads()
    expected = answers((x, weight, attention), {"padding": 1}, "native")
    torch.set_num_threads(threads)
    try:
        found = answers((x, weight, attention), {"padding": 1}, "native")
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)


def test_the_memory_it_keeps_changes_nothing_and_goes_back():
    def resident():
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    small, large = ((torch.randn(2, 16, n, n), torch.randn(3, 16, 16, 3, 3), torch.rand(2, 3)) for n in (6, 256))
    native.release()
    expected = dynamic_conv(*small, padding=1, method="native")
    dynamic_conv(*large, padding=1, method="native")
    torch.testing.assert_close(dynamic_conv(*small, padding=1, method="native"), expected, rtol=0, atol=0)
    give_back = ctypes.CDLL("libc.so.6").malloc_trim
    give_back(0)
    before = resident()
    native.release()
    give_back(0)
    assert resident() < before - 1_000_000
    torch.testing.assert_close(dynamic_conv(*small, padding=1, method="native"), expected, rtol=0, atol=0)


class TestMemoryOfGradients:
    """Of kernels of 4 MB and more: what is let go serves the next, and nothing that is held changes."""

    @pytest.fixture(autouse=True)
    def nothing_is_kept(self):
        native.release()
        yield
        native.release()

    @staticmethod
    def gradient(seed, width=64, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        x, weight = (
            torch.randn(1, width, 4, 4, generator=generator),
            torch.randn(32, width, width, 3, 3, generator=generator),
        )
        weight, pi = weight.to(dtype).requires_grad_(), torch.rand(1, 32, generator=generator).to(dtype)
        (found,) = torch.autograd.grad(dynamic_conv(x.to(dtype), weight, pi, padding=1).square().sum(), weight)
        return found

    def test_it_serves_the_next_of_that_size(self):
        first, other = self.gradient(0), self.gradient(1)
        places = {first.data_ptr(), other.data_ptr()}
        view, expected = other[3, 2], other[3, 2].clone()
        del other  # a view holds all of it
        third = self.gradient(2)
        assert third.data_ptr() not in places
        del first
        fourth = self.gradient(0)
        assert fourth.data_ptr() in places
        torch.testing.assert_close(view, expected, rtol=0, atol=0)
        torch.testing.assert_close(fourth.double(), self.gradient(0, dtype=torch.float64), atol=1e-2, rtol=1e-4)
        torch.testing.assert_close(third, self.gradient(2), rtol=0, atol=0)

    def test_it_does_not_serve_one_of_another_size(self):
        small = self.gradient(0, 63)
        place = small.data_ptr()
        del small
        large = self.gradient(0)
        assert large.data_ptr() != place
        assert self.gradient(0, 63).data_ptr() == place

    def test_no_more_than_64_mb_are_kept(self):
        many = [self.gradient(i) for i in range(20)]  # 90 MB
        places = [g.data_ptr() for g in many]
        while many:
            many.pop(0)
        again = [self.gradient(i) for i in range(14)]
        assert {g.data_ptr() for g in again} <= set(places[-14:])  # the last: those before went back

    def test_it_is_as_any_other(self):
        weight = self.gradient(0).requires_grad_()
        torch.optim.SGD([weight], 0.1, momentum=0.9).step()
        copied = pickle.loads(pickle.dumps(weight))
        torch.testing.assert_close(copy.deepcopy(weight), copied, rtol=0, atol=0)
        assert weight.detach().share_memory_().is_shared()

    def test_a_default_device_does_not_move_it(self):
        x, weight = torch.randn(1, 64, 4, 4), torch.randn(32, 64, 64, 3, 3, requires_grad=True)
        y = dynamic_conv(x, weight, torch.rand(1, 32), padding=1)
        expected = torch.autograd.grad(y, weight, torch.ones_like(y), retain_graph=True)[0]
        with torch.device("meta"):
            found = torch.autograd.grad(y, weight, torch.ones_like(y))[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=0)

    def test_by_threads(self):
        expected = [self.gradient(seed) for seed in range(4)]
        with ThreadPoolExecutor(8) as pool:
            for seed, found in enumerate(pool.map(self.gradient, [0, 1, 2, 3] * 8)):
                torch.testing.assert_close(found, expected[seed % 4], rtol=0, atol=0)


def test_any_memory_layout_and_a_gradient_that_is_expanded():
    x, weight, attention = torch.randn(4, 6, 8, 8), torch.randn(3, 5, 6, 3, 3), torch.randn(3, 4).T
    strange = x.to(memory_format=torch.channels_last)[:, :, ::2], weight.transpose(3, 4), attention
    results = []
    for method in ("native", "grouped"):
        leaves = [t.detach().requires_grad_() for t in strange]
        y = dynamic_conv(*leaves, method=method)
        results.append((y, *torch.autograd.grad(y.sum(), leaves)))  # the gradient of a sum is one number, expanded
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wanted", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_gradient_alone_is_the_gradient_among_others(wanted, stride):
    tensors = torch.randn(5, 6, 8, 8), torch.randn(3, 7, 6, 3, 3), torch.randn(5, 3)
    among = answers(tensors, {"stride": stride, "padding": 1}, "native")[1 + wanted]
    leaves = [t.requires_grad_(i == wanted) for i, t in enumerate(tensors)]
    y = dynamic_conv(*leaves, stride=stride, padding=1, method="native")
    direction = torch.linspace(-1, 1, y.numel()).reshape(y.shape) / y[0, 0].numel() ** 0.5
    torch.testing.assert_close(torch.autograd.grad((y * direction).sum(), leaves[wanted])[0], among)


def test_derivatives_of_derivatives():
    """Next to the exact ones, by the largest: what nearly cancels is rounded in any order of float32 sums."""
    tensors = [torch.randn(shape) for shape in ((4, 3, 5, 5), (2, 4, 3, 3, 3), (4, 2))]
    found = []
    for method, dtype in (("native", torch.float32), ("grouped", torch.float64)):
        given = [t.to(dtype).requires_grad_() for t in tensors]
        first = torch.autograd.grad(dynamic_conv(*given, method=method).square().sum(), given, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), given))
    for second, exact in zip(*found, strict=True):
        torch.testing.assert_close(second.double(), exact, atol=1e-6 * exact.abs().max().item(), rtol=0)


@pytest.mark.parametrize(
    "change", ["double", "bfloat16", "three dimensions", "no images", "groups", "two outputs a channel"]
)
def test_what_it_does_not_take_goes_by_patches(change):
    x, weight, attention, options = torch.randn(4, 6, 5, 5), torch.randn(2, 8, 6, 3, 3), torch.rand(4, 2), {}
    if change in ("double", "bfloat16"):
        x, weight, attention = (getattr(t, change)() for t in (x, weight, attention))
    elif change == "three dimensions":
        x, weight = x[..., None], weight[..., None]
    elif change == "no images":
        x, attention = x[:0], attention[:0]
    elif change == "groups":
        weight, options = weight[:, :, :3], {"groups": 2}
    else:
        weight, options = torch.randn(2, 12, 1, 3, 3), {"groups": 6}
    y = dynamic_conv(x, weight, attention, **options, method="native")
    torch.testing.assert_close(y, dynamic_conv(x, weight, attention, **options, method="unfold"))


def test_a_flop_counter_sees_all_multiply_adds():
    x, weight, attention = torch.randn(8, 6, 5, 5), torch.randn(2, 8, 6, 3, 3), torch.rand(8, 2)
    with FlopCounterMode(display=False) as counter:
        dynamic_conv(x, weight, attention, padding=1)
    assert counter.get_total_flops() >= 2 * 8 * 25 * weight[0].numel()


def test_attention_of_another_precision_is_refused():
    x, weight = torch.randn(8, 6, 5, 5), torch.randn(2, 8, 6, 3, 3)
    with pytest.raises(TypeError, match=r"attention: torch\.float64"):
        dynamic_conv(x, weight, torch.rand(8, 2).double(), method="native")


def test_a_layer_learns_the_same_by_it():
    x, learned = torch.randn(8, 8, 7, 7), []
    for method in ("native", "grouped"):
        torch.manual_seed(1)
        layer = DynamicConv2d(8, 16, 3, padding=1, temperature=1.0, method=method)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(10):
            optimizer.zero_grad()
            (layer(x) - 1).square().mean().backward()
            optimizer.step()
        learned.append(torch.cat([p.detach().flatten() for p in layer.parameters()]))
    torch.testing.assert_close(*learned)


def test_a_gradient_of_another_shape_is_refused_before_cpp_reads_it():
    x, weight, attention, bias = (
        torch.randn(2, 3, 6, 5),
        torch.randn(4, 8, 3, 3, 3),
        torch.rand(2, 4),
        torch.randn(4, 8),
    )
    with pytest.raises(ValueError, match=r"grad must be \(B, O, H', W'\) = \(2, 8, 6, 5\), got \(2, 8, 5, 5\)"):
        torch.ops.dynconv._native_backward(
            *(x, weight, attention, bias, torch.randn(2, 8, 5, 5)), [1, 1], [1, 1], [1, 1], 1, [True] * 4
        )

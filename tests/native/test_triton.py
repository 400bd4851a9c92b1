"""Dynamic convolution in Triton: the definition, its derivatives, and what torch asks of an operation.

On a GPU where there is one; else by Triton's interpreter, which has to be asked for before Triton is imported: so in a process
of its own, where this file runs once more.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.library import opcheck

from dynconv import DynamicConv2d
from dynconv.functional import choose_method, dynamic_conv
from dynconv.native import definition, gpu
from tests.functional.test_derivatives import KINDS
from tests.functional.test_derivatives import definition as by_image

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script:Warning",  # torch's own, when forward mode is first used
    "ignore:There is a performance drop:UserWarning",  # under vmap
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",  # torch looks at that of its own copies
)
ON_GPU, INTERPRETED = torch.cuda.is_available(), os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if ON_GPU else "cpu"
works = pytest.mark.skipif(not (ON_GPU or INTERPRETED), reason="the interpreted process runs it")
on_gpu = pytest.mark.skipif(not ON_GPU, reason="there is no GPU")
FEW_KINDS = ["second order", "forward over reverse"]  # the interpreter is slow
GEOMETRIES = {  # images, channels, outs, size, kernels, taps, stride, padding, dilation
    "mixed in registers": (3, 20, 33, (7, 6), 4, (3, 3), (1, 1), (1, 1), (1, 1)),
    "mixed before": (2, 16, 16, (11, 10), 9, (3, 2), (1, 1), (1, 1), (1, 1)),
    "a stride": (2, 17, 16, (11, 9), 3, (3, 2), (2, 3), (1, 0), (1, 1)),
    "a dilation": (2, 16, 70, (8, 9), 2, (2, 3), (1, 2), (2, 1), (2, 2)),
    "more padding than kernel": (1, 16, 16, (5, 4), 1, (1, 2), (1, 1), (2, 3), (1, 1)),
    "many kernels": (2, 24, 16, (5, 5), 9, (1, 1), (1, 1), (0, 0), (1, 1)),
    "many images": (7, 16, 16, (4, 3), 2, (3, 3), (1, 1), (1, 1), (1, 1)),
}


@pytest.fixture(autouse=True)
def _exact_and_for_few_channels(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(gpu, "CHANNELS", 1)


def tensors_of(name, dtype=torch.float32):
    batch, channels, outs, size, stack, taps, *steps = GEOMETRIES[name]
    generator = torch.Generator().manual_seed(0)
    shapes = (batch, channels, *size), (stack, outs, channels, *taps), (batch, stack), (stack, outs)
    x, weight, attention, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    weight /= weight[0, 0].numel() ** 0.5
    return [t.to(DEVICE, dtype) for t in (x, weight, attention, bias)], [list(step) for step in steps]


def answers(tensors, steps, method):
    leaves = [t.detach().requires_grad_() for t in tensors]
    y = dynamic_conv(*leaves, *steps, method=method)
    direction = torch.linspace(-3, 3, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape).cos()
    return y, *torch.autograd.grad(y, leaves, direction)


def agrees(tensors, steps, tolerance):
    assert gpu.takes(*tensors[:2], tensors[0].dtype)
    found = answers(tensors, steps, "triton")
    expected = answers([t.double() for t in tensors], steps, "outputs")
    for ours, theirs in zip(found, expected, strict=True):
        scale = theirs.abs().max()
        torch.testing.assert_close(ours.double() / scale, theirs / scale, atol=tolerance, rtol=0)


@works
@pytest.mark.parametrize(
    ("name", "layout"),
    [
        (name, layout)
        for i, name in enumerate(GEOMETRIES)
        for j, layout in enumerate((torch.contiguous_format, torch.channels_last))
        if ON_GPU or (i + j) % 2
    ],
    ids=str,
)
def test_output_and_gradients_are_the_definitions(name, layout):
    (x, *others), steps = tensors_of(name)
    agrees([x.contiguous(memory_format=layout), *others], steps, 1e-5)


@works
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["mixed in registers", "mixed before", "a stride"] if ON_GPU else ["a stride"])
def test_half_precision(name, dtype):
    if not ON_GPU and dtype == torch.bfloat16:
        pytest.skip("the interpreter holds bfloat16 as whole numbers and multiplies these")
    agrees(*tensors_of(name, dtype), 2e-2)


@on_gpu
def test_tf32_where_it_is_allowed(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    agrees(*tensors_of("mixed before"), 5e-3)


@works
@pytest.mark.parametrize("kind", KINDS if ON_GPU else FEW_KINDS)
def test_every_derivative_is_the_definitions(kind):
    torch.manual_seed(0)
    softmax = kind != "reverse over forward"  # torch cannot differentiate its softmax so
    net = (
        None if softmax else [torch.nn.AvgPool2d((5, 4)), torch.nn.Flatten(), torch.nn.Linear(2, 2), torch.nn.Sigmoid()]
    )
    attention = net and torch.nn.Sequential(*net)
    layer = DynamicConv2d(2, 3, 3, padding=1, num_kernels=2, reduction=1, temperature=0.5, attention=attention)
    layer, x = layer.to(DEVICE), torch.randn(3, 2, 5, 4).to(DEVICE)
    layer.method = "triton"
    found = KINDS[kind](layer, x.requires_grad_()).double()
    exact, x = layer.double(), x.detach().double().requires_grad_()
    expected = KINDS[kind](lambda x: by_image(exact, x), x)
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, atol=2e-4, rtol=0)


@works
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias, channels last"])
def test_what_torch_asks_of_an_operation(bias):
    tensors, steps = tensors_of("mixed in registers" if ON_GPU else "more padding than kernel")
    size = definition.output_size(tensors[0].shape[2:], tensors[1].shape[3:], *steps)
    for requires_grad in (False, True):
        layout = torch.contiguous_format if bias else torch.channels_last
        tensors[0] = tensors[0].detach().contiguous(memory_format=layout)
        x, weight, attention, beta = (t.detach().requires_grad_(requires_grad) for t in tensors)
        given, grad = (
            (x, weight, attention, beta if bias else None),
            torch.randn(len(x), weight.shape[1], *size, device=DEVICE),
        )
        forward = gpu.OPERATION.outer if requires_grad else gpu.OPERATION.inner
        backward = gpu.OPERATION.outer_backward if requires_grad else gpu.OPERATION.inner_backward
        opcheck(forward, (*given, *steps, 1))
        opcheck(backward, (*given, grad, *steps, 1, [True, True, True, bias]))


@works
def test_what_is_given_channels_last_comes_back_so():
    (x, *others), steps = tensors_of("a stride")
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    y = dynamic_conv(x, *others, *steps, method="triton")
    y.square().sum().backward()
    for t in (y, x.grad):
        assert t.is_contiguous(memory_format=torch.channels_last)
        assert not t.is_contiguous()


@works
def test_the_same_sums_every_time():
    tensors, steps = tensors_of("many images" if ON_GPU else "many kernels")
    for one, two in zip(*(answers(tensors, steps, "triton") for _ in range(2)), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("shape", "kernel", "groups", "dtype"),
    [
        ((2, 16, 9), (3,), 1, torch.float32),
        ((2, 16, 5, 5), (3, 3), 2, torch.float32),
        ((2, 16, 5, 5), (3, 3), 1, torch.float64),
        ((0, 16, 5, 5), (3, 3), 1, torch.float32),
    ],
    ids=["1-d", "groups", "double", "no images"],
)
def test_elsewhere_it_is_another_method(shape, kernel, groups, dtype):
    x = torch.randn(shape, dtype=dtype, device=DEVICE)
    weight = torch.randn(3, 16, 16 // groups, *kernel, dtype=dtype, device=DEVICE)
    attention = torch.rand(shape[0], 3, dtype=dtype, device=DEVICE)
    assert not gpu.takes(x, weight, dtype)
    ours, theirs = (dynamic_conv(x, weight, attention, groups=groups, method=m) for m in ("triton", "outputs"))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@works
def test_what_does_not_fit_is_refused():
    (x, weight, attention, bias), steps = tensors_of("many kernels")
    for given, said in (
        ((x, weight, attention[:1], bias), r"attention must be \(B, K\) = \(2, 9\), got \(1, 9\)"),
        ((x, weight, attention, bias[:, 1:]), r"bias must be \(K, O\) = \(9, 16\), got \(9, 15\)"),
        ((x, weight, attention.double(), bias), "takes tensors of one dtype .* torch.float64"),
        ((x[:, 1:], weight, attention, bias), r"got \(2, 23, 5, 5\)"),
    ):
        with pytest.raises(ValueError, match=said):
            gpu.OPERATION.inner(*given, *steps, 1)
    with pytest.raises(ValueError, match="grad must be"):
        gpu.OPERATION.inner_backward(x, weight, attention, bias, x, *steps, 1, [True] * 4)


@on_gpu
def test_the_choice():
    weight, pointwise = (torch.empty(4, 32, 32, size, size, device="cuda", requires_grad=True) for size in (3, 1))
    many, few, one = (torch.empty(shape, device="cuda") for shape in ((8, 32, 28, 28), (8, 32, 7, 7), (1, 32, 28, 28)))
    last = many.contiguous(memory_format=torch.channels_last)
    assert choose_method(many, weight) == "grouped"
    assert choose_method(few, weight) == "outputs"
    assert choose_method(many, weight, stride=(2, 2)) == "triton"
    assert choose_method(many.bfloat16(), weight.bfloat16()) == "triton"
    assert choose_method(few.bfloat16(), weight.bfloat16()) == "outputs"
    assert choose_method(one, weight) == "grouped"
    assert choose_method(many, pointwise) == "unfold"
    assert choose_method(last, pointwise) == "triton"
    with torch.autocast("cuda", torch.bfloat16), torch.no_grad():
        assert choose_method(few, weight) == "triton"


@on_gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_compiled_and_under_autocast(layout):
    torch.manual_seed(0)
    layer = DynamicConv2d(32, 48, 3, padding=1).cuda()
    x = torch.randn(4, 32, 20, 20, device="cuda").contiguous(memory_format=layout)
    compiled = torch.compile(layer, fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x), atol=1e-4, rtol=1e-4)
    with torch.autocast("cuda", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), atol=5e-2, rtol=5e-2)
    y.float().square().mean().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_without_triton_it_is_another_method_and_every_module_is_imported():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, dynconv.native.gpu_kernels as kernels; from dynconv.functional import dynamic_conv\n"
        "x, weight = torch.randn(2, 16, 5, 5), torch.randn(3, 16, 16, 3, 3)\n"
        "print(kernels.__all__, dynamic_conv(x, weight, torch.rand(2, 3), method='triton').shape)"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=200)
    assert "torch.Size([2, 16, 3, 3])" in done.stdout, done.stderr


def test_by_the_interpreter():
    if ON_GPU or INTERPRETED:
        pytest.skip("the tests above ran")
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton comes with torch's builds for NVIDIA's GPUs")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", __file__]
    command += ["-W", "ignore:Conversion of an array:DeprecationWarning"]  # older interpreters with today's numpy
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        command, cwd=Path(__file__).resolve().parents[2], env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout

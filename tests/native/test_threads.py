"""The same bits for any number of threads, run after run: of the C++, of a layer with its attention, of what it has learned."""

import pytest
import torch
import torch.nn.functional as F
from torch._vmap_internals import _vmap

from dynconv import DynamicConv2d, native
from dynconv.functional import choose_method
from dynconv.layers.linear import Linear
from tests.native.geometries import a_geometry, output_and_gradients

THREADS = (2, 3, 5, 1)


@pytest.fixture(scope="module", autouse=True)
def library():
    try:
        native.build()
    except RuntimeError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def on_threads():
    """Calls a function on some threads."""
    before = torch.get_num_threads()

    def call(threads, function):
        torch.set_num_threads(threads)
        try:
            return function()
        finally:
            torch.set_num_threads(before)

    yield call
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("seed", range(40))
def test_outputs_and_all_gradients(seed, on_threads):
    tensors, options = a_geometry(seed)
    expected = on_threads(1, lambda: output_and_gradients(tensors, options, "native"))
    for threads in THREADS:
        found = on_threads(threads, lambda: output_and_gradients(tensors, options, "native"))
        for name, one, other in zip(("y", "x", "weight", "attention", "bias"), found, expected, strict=True):
            assert torch.equal(one, other), f"{name} differs on {threads} threads"


@pytest.mark.parametrize(
    ("batch", "channels", "outs", "stack", "kernel", "padding", "dilation", "size"),
    [
        (2, 70, 52, 9, (5, 5), (1, 2), (2, 2), (7, 5)),
        (3, 68, 39, 9, (5, 4), (1, 0), (2, 1), (7, 5)),
        (3, 61, 13, 7, (5, 5), (1, 1), (2, 2), (7, 7)),
        (17, 39, 44, 3, (3, 3), (1, 0), (1, 2), (5, 5)),
    ],
)
def test_few_positions(batch, channels, outs, stack, kernel, padding, dilation, size, on_threads):
    """A compiler may round a product before it is added in one size of tile, and not in another: tiles hang on sizes alone."""
    shapes = (batch, channels, *size), (stack, outs, channels, *kernel), (batch, stack), (stack, outs)
    tensors, options = [torch.randn(shape) for shape in shapes], {"padding": padding, "dilation": dilation}
    expected = on_threads(1, lambda: output_and_gradients(tensors, options, "native"))
    for threads in THREADS:
        found = on_threads(threads, lambda: output_and_gradients(tensors, options, "native"))
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True)), threads


@pytest.mark.parametrize("stride", [1, 2])
def test_a_layer_of_odd_sizes_by_auto(stride, on_threads):
    """Sizes at which torch's own products of the attention, and its convolution, have other bits on three threads."""
    layer, x = DynamicConv2d(40, 36, (6, 5), stride, temperature=1.0), torch.randn(16, 40, 40, 40, requires_grad=True)

    def gradients():
        return torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()])

    expected = on_threads(1, gradients)
    for threads in THREADS:
        found = on_threads(threads, gradients)
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True)), threads


def test_under_deterministic_algorithms_auto_is_exact_for_all_that_it_takes(on_threads):
    def learned():
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            DynamicConv2d(3, 20, 7, 2, padding=3),
            torch.nn.BatchNorm2d(20),
            DynamicConv2d(20, 64, 1),
            DynamicConv2d(64, 7, 3, 2),
        )
        x, optimizer = torch.randn(4, 3, 40, 40), torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (net(x) - 1).square().mean().backward()
            optimizer.step()
        return [t.detach().clone() for t in (*net.parameters(), *net.buffers())]

    torch.use_deterministic_algorithms(True)
    try:
        assert choose_method(torch.empty(8, 3, 40, 40), torch.empty(4, 20, 3, 7, 7)) == "native"
        expected = on_threads(1, learned)
        for threads in THREADS:
            assert all(torch.equal(*pair) for pair in zip(on_threads(threads, learned), expected, strict=True)), threads
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("bias", [True, False])
def test_the_attentions_linear_layer_is_torchs_function(bias):
    layer = Linear(40, 10, bias)
    for x in (torch.randn(9, 40), torch.randn(40, 9).T, torch.randn(1, 40), torch.randn(0, 40), torch.randn(2, 3, 40)):
        inputs = [x.requires_grad_(), *layer.parameters()]
        answers = []
        for y in (layer(x), F.linear(*inputs)):
            first = torch.autograd.grad(y, inputs, torch.ones_like(y).cumsum(-1), retain_graph=True)
            again = torch.autograd.grad(y.pow(2).sum(), inputs, create_graph=True)
            answers.append((y, *first, *torch.autograd.grad(sum(g.pow(2).sum() for g in again), inputs)))
        torch.testing.assert_close(*answers, atol=1e-3, rtol=1e-4)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        layer(torch.randn(3, 20))
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.randn(3, 40).double())
    with pytest.raises(RuntimeError, match="size"):
        native.perceptron(torch.randn(3, 40), torch.randn(10, 40), torch.randn(5))


@pytest.mark.parametrize(("rows", "ins", "outs"), [(8, 40, 10), (33, 40, 64), (64, 300, 75), (5, 7, 3)])
def test_a_linear_layer_on_any_number_of_threads(rows, ins, outs, on_threads):
    layer, x = Linear(ins, outs), torch.randn(rows, ins, requires_grad=True)

    def answers():
        y = layer(x)
        return y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])

    expected = on_threads(1, answers)
    for threads in THREADS:
        assert all(torch.equal(*pair) for pair in zip(on_threads(threads, answers), expected, strict=True)), threads


def test_gradients_batched_as_gradcheck_does():
    layer, x = DynamicConv2d(16, 16, 3, padding=1, temperature=1.0), torch.randn(2, 16, 8, 8, requires_grad=True)
    y, inputs = layer(x), [x, *layer.parameters()]
    directions = torch.randn(3, *y.shape)
    expected = zip(*(torch.autograd.grad(y, inputs, g, retain_graph=True) for g in directions), strict=True)
    found = _vmap(lambda g: torch.autograd.grad(y, inputs, g, retain_graph=True))(directions)
    torch.testing.assert_close(found, tuple(map(torch.stack, expected)))

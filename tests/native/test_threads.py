"""The same bits for any number of threads, run after run: of the C++, of a layer with its attention, of what it has learned."""

import pytest
import torch
import torch.nn.functional as F

from dynconv import DynamicConv2d, native
from dynconv.functional import choose_method
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
    from dynconv.layers.linear import Linear

    layer = Linear(40, 10, bias)
    for x in (torch.randn(9, 40), torch.randn(1, 40), torch.randn(0, 40), torch.randn(2, 3, 40), torch.randn(40)):
        inputs = [x.requires_grad_(), *layer.parameters()]
        y, expected = layer(x), F.linear(*inputs)
        torch.testing.assert_close(y, expected)
        direction = torch.randn_like(y)
        found, wanted = (torch.autograd.grad(out, inputs, direction) for out in (y, expected))
        torch.testing.assert_close(found, wanted)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        layer(torch.randn(3, 20))
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.randn(3, 40).double())

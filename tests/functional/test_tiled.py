"""The tiled method, cut into many tiles: the definition, and everything autograd asks of a function."""

import pytest
import torch

from dynconv.functional import dynamic_conv, tiled
from dynconv.functional.methods import backends

GEOMETRIES = [
    # batch, K, out, channels, kernel, size, options
    (5, 3, 7, 4, (3, 3), (6, 5), {"padding": 1}),
    (5, 4, 6, 8, (1, 1), (4, 4), {}),
    (3, 2, 5, 16, (5, 3), (7, 7), {"padding": (2, 1), "stride": (2, 1)}),
    (4, 2, 5, 3, (3, 3), (9, 9), {"dilation": 2, "stride": 2}),
    (4, 2, 5, 3, (3,), (9,), {"padding": 1}),
    (2, 2, 3, 3, (2, 3, 2), (4, 5, 4), {"padding": 1}),
]
FORWARD_MODE = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated"
)  # torch's own, when it is first used


@pytest.fixture(params=GEOMETRIES, ids=str)
def geometry(request):
    batch, num_kernels, out, channels, kernel, size, options = request.param
    x = torch.randn(batch, channels, *size, dtype=torch.float64)
    weight = torch.randn(num_kernels, out, channels, *kernel, dtype=torch.float64)
    attention, bias = torch.randn(batch, num_kernels).double(), torch.randn(num_kernels, out).double()
    return [t.requires_grad_() for t in (x, weight, attention, bias)], options


@pytest.fixture(params=[(2, 2), (1, 3), (100, 100)], ids=str, autouse=True)
def tiles(request, monkeypatch):
    monkeypatch.setattr(tiled, "TILE", 0)
    monkeypatch.setattr(tiled, "FEWEST_IMAGES", request.param[0])
    monkeypatch.setattr(tiled, "FEWEST_CHANNELS", request.param[1])


@pytest.mark.parametrize("last", [True, False], ids=["channels last", "channels first"])
def test_output_and_gradients_are_those_of_the_other_methods(geometry, last, monkeypatch):
    tensors, options = geometry
    monkeypatch.setattr(tiled, "ORDER", 0 if last is False else 10**9)
    answers = []
    for method in ("tiled", "grouped"):
        y = dynamic_conv(*tensors, **options, method=method)
        direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
        answers.append((y, *torch.autograd.grad((y * direction).sum(), tensors)))
    torch.testing.assert_close(*answers)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_a_gradient_alone_is_the_gradient_among_others(geometry, wanted):
    tensors, options = geometry
    alone = [t.detach().requires_grad_(i == wanted) for i, t in enumerate(tensors)]
    one = torch.autograd.grad(dynamic_conv(*alone, **options, method="tiled").square().sum(), alone[wanted])
    among = torch.autograd.grad(dynamic_conv(*tensors, **options, method="tiled").square().sum(), tensors)
    torch.testing.assert_close(one[0], among[wanted])


@FORWARD_MODE
def test_derivatives_of_derivatives_and_forward_mode():
    x, weight, attention = torch.randn(3, 2, 4, 4), torch.randn(2, 3, 2, 3, 3), torch.randn(3, 2)
    tensors = [t.double().requires_grad_() for t in (x, weight, attention)]

    def function(*tensors):
        return dynamic_conv(*tensors, padding=1, method="tiled")

    assert torch.autograd.gradcheck(function, tensors, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, tensors)


@FORWARD_MODE
def test_function_transforms():
    x, weight, attention = torch.randn(3, 2, 4, 4), torch.randn(2, 3, 2, 3, 3), torch.randn(5, 3, 2)

    def by(method):
        return lambda attention: dynamic_conv(x, weight, attention, method=method)

    torch.testing.assert_close(torch.vmap(by("tiled"))(attention), torch.vmap(by("unfold"))(attention))
    jacobian = torch.func.jacrev(by("tiled"))(attention[0])
    torch.testing.assert_close(jacobian, torch.func.jacrev(by("grouped"))(attention[0]))
    torch.testing.assert_close(jacobian, torch.func.jacfwd(by("tiled"))(attention[0]))


def test_nothing_but_the_input_waits_for_the_backward_pass():
    x, weight = torch.randn(16, 8, 4, 4, requires_grad=True), torch.randn(4, 32, 8, 3, 3, requires_grad=True)
    attention, kept = torch.rand(16, 4, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        dynamic_conv(x, weight, attention, padding=1, method="tiled")
    assert sum(kept) == x.numel() + weight.numel() + attention.numel()


def test_a_kernel_larger_than_the_input():
    x, weight, attention = torch.randn(2, 3, 2, 2), torch.randn(2, 4, 3, 3, 3), torch.rand(2, 2)
    with pytest.raises(ValueError, match=r"kernel \(3, 3\) is larger than the padded input, \(2, 2\)"):
        dynamic_conv(x, weight, attention, method="tiled")


@pytest.mark.parametrize("groups", [1, 2])
def test_where_tiles_do_not_fit_the_patches_go(groups):
    x, weight, attention = torch.randn(2, 4, 5, 5), torch.randn(2, 6, 4 // groups, 3, 3), torch.rand(2, 2)
    assert ("tiled" in backends(x, weight, attention)) == (groups == 1)
    assert not backends(x.bfloat16(), weight.bfloat16(), attention)
    assert not backends(x.to("meta"), weight, attention)
    assert not backends(x.to_sparse(), weight, attention)
    with torch.autocast("cpu"):
        assert not backends(x, weight, attention)
    y = dynamic_conv(x, weight, attention, groups=groups, method="tiled")
    torch.testing.assert_close(y, dynamic_conv(x, weight, attention, groups=groups, method="grouped"))

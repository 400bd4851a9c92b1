"""Every method under every kind of derivative, on layers whose attention hangs on the input, against the definition in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import func, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from dynconv import DynamicConv2d, native
from dynconv.functional import METHODS, dynamic_conv

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated",  # torch's own, when forward mode is first used
    "ignore:There is a performance drop:UserWarning",  # of aten::unfold_backward under vmap
)
REGISTERED = ("native",)


def definition(layer, x, attention=None):
    """Image by image, with torch's own convolution."""
    attention = layer.attention(x) if attention is None else attention
    kernels, biases = attention @ layer.weight.flatten(1), attention @ layer.bias
    shape = layer.weight.shape[1:]
    return torch.cat([F.conv2d(x[b : b + 1], kernels[b].reshape(shape), biases[b], padding=1) for b in range(len(x))])


def scalar(f):
    return lambda x: f(x).pow(3).sum()


def first(f, x, **options):
    return torch.autograd.grad(scalar(f)(x), x, **options)[0]


def second_order(f, x):
    return torch.autograd.grad(first(f, x, create_graph=True).square().sum(), x)[0]


def third_order(f, x):
    second = torch.autograd.grad(first(f, x, create_graph=True).square().sum(), x, create_graph=True)[0]
    return torch.autograd.grad(second.square().sum(), x)[0]


def forward_mode(f, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(forward_ad.make_dual(x, x.detach().cos()))).tangent


def forward_over_reverse(f, x):
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.detach(), x.detach().cos()).requires_grad_()
        return forward_ad.unpack_dual(first(f, dual, create_graph=True)).tangent


def reverse_over_forward(f, x):
    return torch.autograd.grad(forward_mode(f, x).square().sum(), x)[0]


def a_dual_gradient(f, x):
    """The tangent enters at the gradient of the outputs only."""
    y = f(x)
    with forward_ad.dual_level():
        given = forward_ad.make_dual(y.detach(), y.detach().cos())
        return forward_ad.unpack_dual(torch.autograd.grad(y, x, given, create_graph=True)[0]).tangent


def batched_gradients(f, x, **options):
    y = f(x)
    directions = torch.stack([y.detach().cos(), y.detach().sin()])
    return torch.autograd.grad(y, x, directions, is_grads_batched=True, **options)[0]


def batched_second_order(f, x):
    return torch.autograd.grad(batched_gradients(f, x, create_graph=True).square().sum(), x)[0]


def a_checkpoint(f, x, reentrant=False):
    y = checkpoint(f, x, use_reentrant=reentrant)
    return torch.autograd.grad(scalar(lambda y: y)(y), x)[0] if not reentrant else (y.sum().backward(), x.grad)[1]


def hooks_on_intermediate_tensors(f, x):
    hidden, seen = x.sin(), []
    hidden.register_hook(lambda g: seen.append(g) or 2 * g)
    y = f(hidden)
    y.register_hook(lambda g: seen.append(g) or g * g.sign())
    return torch.cat([t.flatten() for t in (*torch.autograd.grad(scalar(lambda y: y)(y), x), *seen)])


def saved_tensors_hooks(f, x):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        return second_order(f, x)


KINDS = {
    "create_graph": lambda f, x: first(f, x, create_graph=True),
    "second order": second_order,
    "third order": third_order,
    "forward mode": forward_mode,
    "forward over reverse": forward_over_reverse,
    "reverse over forward": reverse_over_forward,
    "a dual gradient": a_dual_gradient,
    "batched gradients": batched_gradients,
    "batched, second order": batched_second_order,
    "vectorised Jacobian": lambda f, x: torch.autograd.functional.jacobian(f, x, vectorize=True),
    "vectorised Hessian": lambda f, x: torch.autograd.functional.hessian(
        scalar(f), x, vectorize=True, outer_jacobian_strategy="forward-mode"
    ),
    "func.grad": lambda f, x: func.grad(scalar(f))(x),
    "func.jvp": lambda f, x: func.jvp(f, (x,), (x.cos(),))[1],
    "func.jacrev": lambda f, x: func.jacrev(f)(x),
    "func.jacfwd": lambda f, x: func.jacfwd(f)(x),
    "func.hessian": lambda f, x: func.hessian(scalar(f))(x),
    "func.vmap": lambda f, x: func.vmap(f)(torch.stack([x, x.cos()])),
    "vmap of grad": lambda f, x: func.vmap(func.grad(scalar(f)))(torch.stack([x, x.cos()])),
    "a gradient in vmap": lambda f, x: func.vmap(lambda v: torch.autograd.grad(f(x), x, v)[0])(
        torch.stack([f(x).detach().cos()] * 2)
    ),
    "checkpoint": a_checkpoint,
    "reentrant checkpoint": lambda f, x: a_checkpoint(f, x, reentrant=True),
    "hooks": hooks_on_intermediate_tensors,
    "saved_tensors_hooks": saved_tensors_hooks,
}


class Seen(TorchDispatchMode):
    """Which operations ran."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.names.add(op.name())
        return op(*args, **(kwargs or {}))


def a_layer(method, dtype, softmax=True):
    torch.manual_seed(0)
    attention = None if softmax else nn.Sequential(nn.AvgPool2d((5, 4)), nn.Flatten(), nn.Linear(2, 2), nn.Sigmoid())
    options = {"num_kernels": 2, "reduction": 1, "temperature": 0.5, "attention": attention}
    layer = DynamicConv2d(2, 3, 3, padding=1, method=method, **options)
    return layer.to(dtype), torch.randn(3, 2, 5, 4, dtype=torch.float64).to(dtype).requires_grad_()


@pytest.fixture(scope="module")
def table():
    rows = {}
    yield rows
    print("\n| kind | " + " | ".join(METHODS) + " |\n" + "| --- " * (len(METHODS) + 1) + "|")
    for kind in KINDS:
        print(f"| {kind} | " + " | ".join(rows.get((method, kind), "?") for method in METHODS) + " |")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_every_derivative_of_every_method_is_the_definitions(method, kind, table):
    if method == "native" and native.library() is None:
        pytest.skip("the C++ library is not built")
    softmax = kind != "reverse over forward"  # torch cannot differentiate its softmax so
    layer, x = a_layer(method, torch.float32 if method == "native" else torch.float64, softmax)
    with Seen() as seen:
        found = KINDS[kind](layer, x).double()
    exact, x = a_layer("outputs", torch.float64, softmax)
    expected = KINDS[kind](lambda x: definition(exact, x), x)
    tolerance = 2e-4 if method == "native" else 1e-9
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, atol=tolerance, rtol=0)
    by_itself = method not in REGISTERED or f"dynconv::_{method}" in seen.names
    table[method, kind] = "exact" if by_itself else "falls back"
    transformed = kind.startswith(("func.", "vmap"))  # these are given torch's own operations
    assert by_itself == (method not in REGISTERED or not transformed)


@pytest.mark.parametrize("method", METHODS)
def test_gradcheck_and_gradgradcheck_of_a_layer(method):
    layer, x = a_layer(method, torch.float64)
    names = [name for name, _ in layer.named_parameters()]
    layer.requires_grad_(False)
    small = x.detach()[:2, :, :3, :3].requires_grad_()
    leaves = small, layer.weight.detach().clone().requires_grad_(), layer.bias.detach().clone().requires_grad_()
    assert "weight" in names

    def call(x, weight, bias):
        return func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(
        call, leaves, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True, fast_mode=True
    )
    assert torch.autograd.gradgradcheck(call, leaves, check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_penalty_and_a_hessian_vector_product(method):
    """R1 (Mescheder et al., https://arxiv.org/abs/1801.04406): the parameters' gradient of the input's gradient, squared."""
    answers = []
    for dtype, f in ((torch.float32, None), (torch.float64, definition)):
        layer, x = a_layer(method if f is None else "outputs", dtype)
        run = layer if f is None else lambda x, layer=layer: definition(layer, x)
        parameters = list(layer.parameters())
        penalty = torch.autograd.grad(run(x).square().sum(), x, create_graph=True)[0].square().sum()
        r1 = torch.autograd.grad(penalty, parameters, retain_graph=True)
        loss = run(x).square().sum()
        grads = torch.autograd.grad(loss, parameters, create_graph=True)
        product = torch.autograd.grad(grads, parameters, [p.detach().cos() for p in parameters])
        answers.append([t.double() for t in (*r1, *product)])
    for ours, theirs in zip(*answers, strict=True):
        scale = theirs.abs().max()
        torch.testing.assert_close(ours / scale, theirs / scale, atol=2e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("stride", "groups"), [(2, 1), (1, 2)])
def test_second_order_at_a_stride_and_in_groups(method, stride, groups):
    tensors = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 4, 6, 5), (3, 2, 4 // groups, 3, 3), (2, 3), (3, 2))
    ]

    def call(*tensors):
        return dynamic_conv(*tensors, stride, 1, groups=groups, method=method)

    assert torch.autograd.gradgradcheck(call, tensors, fast_mode=True, check_fwd_over_rev=True)


def test_per_sample_gradients_of_a_stack_of_models():
    """torch.func's ensembles and per-sample gradients: vmap over parameters, and over images."""
    layers = [a_layer("native", torch.float32)[0] for _ in range(2)]
    with torch.no_grad():
        layers[1].weight.mul_(2)
    x = a_layer("native", torch.float32)[1].detach()
    parameters, buffers = func.stack_module_state(layers)[0], dict(layers[0].named_buffers())

    def loss(parameters, buffers, x):
        return func.functional_call(layers[0], (parameters, buffers), (x,)).square().sum()

    both = func.vmap(loss, in_dims=(0, None, None))(parameters, buffers, x)
    torch.testing.assert_close(both, torch.stack([layer(x).square().sum() for layer in layers]))
    one = {name: p.detach() for name, p in layers[0].named_parameters()}
    each = func.vmap(func.grad(loss), in_dims=(None, None, 0))(one, buffers, x[:, None])
    for i, image in enumerate(x):
        gradient = torch.autograd.grad(layers[0](image[None]).square().sum(), layers[0].weight)[0]
        torch.testing.assert_close(each["weight"][i], gradient, atol=1e-4, rtol=1e-4)

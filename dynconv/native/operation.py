r"""A way to compute a dynamic convolution, made known to torch: compilers, counters and function transforms then see one operation.

Reference: https://docs.pytorch.org/docs/stable/library.html

With a gradient g of the outputs there is one number

.. math:: L(x, W, \pi, \beta, g) = \langle g, (\pi W) * x \rangle + \langle g, \pi \beta \rangle

and each of its two parts is linear in each of its inputs. The outputs are its derivative by g, the gradients those by x, W, π
and β. Whatever is differentiated again is such a derivative with one input exchanged for a direction, of the parts that the
input stands in: so two functions, ``forward`` and ``backward``, give derivatives of every order, backward and forward.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor
from torch.autograd import forward_ad
from torch.utils._device import DeviceContext
from torch.utils.flop_counter import register_flop_formula

from . import definition
from .definition import Derivatives, Ints

__all__ = ["Operation", "derivatives", "format_of", "learns", "plain", "through", "tracing", "unwatched"]

LIBRARY = torch.library.Library("dynconv", "FRAGMENT")
INPUTS = "Tensor x, Tensor weight, Tensor attention, Tensor? bias"
GEOMETRY = "int[] stride, SymInt[] padding, int[] dilation, int groups"
CONVOLVED, BIAS = (0, 1), 3  # of L's inputs: those of its first part alone, and that of its second part alone
FOUR = "(Tensor, Tensor, Tensor, Tensor)"
PLAIN = (Tensor, torch.nn.Parameter)
# torch keeps compiled graphs on disk by the names of what was called, and looks no deeper: another file is another name
REVISION = "r" + hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
# torch.func's transforms begin here: they are given torch's own operations, which they can take apart
COMPOSITE = "CompositeImplicitAutograd"
TRANSFORMS = "FuncTorchDynamicLayerFrontMode"
Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


class Operation:
    """``torch.ops.dynconv.<name>``, with derivatives, and ``<name>_backward``; called, it is the shortest way to the first.

    Each goes by an inner one, ``_<name>`` and ``_<name>_backward``, which does the work and knows no derivative. Where nobody
    looks on, a call does the work without them: on small layers torch's way through a registered operation costs as much.

    Args:
        name: of the operation.
        forward: (x, weight, attention, bias, stride, padding, dilation, groups) → outputs.
        backward: (x, weight, attention, bias, grad, stride, padding, dilation, groups, needed) → the four gradients, None for
            what is not needed.
        key: whose tensors they take, as torch.library names it: "CPU", or "CompositeExplicitAutograd" for any device.
        check: raises unless ``forward`` takes its arguments, or ``backward`` all but the last; the registered operations ask it.
        layout: (x, weight, *geometry) → how the outputs and the gradient of x lie.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[..., Tensor],
        backward: Callable[..., Derivatives],
        key: str,
        check: Callable[..., None] = lambda *given: None,
        layout: Callable[..., torch.memory_format] = lambda x, weight, *geometry: torch.contiguous_format,
    ) -> None:
        def fake_forward(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
            spatial = definition.output_size(x.shape[2:], weight.shape[3:], *geometry[:3])
            lie = layout(x, weight, *geometry)
            return x.new_empty(x.shape[0], weight.shape[1], *spatial).contiguous(memory_format=lie)

        def fake_backward(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *rest: Any) -> Gradients:
            given = zip((x, weight, attention, bias), rest[-1], strict=True)
            found = tuple(t.new_empty(t.shape) if want and t is not None else None for t, want in given)
            return _filled(x, found, layout(x, weight, *rest[1:-1]))

        def checked(*given: Any) -> Tensor:
            check(*given)
            return forward(*given)

        def all_four(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *rest: Any) -> Gradients:
            check(x, weight, attention, bias, *rest[:-1])
            return _filled(x, backward(x, weight, attention, bias, *rest), layout(x, weight, *rest[1:-1]))

        one, four = f"{INPUTS}, {GEOMETRY}) -> Tensor", f"{INPUTS}, Tensor grad, {GEOMETRY}, bool[] needed) -> {FOUR}"
        shown, backwards = f"{name}.{REVISION}(", f"{name}_backward.{REVISION}("
        self.forward, self.backward = forward, backward
        self.inner = _define(f"_{name}({one}", checked, key, fake_forward)
        self.inner_backward = _define(f"_{name}_backward({four}", all_four, key, fake_backward)
        self.outer = _define(shown + one, lambda *given: _Forward.apply(self, *given[:4], given[4:]), COMPOSITE)
        self.outer_backward = _define(
            backwards + four, lambda *given: _Backward.apply(self, *given[:5], given[5:-1], given[-1]), COMPOSITE
        )
        LIBRARY.impl(f"{name}.{REVISION}", definition.forward, TRANSFORMS)
        LIBRARY.impl(f"{name}_backward.{REVISION}", _transformed_backward, TRANSFORMS)
        register_flop_formula(getattr(torch.ops.dynconv, f"_{name}"))(_flops)
        register_flop_formula(getattr(torch.ops.dynconv, f"_{name}_backward"))(_flops_backward)

    def __call__(self, x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
        given = (x, weight, attention, bias)
        if not unwatched():
            y: Tensor = self.outer(*given, *geometry)
        elif learns(*given):
            y = _Forward.apply(self, *given, geometry)
        else:
            y = self.forward(*given, *geometry)
        return y


def unwatched() -> bool:
    """Whether no compiler, mode or transform of torch's wants to see operations: only then one may be left out.

    torch has no public name for the last questions; where there is no answer somebody is taken to look on.
    """
    if torch.compiler.is_compiling() or torch.compiler.is_exporting() or tracing():
        return False
    try:
        if torch._C._len_torch_function_stack():  # a default device looks at what is new only
            modes = torch.overrides._get_current_function_mode_stack()
            if not all(isinstance(mode, DeviceContext) for mode in modes):
                return False
        looking = torch._C._len_torch_dispatch_stack()
        return not (looking or torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0)
    except AttributeError:
        return False


def plain(tensors: Sequence[Any]) -> bool:
    """Whether they have memory as they look, of one dtype on one device: no subclass, nothing sparse, no batch of gradcheck's."""
    like = tensors[0].dtype, tensors[0].device, torch.strided
    for t in tensors:
        if t is None:
            continue
        if type(t) not in PLAIN or (t.dtype, t.device, t.layout) != like or is_legacy_batchedtensor(t):
            return False
    return True


def through(
    function: Callable[..., Tensor], given: Sequence[Any], wanted: Sequence[bool], grad: Tensor
) -> list[Tensor | None]:
    """The gradients that are wanted of what was given, through a function of torch's operations: they can be differentiated again."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        y = function(*given)
    inputs = [t for t, want in zip(given, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(y, inputs, grad, create_graph=again))
    return [next(found) if want else None for want in wanted]


def learns(*given: Tensor | None) -> bool:
    """Whether a gradient is wanted."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given)


def tracing() -> bool:
    """Whether torch.jit.trace is looking on."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operation: Operation, *rest: Any) -> Any:
        *tensors, ctx.geometry = rest
        _keep(ctx, operation, tensors)
        return (operation.forward if unwatched() else operation.inner)(*tensors, *ctx.geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        if grad is None:
            return (None,) * 6
        five, wanted = (*ctx.saved_tensors, grad), ctx.needs_input_grad[1:5]
        if torch.is_grad_enabled() or not unwatched():
            return None, *derivatives(ctx, five, (*wanted, False))[:4], None
        # nothing is differentiated again
        found = (ctx.operation.backward if plain(five) else ctx.operation.inner_backward)(*five, *ctx.geometry, wanted)
        return None, *(g if want else None for g, want in zip(found, wanted, strict=True)), None

    @staticmethod
    def jvp(ctx: Any, _: None, *changes: Any) -> Any:
        return _all_changes(ctx, (*ctx.saved_tensors, None), changes[:4], (*(False,) * 4, True))[4]


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operation: Operation, *rest: Any) -> Any:
        *tensors, ctx.geometry, ctx.needed = rest
        _keep(ctx, operation, tensors)
        found = operation.inner_backward(*tensors, *ctx.geometry, ctx.needed)
        ctx.mark_non_differentiable(*(g for g, want in zip(found, ctx.needed, strict=True) if not want))
        return found

    @staticmethod
    def backward(ctx: Any, *changes: Tensor | None) -> Any:
        return None, *_all_changes(ctx, ctx.saved_tensors, changes, ctx.needs_input_grad[1:6]), None, None

    @staticmethod
    def jvp(ctx: Any, _: None, *changes: Any) -> Any:
        return _all_changes(ctx, ctx.saved_tensors, changes[:5], (*ctx.needed, False))[:4]


def _keep(ctx: Any, operation: Operation, tensors: Sequence[Tensor]) -> None:
    ctx.operation = operation
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)
    ctx.set_materialize_grads(False)


def format_of(x: Tensor, *_: Tensor) -> torch.memory_format:
    """Channels last, if the images lie so and not otherwise."""
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _filled(x: Tensor, gradients: Derivatives, layout: torch.memory_format = torch.contiguous_format) -> Gradients:
    """An operation cannot return None, nor two formats of one thing: the gradient of the images lies as ``layout`` says."""
    of_x, *others = gradients
    two, three, four = (x.new_empty(0) if g is None else g.contiguous() for g in others)
    return x.new_empty(0) if of_x is None else of_x.contiguous(memory_format=layout), two, three, four


def _all_changes(
    ctx: Any, five: Sequence[Any], changes: Sequence[Tensor | None], wanted: Sequence[bool]
) -> Derivatives:
    """The derivatives of L that are wanted, along the changes of its inputs: for each, L with that input exchanged for it."""
    total: Derivatives = (None,) * 5
    for i, change in enumerate(changes):
        if change is not None:
            given, rest = [*five[:i], change, *five[i + 1 :]], [want and i != j for j, want in enumerate(wanted)]
            found = _of_bias_alone(ctx, given, rest) if i == BIAS else derivatives(ctx, given, rest, i in CONVOLVED)
            total = tuple(
                new if old is None else old if new is None else old + new for old, new in zip(total, found, strict=True)
            )
    return total


def derivatives(ctx: Any, five: Sequence[Any], wanted: Sequence[bool], without_bias: bool = False) -> Derivatives:
    """Those of L by x, weight, attention, bias and the outputs' gradient, each where it is wanted."""
    x, weight, attention, bias, grad = five
    bias = None if without_bias else bias
    found: Derivatives = (None,) * 4
    needed = [*wanted[:BIAS], wanted[BIAS] and bias is not None]
    if any(needed):
        gradients = ctx.operation.outer_backward(x, weight, attention, bias, grad, *ctx.geometry, needed)
        found = tuple(g if want else None for g, want in zip(gradients, needed, strict=True))
    return *found, ctx.operation.outer(x, weight, attention, bias, *ctx.geometry) if wanted[4] else None


def _of_bias_alone(ctx: Any, five: Sequence[Any], wanted: Sequence[bool]) -> Derivatives:
    """The same of the second part of L."""
    x, weight, attention, bias, grad = five
    spatial = definition.output_size(x.shape[2:], weight.shape[3:], *ctx.geometry[:3])
    of_attention = grad.flatten(2).sum(2) @ bias.T if wanted[2] else None
    of_grad = definition.per_channel(attention @ bias, x).expand(-1, -1, *spatial) if wanted[4] else None
    return None, None, of_attention, None, of_grad


# ------------------------------------------------------------------------------------------ what torch is told beside it


def _define(
    schema: str, kernel: Callable[..., Any], key: str, fake: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    name = schema[: schema.index("(")]
    packet, _, overload = name.partition(".")
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, kernel, key)
    if fake is not None:
        torch.library.register_fake(f"dynconv::{name}", fake, lib=LIBRARY)
    operation: Callable[..., Any] = getattr(getattr(torch.ops.dynconv, packet), overload or "default")
    return operation


def _transformed_backward(
    x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, grad: Tensor, *rest: Any
) -> Gradients:
    *geometry, needed = rest
    given = (x, weight, attention) if bias is None else (x, weight, attention, bias)
    pull = torch.func.vjp(lambda *four: definition.forward(*four, *[None] * (4 - len(four)), *geometry), *given)[1]
    found = (*pull(grad), None)[:4]
    return _filled(x, tuple(g if want else None for g, want in zip(found, needed, strict=True)))


def _flops(
    x: Ints, weight: Ints, attention: Ints, bias: Ints | None = None, *rest: Any, out_shape: Ints, **_: Any
) -> int:
    """Two a multiply-add, of the convolution and of the mixing, that of the biases too."""
    convolution = math.prod(weight[1:]) * math.prod(out_shape[2:])
    return 2 * x[0] * (convolution + weight[0] * (math.prod(weight[1:]) + (0 if bias is None else weight[1])))


def _flops_backward(x: Ints, weight: Ints, attention: Ints, bias: Ints | None, grad: Ints, *rest: Any, **_: Any) -> int:
    """A convolution for the gradient of x, whose kernels are mixed again, and one for those of the kernels."""
    of_x, of_weight, of_attention, _of_bias = rest[-1]
    convolutions = math.prod(grad[2:]) * (of_x + (of_weight or of_attention))
    return int(2 * x[0] * math.prod(weight[1:]) * (convolutions + weight[0] * (of_x + of_weight + of_attention)))

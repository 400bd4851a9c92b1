r"""A way to compute a dynamic convolution, made known to torch: compilers, counters and function transforms then see one operation.

Reference: https://docs.pytorch.org/docs/stable/library.html

Without its bias the operation is linear in each of its three inputs. With a gradient g of the outputs there is one number

.. math:: L(x, W, \pi, g) = \langle g, (\pi W) * x \rangle

linear in all four. The outputs are its derivative by g, the gradients those by x, W and π. Whatever is differentiated again
is such a derivative with one of the four exchanged for a direction: so two functions, ``forward`` and ``backward``, give
derivatives of every order, backward and forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from . import definition

__all__ = ["Operation"]

LIBRARY = torch.library.Library("dynconv", "FRAGMENT")
INPUTS, GEOMETRY = (
    "Tensor x, Tensor weight, Tensor attention",
    "int[] stride, SymInt[] padding, int[] dilation, int groups",
)
THREE = "(Tensor, Tensor, Tensor)"
# torch.func's transforms begin here: they are given torch's own operations, which they can take apart
COMPOSITE = "CompositeImplicitAutograd"
TRANSFORMS = "FuncTorchDynamicLayerFrontMode"
Ints = Sequence[int]
Shape = Sequence[int]
Gradients = tuple[Tensor, Tensor, Tensor]
Derivatives = tuple[Tensor | None, ...]


class Operation:
    """``torch.ops.dynconv.<name>``, with bias and derivatives, and ``<name>_backward``.

    Each goes by an inner one, ``_<name>`` and ``_<name>_backward``, which does the work and knows no derivative.

    Args:
        name: of the operation.
        forward: (x, weight, attention, stride, padding, dilation, groups) → outputs.
        backward: (x, weight, attention, grad, stride, padding, dilation, groups, needed) → the three gradients, None for
            what is not needed.
        key: whose tensors they take, as torch.library names it: "CPU", or "CompositeExplicitAutograd" for any device.
    """

    def __init__(
        self, name: str, forward: Callable[..., Tensor], backward: Callable[..., tuple[Tensor | None, ...]], key: str
    ) -> None:
        def all_three(x: Tensor, weight: Tensor, attention: Tensor, *rest: Any) -> Gradients:
            given, found = (x, weight, attention), backward(x, weight, attention, *rest)
            one, two, three = (
                t.new_empty(0) if g is None else g.contiguous() for t, g in zip(given, found, strict=True)
            )
            return one, two, three

        self.in_place = key == "CPU"  # memory that is new costs a CPU time
        self.inner = _define(f"_{name}({INPUTS}, {GEOMETRY}) -> Tensor", forward, key, _fake_forward)
        self.inner_backward = _define(
            f"_{name}_backward({INPUTS}, Tensor grad, {GEOMETRY}, bool[] needed) -> {THREE}",
            all_three,
            key,
            _fake_backward,
        )
        self.outer = _define(f"{name}({INPUTS}, Tensor? bias, {GEOMETRY}) -> Tensor", self._forward, COMPOSITE)
        self.outer_backward = _define(
            f"{name}_backward({INPUTS}, Tensor grad, {GEOMETRY}, bool[] needed) -> {THREE}", self._backward, COMPOSITE
        )
        LIBRARY.impl(name, _transformed_forward, TRANSFORMS)
        LIBRARY.impl(f"{name}_backward", _transformed_backward, TRANSFORMS)
        register_flop_formula(getattr(torch.ops.dynconv, f"_{name}"))(_flops)
        register_flop_formula(getattr(torch.ops.dynconv, f"_{name}_backward"))(_flops_backward)

    def _forward(self, x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
        y: Tensor = _Forward.apply(self, x, weight, attention, geometry)
        if bias is None:
            return y
        mixed = definition.per_channel(attention @ bias, y)
        return y.add_(mixed) if self.in_place else y + mixed

    def _backward(self, x: Tensor, weight: Tensor, attention: Tensor, grad: Tensor, *rest: Any) -> Gradients:
        *geometry, needed = rest
        found: Gradients = _Backward.apply(self, x, weight, attention, grad, geometry, needed)
        return found


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operation: Operation, *rest: Any) -> Any:
        *tensors, ctx.geometry = rest
        _keep(ctx, operation, tensors)
        return operation.inner(*tensors, *ctx.geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Any:
        if grad is None:
            return (None,) * 5
        wanted = (*ctx.needs_input_grad[1:4], False)
        return None, *_derivatives(ctx.operation, (*ctx.saved_tensors, grad), ctx.geometry, wanted)[:3], None

    @staticmethod
    def jvp(ctx: Any, _: None, *changes: Any) -> Any:
        parts = [
            ctx.operation.outer(*given, None, *ctx.geometry) for _, given in _exchanged(ctx.saved_tensors, changes[:3])
        ]
        return sum(parts[1:], start=parts[0])


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
        return None, *_Backward._all_changes(ctx, changes, ctx.needs_input_grad[1:5]), None, None

    @staticmethod
    def jvp(ctx: Any, _: None, *changes: Any) -> Any:
        return _Backward._all_changes(ctx, changes[:4], (*ctx.needed, False))[:3]

    @staticmethod
    def _all_changes(ctx: Any, changes: Sequence[Tensor | None], wanted: Sequence[bool]) -> Derivatives:
        total: Derivatives = (None,) * 4
        for i, given in _exchanged(ctx.saved_tensors, changes):
            others = [want and i != j for j, want in enumerate(wanted)]
            found = _derivatives(ctx.operation, given, ctx.geometry, others)
            total = tuple(
                new if old is None else old if new is None else old + new for old, new in zip(total, found, strict=True)
            )
        return total


def _keep(ctx: Any, operation: Operation, tensors: Sequence[Tensor]) -> None:
    ctx.operation = operation
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)
    ctx.set_materialize_grads(False)


def _exchanged(tensors: Sequence[Tensor], changes: Sequence[Tensor | None]) -> Iterator[tuple[int, list[Tensor]]]:
    """The tensors with one of them exchanged for its change, for each that has one."""
    for i, change in enumerate(changes):
        if change is not None:
            yield i, [*tensors[:i], change, *tensors[i + 1 :]]


def _derivatives(
    operation: Operation, four: Sequence[Tensor], geometry: Sequence[Any], wanted: Sequence[bool]
) -> Derivatives:
    """Those of L by x, weight, attention and the outputs' gradient, each where it is wanted."""
    found: Derivatives = (None,) * 3
    if any(wanted[:3]):
        gradients = operation.outer_backward(*four, *geometry, wanted[:3])
        found = tuple(g if want else None for g, want in zip(gradients, wanted[:3], strict=True))
    return *found, operation.outer(*four[:3], None, *geometry) if wanted[3] else None


# ------------------------------------------------------------------------------------------ what torch is told beside it


def _define(
    schema: str, kernel: Callable[..., Any], key: str, fake: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    name = schema[: schema.index("(")]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, kernel, key)
    if fake is not None:
        torch.library.register_fake(f"dynconv::{name}", fake, lib=LIBRARY)
    operation: Callable[..., Any] = getattr(torch.ops.dynconv, name).default
    return operation


def _fake_forward(
    x: Tensor, weight: Tensor, attention: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Tensor:
    spatial = definition.output_size(x.shape[2:], weight.shape[3:], stride, padding, dilation)
    return x.new_empty(x.shape[0], weight.shape[1], *spatial)


def _fake_backward(x: Tensor, weight: Tensor, attention: Tensor, *rest: Any) -> Gradients:
    one, two, three = (
        t.new_empty(t.shape if want else 0) for t, want in zip((x, weight, attention), rest[-1], strict=True)
    )
    return one, two, three


def _transformed_forward(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    y = definition.forward(x, weight, attention, *geometry)
    return y if bias is None else y + definition.per_channel(attention @ bias, y)


def _transformed_backward(x: Tensor, weight: Tensor, attention: Tensor, grad: Tensor, *rest: Any) -> Gradients:
    *geometry, needed = rest
    pull = torch.func.vjp(lambda *three: definition.forward(*three, *geometry), x, weight, attention)[1]
    one, two, three = (g if want else g.new_empty(0) for g, want in zip(pull(grad), needed, strict=True))
    return one, two, three


def _flops(x: Shape, weight: Shape, attention: Shape, *geometry: Any, out_shape: Shape, **_: Any) -> int:
    """Two a multiply-add, of the convolution and of the mixing."""
    kernel = math.prod(weight[1:])
    return 2 * x[0] * kernel * (math.prod(out_shape[2:]) + weight[0])


def _flops_backward(x: Shape, weight: Shape, attention: Shape, grad: Shape, *rest: Any, **_: Any) -> int:
    """A convolution for the gradient of x, whose kernels are mixed again, and one for those of the kernels."""
    of_x, of_weight, of_attention = rest[-1]
    convolutions = math.prod(grad[2:]) * (of_x + (of_weight or of_attention))
    return int(2 * x[0] * math.prod(weight[1:]) * (convolutions + weight[0] * (of_x + of_weight + of_attention)))

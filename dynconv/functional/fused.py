"""Dynamic convolution as one operation, whose mixed kernels are not kept for the backward pass but mixed again there.

What does the work is an engine: a module with ``forward`` and ``backward``, `tiled` (PyTorch's operations) or `dynconv.native`.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fits", "fused_conv"]


def fits(x: Tensor, weight: Tensor, *others: Tensor) -> bool:
    """Whether an engine can take these: real tensors on a CPU, one group, nobody tracing, casting or transforming."""
    traced = torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing()
    given = x, weight, *others
    plain = all(type(t) in (Tensor, torch.nn.Parameter) and t.device.type == "cpu" for t in given)
    exact = len({t.dtype for t in given}) == 1 and x.dtype in (torch.float32, torch.float64)
    one_group = x.shape[1] == weight.shape[2]
    transformed = torch._C._are_functorch_transforms_active()  # torch.func: what torch's own Function asks
    return plain and exact and one_group and not (traced or transformed or torch.is_autocast_enabled("cpu"))


def fused_conv(engine, x, weight, attention, bias, stride, padding, dilation) -> Tensor:
    """(B, C, *S), (K, O, C, *kernel), (B, K) → (B, O, *S'); the geometry as tuples, one number a dimension."""
    y = _Fused.apply(engine, x, weight, attention, stride, padding, dilation)
    if bias is None:
        return y
    mixed = attention @ bias  # (B, O)
    return y.add_(mixed.reshape(*mixed.shape, *[1] * (y.ndim - 2)))


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(engine, x, weight, attention, stride, padding, dilation):
        axes = zip(x.shape[2:], weight.shape[3:], stride, padding, dilation, strict=True)
        spatial = tuple((size + 2 * p - gap * (k - 1) - 1) // step + 1 for size, k, step, p, gap in axes)
        return engine.forward(x, weight, attention, spatial, stride, padding, dilation)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.engine, *tensors, stride, padding, dilation = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)
        ctx.geometry = stride, padding, dilation

    @staticmethod
    def backward(ctx, grad):
        tensors, needed = ctx.saved_tensors, ctx.needs_input_grad[1:4]
        if torch.is_grad_enabled():  # the gradient shall be differentiated again
            wanted = [t for t, want in zip(tensors, needed, strict=True) if want]
            found = iter(torch.autograd.grad(_whole(*tensors, *ctx.geometry), wanted, grad, create_graph=True))
            gradients = [next(found) if want else None for want in needed]
        else:
            gradients = ctx.engine.backward(*tensors, grad, *ctx.geometry, needed)
        return None, *gradients, None, None, None

    @staticmethod
    def jvp(ctx, _, *changes):
        given = ctx.saved_tensors  # the product is linear in each of the three
        return sum(
            _whole(*given[:i], changes[i], *given[i + 1 :], *ctx.geometry) for i in range(3) if changes[i] is not None
        )


def _whole(x, weight, attention, stride, padding, dilation):
    """The same in one piece, of operations that torch can differentiate again."""
    from .convolution import dynamic_conv

    return dynamic_conv(x, weight, attention, None, stride, padding, dilation, method="unfold")

"""A dynamic convolution from the image on: its attention and what that weighs as one step, and for autograd as one node.

The idea. Inside a network a layer finds nothing of its own in the caches, and to look at the same tensors for each of two steps, and
again for their gradients, takes longer than to compute a small layer. So a layer that has looked once says so; and what comes back
to the images through their means is added in place to what comes through the convolution.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import scores
from .convolution import OPERATION
from .definition import per_channel
from .operation import derivatives, learns, plain, through, unwatched

__all__ = ["attended", "fits"]

Given = tuple[Any, ...]  # x, weight, bias; weight, bias, second, second_bias of the scores; their temperature


def fits(given: Given) -> bool:
    """Whether they fit, and are for the library alone: float32 on a CPU."""
    x, weight, _, *layers, temperature = given
    one = temperature.numel() == 1 and not temperature.requires_grad
    ours = x.ndim + 1 == weight.ndim == 5 and one and scores.taken(given) and scores.fits((x, *layers))
    return ours and layers[2].shape[0] == weight.shape[0]


def attended(geometry: Any, *given: Any) -> Tensor | None:
    """(B, C, H, W), (K, O, C, kh, kw), … → (B, O, H', W'), of what fits; None where the temperature is none that divides."""
    *tensors, divisor = given
    temperature = ctypes.c_float.from_address(divisor.data_ptr()).value
    if not 0 < temperature < math.inf:
        return None
    if learns(*tensors):
        y: Tensor = _Attended.apply(geometry, temperature, *tensors)
        return y
    x, weight, bias, *layers = tensors
    return OPERATION.forward(x, weight, scores.forward((x, *layers), temperature, False)[0], bias, *geometry)


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, geometry: Any, temperature: float, *given: Any) -> Tensor:
        x, weight, bias, *layers = given
        kept = scores.forward((x, *layers), temperature)
        ctx.save_for_backward(*given, *kept)
        ctx.operation, ctx.geometry, ctx.temperature = OPERATION, geometry, temperature
        return OPERATION.forward(x, weight, kept[0], bias, *geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        *given, attention, mean, hidden = ctx.saved_tensors
        (x, weight, bias, *layers), wanted = given, ctx.needs_input_grad[2:]
        if torch.is_grad_enabled() or not (unwatched() and plain((*given, grad))):
            return None, None, *_differentiable(ctx, given, wanted, grad)
        needed = (wanted[0], *wanted[3:])  # of the attention
        five, first = (x, weight, attention, bias, grad), (*wanted[:2], any(needed), wanted[2])
        of_x, of_weight, of_attention, of_bias = OPERATION.backward(*five, *ctx.geometry, first)
        found: list[Any] = [None] * len(needed)
        if of_attention is not None:
            found = scores.backward((x, *layers), (mean, hidden, attention), of_attention, needed, ctx.temperature)
        if of_x is not None:
            of_x += per_channel(found[0], x)
        return None, None, of_x, of_weight, of_bias, *found[1:]


def _differentiable(ctx: Any, given: Sequence[Any], wanted: Sequence[bool], grad: Tensor) -> list[Tensor | None]:
    """The gradients by operations that can be differentiated, and batched."""
    (x, weight, bias, *layers), needed = given, (wanted[0], *wanted[3:])
    attend = partial(scores.perceptron, temperature=torch.tensor(ctx.temperature, device="cpu"))
    five, first = (x, weight, attend(x, *layers), bias, grad), (*wanted[:2], any(needed), wanted[2], False)
    of_x, of_weight, of_attention, of_bias, _ = derivatives(ctx, five, first)
    found: list[Any] = [None] * len(needed)
    if of_attention is not None:
        found = through(attend, (x, *layers), needed, of_attention)
    return [None if of_x is None else of_x + found[0], of_weight, of_bias, *found[1:]]

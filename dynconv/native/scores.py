"""What computes the attention from an image, by the C++ library: the same bits for any number of threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .border import contiguous, filled
from .building import library
from .definition import per_channel, softmax
from .operation import format_of, learns, plain, through, unwatched

__all__ = ["backward", "composed", "fits", "forward", "perceptron", "taken"]

Kept = tuple[Tensor | None, Tensor | None, Tensor | None]  # means and hidden numbers, and the outputs of a softmax
Inputs = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]  # x, weight, bias, second, second_bias


def perceptron(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    second: Tensor | None = None,
    second_bias: Tensor | None = None,
    temperature: Tensor | None = None,
) -> Tensor:
    """(B, C) or (B, C, *S), whose mean is taken → a linear layer's outputs, or a second layer's of what is positive in the first's.

    With a temperature, their softmax. By torch's own functions, unless the tensors are float32 on a CPU and nobody looks on.
    """
    given = (x, weight, bias, second, second_bias)
    fixed = temperature is None or (temperature.is_cpu and not temperature.requires_grad)
    if not (fixed and unwatched() and fits(given) and taken(given)):  # what does not fit is told by torch
        # autograd keeps the temperature: a copy, so that a schedule may move the buffer before backward
        return composed(0.0 if temperature is None else temperature.clone(), *given)
    divisor = 0.0 if temperature is None else temperature.item()
    if learns(*given):
        y: Tensor = _Perceptron.apply(divisor, *given)
        return y
    return forward(given, divisor, keep=False)[0]


def composed(temperature: float | Tensor, *given: Any) -> Tensor:
    """The same by torch's own functions; 0 for no softmax."""
    x, weight, bias, second, second_bias = given
    y = F.linear(x.flatten(2).mean(2) if x.ndim > 2 else x, weight, bias)
    y = y if second is None else F.linear(torch.relu(y), second, second_bias)
    return softmax(y, temperature) if isinstance(temperature, Tensor) or temperature else y


def fits(given: Inputs) -> bool:
    x, weight, bias, second, second_bias = given
    if x.ndim < 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1]:
        return False
    width = weight.shape[0]
    if second is not None and (second.ndim != 2 or second.shape[1] != width):
        return False
    last = None if second is None else second.shape[:1]
    return (bias is None or bias.shape == (width,)) and (second_bias is None or second_bias.shape == last)


def taken(given: Sequence[Any]) -> bool:
    ours = given[0].dtype == torch.float32 and given[0].is_cpu and plain(given)
    return ours and library() is not None and not torch.is_autocast_enabled("cpu")


def forward(given: Inputs, temperature: float, keep: bool = True) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The outputs, and what backward will want if there is one: the means and the hidden numbers."""
    x, weight, _, second, _ = given
    mean = x.new_empty(x.shape[:2]) if keep and x.ndim > 2 else None
    hidden = x.new_empty(x.shape[0], weight.shape[0]) if keep and second is not None else None
    y = torch.empty(x.shape[0], (weight if second is None else second).shape[0], dtype=x.dtype, device=x.device)
    _run("dynconv_perceptron_forward", given, (mean, hidden, y), temperature)
    return y, mean, hidden


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, temperature: float, *given: Any) -> Tensor:
        y, *kept = forward(given, temperature)
        ctx.save_for_backward(*given, *kept, y if temperature else None)
        ctx.temperature = temperature
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        *given, mean, hidden, y = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled() or not (unwatched() and taken((*given, grad))):
            return None, *through(partial(composed, ctx.temperature), given, needed, grad)
        found = backward(given, (mean, hidden, y), grad, needed, ctx.temperature)
        if mean is not None and found[0] is not None:
            found[0] = per_channel(found[0], given[0]).expand_as(given[0])
        return None, *found


def backward(given: Inputs, kept: Kept, grad: Tensor, needed: Sequence[bool], temperature: float) -> list[Any]:
    """From the gradient of the outputs those of what was given, each where it is needed; of images that of their mean."""
    like: tuple[Any, ...] = (given[0] if kept[0] is None else kept[0], *given[1:])
    found = [torch.empty_like(t).contiguous() if want else None for t, want in zip(like, needed, strict=True)]
    _run("dynconv_perceptron_backward", given, (*kept, grad, *found), temperature)
    return found


def _run(name: str, given: Inputs, others: Sequence[Tensor | None], temperature: float) -> None:
    x, weight, _, second, _ = given
    layout, (rows, ins, *spatial), width = format_of(x), x.shape, weight.shape[0]
    sizes = rows, ins, math.prod(spatial), width, width if second is None else second.shape[0]
    held, last = contiguous((*given, *others), layout), layout == torch.channels_last
    getattr(library(), name)(filled("Perceptron", held, *sizes, torch.get_num_threads(), last, temperature))

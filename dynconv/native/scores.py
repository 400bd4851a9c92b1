"""What computes the attention from an image, by the C++ library: the same bits for any number of threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .border import contiguous, filled
from .building import library
from .definition import per_channel, softmax
from .operation import format_of, plain, unwatched

__all__ = ["perceptron"]

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
    if not (fixed and unwatched() and _fit(*given) and taken(given)):  # what does not fit is told by torch
        return _composed(given, temperature)
    divisor = 0.0 if temperature is None else temperature.item()
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given):
        y: Tensor = _Perceptron.apply(divisor, *given)
        return y
    return _forward(given, divisor, keep=False)[0]


def _composed(given: Inputs, temperature: Tensor | None) -> Tensor:
    x, weight, bias, second, second_bias = given
    y = F.linear(x.flatten(2).mean(2) if x.ndim > 2 else x, weight, bias)
    y = y if second is None else F.linear(torch.relu(y), second, second_bias)
    # autograd keeps the temperature: a copy, so that a schedule may move the buffer before backward
    return y if temperature is None else softmax(y, temperature.clone())


def _fit(x: Tensor, weight: Tensor, bias: Tensor | None, second: Tensor | None, second_bias: Tensor | None) -> bool:
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


def _forward(given: Inputs, temperature: float, keep: bool = True) -> tuple[Tensor, Tensor | None, Tensor | None]:
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
        y, *kept = _forward(given, temperature)
        ctx.save_for_backward(*given, *kept, y if temperature else None)
        ctx.temperature = temperature
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        *given, mean, hidden, y = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled() or not (unwatched() and taken((*given, grad))):  # it may be differentiated again
            if y is not None:  # through the softmax
                grad = y * (grad - (y * grad).sum(-1, keepdim=True)) / ctx.temperature
            return None, *_differentiable(given, needed, grad)
        like = (given[0] if mean is None else mean, *given[1:])  # the mean's: every position of a channel gets the same
        found = [torch.empty_like(t).contiguous() if want else None for t, want in zip(like, needed, strict=True)]
        _run("dynconv_perceptron_backward", given, (mean, hidden, y, grad, *found), ctx.temperature)
        if mean is not None and found[0] is not None:
            found[0] = per_channel(found[0], given[0]).expand_as(given[0])
        return None, *found


def _differentiable(given: Inputs, needed: Sequence[bool], grad: Tensor) -> Sequence[Tensor | None]:
    """The gradients by torch's operations, which can be differentiated, and batched."""
    x, weight, bias, second, _ = given
    mean = x.flatten(2).mean(2) if x.ndim > 2 else x
    of_second = of_second_bias = None
    if second is not None:
        hidden = F.linear(mean, weight, bias)
        of_second, of_second_bias = grad.T @ torch.relu(hidden), grad.sum(0)
        grad = (grad @ second) * (hidden > 0)
    of_x = grad @ weight
    if x.ndim > 2:
        of_x = per_channel(of_x / x.shape[2:].numel(), x).expand_as(x)
    found = of_x, grad.T @ mean, grad.sum(0), of_second, of_second_bias
    return tuple(g if want else None for g, want in zip(found, needed, strict=True))


def _run(name: str, given: Inputs, others: Sequence[Tensor | None], temperature: float) -> None:
    x, weight, _, second, _ = given
    layout, (rows, ins, *spatial), width = format_of(x), x.shape, weight.shape[0]
    held, last = contiguous((*given, *others), layout), layout == torch.channels_last
    sizes = rows, ins, math.prod(spatial), width, width if second is None else second.shape[0]
    getattr(library(), name)(filled("Perceptron", held, *sizes, torch.get_num_threads(), last, temperature))

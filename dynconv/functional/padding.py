"""What a convolution adds around its input, and the sizes that must fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..native.definition import output_size
from .checks import sizes

__all__ = ["PADDING_MODES", "geometry", "total_padding"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
MOST = 2**40  # numbers of an output: more than any memory holds
Ints = tuple[int, ...]


def geometry(
    x: Tensor,
    weight: Tensor,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
    padding_mode: str,
) -> tuple[Ints, tuple[Ints, Ints, Ints]]:
    """What is to be padded before the convolution, for :func:`padded`, and its stride, padding and dilation; all of it checked.

    ``weight`` ends with the kernel's sizes, one for each of x's dimensions after the second.
    """
    n = x.ndim - 2
    spatial, kernel = tuple(x.shape[2:]), tuple(weight.shape[-n:])
    stride, dilation = sizes(stride, n, "stride", 1), sizes(dilation, n, "dilation", 1)
    pads: Ints = ()
    sides = _sides(spatial, kernel, stride, padding, dilation)
    left = tuple(side for side, _ in sides)
    if padding_mode != "zeros" or any(one != other for one, other in sides):  # what a convolution cannot pad
        pads = tuple(p for pair in reversed(sides) for p in pair)  # F.pad counts from the last dimension
        left = (0,) * n
        spatial = tuple(size + sum(pair) for size, pair in zip(spatial, sides, strict=True))
    if not torch.compiler.is_compiling():  # a tracer's sizes are not looked at
        _check_sizes(x, weight, spatial, stride, left, dilation)
    return pads, (stride, left, dilation)


def padded(x: Tensor, pads: Sequence[int], padding_mode: str) -> Tensor:
    """The input as a convolution with the padding that :func:`geometry` leaves is to see it."""
    return F.pad(x, pads, mode="constant" if padding_mode == "zeros" else padding_mode) if pads else x


def total_padding(size: int, kernel: int, step: int, gap: int) -> int:
    """What "same" pads along an axis: the output is then as long as the input, at a stride ⌈size / stride⌉."""
    if step == 1:
        return gap * (kernel - 1)
    return max(0, (size - 1) // step * step + gap * (kernel - 1) + 1 - size)


def _sides(
    spatial: Ints, kernel: Ints, stride: Ints, padding: int | Sequence[int] | str, dilation: Ints
) -> list[tuple[int, int]]:
    """How much is padded along each axis, before and after."""
    if padding == "same":
        total = [total_padding(*axis) for axis in zip(spatial, kernel, stride, dilation, strict=True)]
        return [(t // 2, t - t // 2) for t in total]  # an odd total pads one more on the right, as torch does
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if isinstance(padding, str):
        raise ValueError(f"padding must be an int, a tuple, 'same' or 'valid', got {padding!r}")
    return [(p, p) for p in sizes(padding, len(kernel), "padding", 0)]


def _check_sizes(x: Tensor, weight: Tensor, spatial: Ints, stride: Ints, padding: Ints, dilation: Ints) -> None:
    """Before a method is taken: each would say it in words of its own."""
    out, kernel = weight.shape[-len(stride) - 2], tuple(weight.shape[-len(stride) :])
    high = output_size(spatial, kernel, stride, padding, dilation)
    if min(high) < 1 or min(spatial) < 1:
        raise ValueError(
            f"kernel {kernel} is larger than the padded input, {spatial} + 2 × {padding}, with dilation {dilation}"
        )
    padded = [size + 2 * p for size, p in zip(spatial, padding, strict=True)]
    if x.shape[0] * max(out * math.prod(high), x.shape[1] * math.prod(padded)) > MOST:
        raise ValueError(
            f"padding {padding} makes more numbers than any memory holds: outputs of {tuple(high)} positions"
        )

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
) -> tuple[Tensor, tuple[Ints, Ints, Ints]]:
    """The input, padded where a convolution cannot, with stride, padding and dilation as tuples; all of it checked.

    ``weight`` ends with the kernel's sizes, one for each of x's dimensions after the second.
    """
    n = x.ndim - 2
    kernel = tuple(weight.shape[-n:])
    stride, dilation = sizes(stride, n, "stride", 1), sizes(dilation, n, "dilation", 1)
    x, padding = _pad(x, kernel, stride, padding, dilation, padding_mode)
    if not torch.compiler.is_compiling():  # a tracer's sizes are not looked at
        _check_sizes(x, weight, stride, padding, dilation)
    return x, (stride, padding, dilation)


def total_padding(size: int, kernel: int, step: int, gap: int) -> int:
    """What "same" pads along an axis: the output is then as long as the input, at a stride ⌈size / stride⌉."""
    if step == 1:
        return gap * (kernel - 1)
    return max(0, (size - 1) // step * step + gap * (kernel - 1) + 1 - size)


def _pad(
    x: Tensor, kernel: Ints, stride: Ints, padding: int | Sequence[int] | str, dilation: Ints, padding_mode: str
) -> tuple[Tensor, Ints]:
    """Apply what a convolution cannot pad by itself; return the input and the symmetric zero padding that is left."""
    n = len(kernel)
    if padding == "same":
        total = [total_padding(*axis) for axis in zip(x.shape[2:], kernel, stride, dilation, strict=True)]
        sides = [(t // 2, t - t // 2) for t in total]  # an odd total pads one more on the right, as torch does
    elif padding == "valid":
        sides = [(0, 0)] * n
    elif isinstance(padding, str):
        raise ValueError(f"padding must be an int, a tuple, 'same' or 'valid', got {padding!r}")
    else:
        sides = [(p, p) for p in sizes(padding, n, "padding", 0)]
    if padding_mode == "zeros" and all(left == right for left, right in sides):
        return x, tuple(left for left, _ in sides)
    flat = [p for pair in reversed(sides) for p in pair]  # F.pad counts from the last dimension
    return F.pad(x, flat, mode="constant" if padding_mode == "zeros" else padding_mode), (0,) * n


def _check_sizes(x: Tensor, weight: Tensor, stride: Ints, padding: Ints, dilation: Ints) -> None:
    """Before a method is taken: each would say it in words of its own."""
    out, spatial, kernel = weight.shape[-len(stride) - 2], tuple(x.shape[2:]), tuple(weight.shape[-len(stride) :])
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

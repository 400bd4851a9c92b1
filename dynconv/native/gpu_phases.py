"""The gradient of the input, as convolutions at stride 1 with the channels exchanged and the taps read from the last."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .definition import Ints

__all__ = ["grad_input"]

Steps = Sequence[Ints]  # stride, padding, dilation


def grad_input(
    turned: Callable[[Tensor, Tensor, Tensor, tuple[Ints, Ints], Ints], Tensor],
    x: Tensor,
    weight: Tensor,
    attention: Tensor,
    grad: Tensor,
    steps: Steps,
) -> Tensor:
    """By ``turned``: (grad (B, O, H', W'), weight (K, O, C, kh, kw), attention, (padding, dilation), size) → (B, C, *size)."""
    stride, padding, dilation = steps
    kernel = weight.shape[3:]
    pads = [gap * (size - 1) - p for size, p, gap in zip(kernel, padding, dilation, strict=True)]
    if all(step == 1 for step in stride) and min(pads) >= 0:
        return turned(grad, weight, attention, (pads, dilation), x.shape[2:])
    # At a stride the pixels of one phase (the even ones, the odd ones) see some of the taps, without a stride.
    axes = zip(x.shape[2:], grad.shape[2:], kernel, *steps, strict=True)
    down, across = (_phases(*axis) for axis in axes)
    grad_x = torch.zeros_like(x)
    for one, two in product(down, across):
        seen = F.pad(grad, (*two.pads, *one.pads))  # a negative number cuts off
        some = weight[..., one.taps, two.taps].contiguous()
        part = turned(seen, some, attention, ((0, 0), (one.gap, two.gap)), (one.number, two.number))
        grad_x[:, :, one.pixels, two.pixels] = part
    return grad_x


class Phase(NamedTuple):
    """Along one axis: every so many pixels, the taps that see them, and what is to be put around the outputs' gradient."""

    pixels: slice
    number: int
    taps: slice
    gap: int
    pads: tuple[int, int]


def _phases(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> list[Phase]:
    """Those that are seen. Pixel q is seen by tap k of output (q + padding − k · dilation) / stride, where that is whole."""
    common, phases = math.gcd(stride, dilation), []
    for k0 in range(min(kernel, stride // common)):  # the first tap of a phase; the others are stride / common apart
        first = (k0 * dilation - padding) % stride  # the first pixel
        taps, gap = len(range(k0, kernel, stride // common)), dilation // common
        start = (first + padding - k0 * dilation) // stride  # the output that sees it by the first tap
        count, left = len(range(first, size, stride)), (taps - 1) * gap - start
        right = count + (taps - 1) * gap - out - left
        if count and max(-left, -right) < out:  # else every output is too far away
            phases.append(
                Phase(slice(first, None, stride), count, slice(k0, None, stride // common), gap, (left, right))
            )
    return phases

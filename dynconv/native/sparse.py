"""The scores of a sparse block's gate, and its branch at the open positions alone, by the C++ library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .border import contiguous, filled
from .building import library
from .operation import learns, unwatched
from .scores import taken

__all__ = ["gate_scores", "skipping"]


def gate_scores(x: Tensor, conv: Any, fc: Any) -> Tensor | None:
    """(B, C, H, W) → (B, 1, H, W): a convolution to one channel and a layer of the means, added; None where torch has to compute it."""
    tensors = x, conv.weight, conv.bias, fc.weight, fc.bias
    shapes = conv.weight.shape, conv.stride, fc.weight.shape
    if shapes != ((1, x.shape[1], 3, 3), (1, 1), (1, x.shape[1])) or not (_as_made(conv) and _left_to_us(tensors)):
        return None
    loaded: Any = library()
    held = [*contiguous(tensors), scores := x.new_empty(x.shape[0], 1, *x.shape[2:])]
    loaded.dynconv_gate(filled("Gate", held, *x.shape, torch.get_num_threads()))
    return scores


def skipping(x: Tensor, gate: Tensor, conv1: Any, bn1: Any, conv2: Any, bn2: Any, always: bool) -> Tensor | None:
    """(B, C, H, W), (B, 1, H', W') → (B, O, H', W'), 0 where the gate is; None where torch has to compute it.

    It takes float32 on a CPU that nobody looks at and that needs no gradient; and much that is open if it is said to, always.
    """
    tensors = [x, gate]
    for conv, norm in ((conv1, bn1), (conv2, bn2)):
        tensors += [conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]
    if not (_fit(x, gate, conv1, bn1, conv2, bn2) and _left_to_us(tensors)):
        return None
    outs, size = conv1.out_channels, gate.shape[2:]
    y, hidden = (x.new_empty(x.shape[0], outs, *size) for _ in range(2))
    ours_x, ours_gate, *layers = contiguous(tensors)
    sizes = *x.shape, outs, *size, conv1.stride[0], torch.get_num_threads(), always
    loaded: Any = library()
    call = filled("Branch", (ours_x, ours_gate, y, hidden, *layers), *sizes, bn1.eps, bn2.eps)
    return y if loaded.dynconv_sparse_branch(call) == 0 else None


def _left_to_us(tensors: Sequence[Tensor | None]) -> bool:
    return not learns(*tensors) and unwatched() and taken(tensors)


def _as_made(conv: Any) -> bool:
    return bool((conv.padding, conv.dilation, conv.padding_mode) == ((1, 1), (1, 1), "zeros"))


def _fit(x: Tensor, gate: Tensor, conv1: Any, bn1: Any, conv2: Any, bn2: Any) -> bool:
    """The library sees addresses and sizes only: layers that somebody else has put there may be others."""
    outs, stride = conv1.out_channels, conv1.stride[0]
    spatial = [-(-size // stride) for size in x.shape[2:]]
    asked = (gate.shape, conv1.weight.shape, conv1.stride, conv2.weight.shape, conv2.stride)
    made = ((x.shape[0], 1, *spatial), (outs, x.shape[1], 3, 3), (stride, stride), (outs, outs, 3, 3), (1, 1))
    convs = all(_as_made(c) and c.bias is None for c in (conv1, conv2))
    return asked == made and convs and all(n.running_mean is not None and n.num_features == outs for n in (bn1, bn2))

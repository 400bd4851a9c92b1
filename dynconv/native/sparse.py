"""The branch of a sparse block at its open positions alone, by the C++ library."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from .building import library
from .operation import unwatched
from .scores import addresses, taken

__all__ = ["skipping"]

LAYER = ("kernels", "factor", "term", "mean", "variance")
POINTERS = ("x", "gate", "outputs", "hidden", *(f"{of}_{name}" for of in ("first", "second") for name in LAYER))
SIZES = ("images", "channels", "height", "width", "outs", "high", "wide", "stride", "threads")
NUMBERS = ("first_eps", "second_eps", "limit")
FIELDS = (POINTERS, ctypes.c_void_p), (SIZES, ctypes.c_int64), (NUMBERS, ctypes.c_double)
AS_MADE = (1, 1), (1, 1), "zeros", None
LIMIT = 0.45  # the share of positions above which computing all of them is faster, by Winograd's products


class Branch(ctypes.Structure):
    """What crosses the border: `Branch` in call.h, field by field."""

    _fields_ = [(name, kind) for names, kind in FIELDS for name in names]


def skipping(x: Tensor, gate: Tensor, conv1: Any, bn1: Any, conv2: Any, bn2: Any, always: bool) -> Tensor | None:
    """(B, C, H, W), (B, 1, H', W') → (B, O, H', W'), 0 where the gate is; None where torch has to compute it.

    It takes float32 on a CPU that nobody looks at and that needs no gradient; and much that is open if it is said to, always.
    """
    tensors = [x, gate]
    for conv, norm in ((conv1, bn1), (conv2, bn2)):
        tensors += [conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if learns or not (unwatched() and _fit(x, gate, conv1, bn1, conv2, bn2) and taken(tensors)):
        return None
    outs, size = conv1.out_channels, gate.shape[2:]
    y, hidden = (x.new_empty(x.shape[0], outs, *size) for _ in range(2))
    _held, (x_at, gate_at, *layers) = addresses(tensors)
    sizes, limit = (*x.shape, outs, *size, conv1.stride[0], torch.get_num_threads()), 1.0 if always else LIMIT
    call = Branch(x_at, gate_at, y.data_ptr(), hidden.data_ptr(), *layers, *sizes, bn1.eps, bn2.eps, limit)
    return y if getattr(library(), "dynconv_sparse_branch")(ctypes.byref(call)) == 0 else None  # noqa: B009


def _fit(x: Tensor, gate: Tensor, conv1: Any, bn1: Any, conv2: Any, bn2: Any) -> bool:
    """The library sees addresses and sizes only: layers that somebody else has put there may be others."""
    outs, stride = conv1.out_channels, conv1.stride[0]
    spatial = [-(-size // stride) for size in x.shape[2:]]
    asked = (gate.shape, conv1.weight.shape, conv1.stride, conv2.weight.shape, conv2.stride)
    made = ((x.shape[0], 1, *spatial), (outs, x.shape[1], 3, 3), (stride, stride), (outs, outs, 3, 3), (1, 1))
    convs = all((c.padding, c.dilation, c.padding_mode, c.bias) == AS_MADE for c in (conv1, conv2))
    return asked == made and convs and all(n.running_mean is not None and n.num_features == outs for n in (bn1, bn2))

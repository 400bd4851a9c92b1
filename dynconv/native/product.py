"""A linear layer's products by the C++ library: the same bits for any number of threads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .building import library
from .operation import unwatched

__all__ = ["linear"]

POINTERS, SIZES = ("x", "weight", "bias", "y", "grad_x", "grad_weight", "grad_bias"), ("rows", "ins", "outs", "threads")
PLAIN = (Tensor, torch.nn.Parameter)


class Product(ctypes.Structure):
    """What crosses the border: `Product` in call.h, field by field."""

    _fields_ = [*((name, ctypes.c_void_p) for name in POINTERS), *((name, ctypes.c_int64) for name in SIZES)]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What torch.nn.functional.linear computes; by it, unless the tensors are float32 matrices on a CPU and nobody looks on."""
    given = (x, weight) if bias is None else (x, weight, bias)
    fits = (
        x.ndim == weight.ndim == 2
        and x.shape[1] == weight.shape[1]
        and (bias is None or bias.shape == weight.shape[:1])
    )
    if not (fits and unwatched() and _taken(given)):  # what does not fit is told by torch
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        y: Tensor = _Linear.apply(x, weight, bias)
        return y
    return _forward(x, weight, bias)


def _taken(given: Sequence[Tensor]) -> bool:
    for t in given:
        if type(t) not in PLAIN or t.dtype != torch.float32 or not t.is_cpu or t.layout != torch.strided:
            return False
    return library() is not None and not torch.is_autocast_enabled("cpu")


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = x.new_empty(x.shape[0], weight.shape[0])
    _run("dynconv_linear_forward", (x, weight, bias, y, None, None, None))
    return y


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return _forward(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, bias = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled() or not (unwatched() and _taken((x, weight, grad))):  # it may be differentiated again
            found = grad @ weight if needed[0] else None, grad.T @ x if needed[1] else None
            return *found, grad.sum(0) if needed[2] else None
        three = [
            torch.empty_like(t).contiguous() if n else None for t, n in zip((x, weight, bias), needed, strict=True)
        ]
        _run("dynconv_linear_backward", (x, weight, bias, grad, *three))
        return tuple(three)


def _run(name: str, tensors: Sequence[Tensor | None]) -> None:
    held = [None if t is None else t.contiguous() for t in tensors]
    pointers = (None if t is None else t.data_ptr() for t in held)
    (rows, ins), outs = tensors[0].shape, tensors[1].shape[0]  # type: ignore[union-attr]
    getattr(library(), name)(ctypes.byref(Product(*pointers, rows, ins, outs, torch.get_num_threads())))

"""Tensors in, tensors out: the calls of the C++ library, as an operation of torch's."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .building import library
from .definition import Derivatives, check_shapes, output_size
from .operation import Operation
from .phases import grad_input

__all__ = ["OPERATION", "available", "release", "takes"]

Ints = Sequence[int]
Steps = Sequence[Ints]  # stride, padding, dilation
POINTERS = ("x", "kernels", "attention", "bias", "outputs", "grad_kernels", "grad_attention", "grad_bias")
SIZES = (
    *("images", "channels", "height", "width"),  # x
    *("outs", "stack", "taps_down", "taps_across"),  # the kernels: (stack, outs, channels, taps_down, taps_across)
    *("stride_down", "stride_across", "pad_down", "pad_across", "gap_down", "gap_across"),
    *("high", "wide"),  # the outputs: (images, outs, high, wide)
    *("next_out", "next_channel"),  # how far apart they lie in a kernel
    "turned",  # whether its taps are read from the last
    "threads",
)


class Call(ctypes.Structure):
    """What crosses the border: `Call` in call.h, field by field."""

    _fields_ = [*((name, ctypes.c_void_p) for name in POINTERS), *((name, ctypes.c_int64) for name in SIZES)]


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available() -> bool:
    """Whether the library is there."""
    return library() is not None


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether the library is there and takes these: float32, on a CPU, two dimensions, one group, at least one image."""
    fits = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and weight.ndim == 5
    return fits and x.shape[0] > 0 and x.shape[1] == weight.shape[2] and available()


def release() -> None:
    """Give back the memory, at most 64 MB, that this thread keeps from one call for the next."""
    loaded = library()
    if loaded is not None:
        loaded.dynconv_release()


def _forward(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    """(B, C, H, W), (K, O, C, kh, kw), (B, K), (K, O) → (B, O, H', W')."""
    steps = geometry[:3]
    x, weight, attention = (t.contiguous() for t in (x, weight, attention))
    bias = None if bias is None else bias.contiguous()
    y = x.new_empty(x.shape[0], weight.shape[1], *output_size(x.shape[2:], weight.shape[3:], *steps))
    call = _call(x, weight, attention, y, steps)
    call.bias = _pointer(bias)
    _run("dynconv_forward", call)
    return y


def _backward(
    x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, grad: Tensor, *rest: Any
) -> Derivatives:
    """From the gradient of the outputs (B, O, H', W') those of the four inputs, each where it is needed."""
    *steps, _, needed = rest
    x, weight, attention, grad = (t.contiguous() for t in (x, weight, attention, grad))
    bias = None if bias is None else bias.contiguous()
    grad_x = grad_input(_turned, x, weight, attention, grad, steps) if needed[0] else None
    given = zip((weight, attention, bias), needed[1:], strict=True)
    others = [None if t is None or not want else torch.empty_like(t) for t, want in given]
    if any(needed[1:]):
        call = _call(x, weight, attention, grad, steps)
        call.bias = _pointer(bias)
        call.grad_kernels, call.grad_attention, call.grad_bias = map(_pointer, others)
        _run("dynconv_backward", call)
    return grad_x, *others


def _turned(grad: Tensor, weight: Tensor, attention: Tensor, steps: tuple[Ints, Ints], size: Ints) -> Tensor:
    """The same convolution at stride 1 with the channels exchanged and the taps read from the last."""
    grad_x = grad.new_empty(grad.shape[0], weight.shape[2], *size)
    call = _call(grad, weight, attention, grad_x, ((1, 1), *steps))
    call.outs, call.turned = weight.shape[2], 1
    call.next_out, call.next_channel = call.next_channel, call.next_out
    _run("dynconv_forward", call)
    return grad_x


def _call(x: Tensor, weight: Tensor, attention: Tensor, outputs: Tensor, steps: Steps) -> Call:
    (stack, outs, channels, *taps), (stride, padding, dilation) = weight.shape, steps
    numbers = (*x.shape, outs, stack, *taps, *stride, *padding, *dilation, *outputs.shape[2:])
    one = taps[0] * taps[1]  # how many numbers a kernel has for one channel in and one out
    pointers = x.data_ptr(), weight.data_ptr(), attention.data_ptr(), None, outputs.data_ptr(), None, None, None
    return Call(*pointers, *numbers, channels * one, one, 0, torch.get_num_threads())


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _run(name: str, call: Call) -> None:
    loaded = library()
    if loaded is None:
        raise RuntimeError("the C++ library is not built: python -m dynconv.native")
    if getattr(loaded, name)(ctypes.byref(call)):
        sizes = ", ".join(f"{name} {getattr(call, name)}" for name in SIZES)
        raise MemoryError(f"dynconv.native: no memory for a convolution with {sizes}")


def _check(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *rest: Any) -> None:
    """What the library cannot take would be read as something else: it sees addresses and sizes only."""
    *grad, stride, padding, dilation, groups = rest
    float32 = all(t is None or t.dtype == torch.float32 for t in (attention, bias, *grad))
    if not takes(x, weight) or groups != 1 or not float32 or min(weight.shape) < 1:
        given = ", ".join(f"{tuple(t.shape)} {t.dtype} on {t.device}" for t in (x, weight, attention))
        raise ValueError(
            "dynconv.native takes float32 tensors on a CPU, x (B, C, H, W), weight (K, O, C, kh, kw), attention (B, K), "
            f"got {given}, groups={groups}"
        )
    check_shapes(x, weight, attention, bias, *grad, stride, padding, dilation)


OPERATION = Operation("native", _forward, _backward, "CPU", _check)

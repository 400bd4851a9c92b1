"""Tensors in, tensors out: the calls of the C++ library, as an operation of torch's."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .building import library
from .definition import Derivatives, check_shapes, output_size
from .operation import Operation, format_of

__all__ = ["OPERATION", "available", "release", "takes"]

Ints = Sequence[int]
Steps = Sequence[Ints]  # stride, padding, dilation
GRADIENTS = ("grad_x", "grad_kernels", "grad_attention", "grad_bias")
POINTERS = ("x", "kernels", "attention", "bias", "outputs", *GRADIENTS)
SIZES = (
    *("images", "channels", "height", "width"),  # x
    *("outs", "stack", "taps_down", "taps_across"),  # kernels: (stack, outs, channels / groups, taps_down, taps_across)
    *("stride_down", "stride_across", "pad_down", "pad_across", "gap_down", "gap_across"),
    *("high", "wide"),  # the outputs: (images, outs, high, wide)
    *("next_out", "next_channel"),  # how far apart they lie in a kernel
    "turned",  # whether its taps are read from the last
    *("threads", "groups", "channels_last"),
)


class Call(ctypes.Structure):
    """What crosses the border: `Call` in call.h, field by field."""

    _fields_ = [*((name, ctypes.c_void_p) for name in POINTERS), *((name, ctypes.c_int64) for name in SIZES)]


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available() -> bool:
    """Whether the library is there."""
    return library() is not None


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether the library is there and takes these: float32, on a CPU, two dimensions, one group or depthwise, some images."""
    fits = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and weight.ndim == 5 and x.shape[0] > 0
    return fits and (x.shape[1] == weight.shape[2] or weight.shape[1:3] == (x.shape[1], 1)) and available()


def _layout(x: Tensor, weight: Tensor) -> torch.memory_format:
    """Channels last, if the images lie so and each channel has a kernel of its own: others are laid out anew anyway."""
    return format_of(x) if weight.shape[2] < x.shape[1] else torch.contiguous_format


def release() -> None:
    """Give back the memory, at most 64 MB, that this thread keeps from one call for the next."""
    loaded = library()
    if loaded is not None:
        loaded.dynconv_release()


def _forward(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    """(B, C, H, W), (K, O, C, kh, kw), (B, K), (K, O) → (B, O, H', W')."""
    steps, layout = geometry[:3], _layout(x, weight)
    x, weight, attention = x.contiguous(memory_format=layout), weight.contiguous(), attention.contiguous()
    bias = None if bias is None else bias.contiguous()
    size = x.shape[0], weight.shape[1], *output_size(x.shape[2:], weight.shape[3:], *steps)
    y = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout)
    call = _call(x, weight, attention, y, steps)
    call.bias = _pointer(bias)
    _run("dynconv_forward", call)
    return y


def _backward(
    x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, grad: Tensor, *rest: Any
) -> Derivatives:
    """From the gradient of the outputs (B, O, H', W') those of the four inputs, each where it is needed."""
    (*steps, _, needed), layout = rest, _layout(x, weight)
    x, grad = (t.contiguous(memory_format=layout) for t in (x, grad))
    weight, attention = weight.contiguous(), attention.contiguous()
    bias = None if bias is None else bias.contiguous()
    given = zip((x, weight, attention, bias), needed, strict=True)
    found = [None if t is None or not want else torch.empty_like(t) for t, want in given]
    call = _call(x, weight, attention, grad, steps)
    call.bias = _pointer(bias)
    for name, tensor in zip(GRADIENTS, found, strict=True):
        setattr(call, name, _pointer(tensor))
    _run("dynconv_backward", call)
    return tuple(found)


def _call(x: Tensor, weight: Tensor, attention: Tensor, y: Tensor, steps: Steps) -> Call:
    call = Call.from_buffer_copy(_sizes(x.shape, weight.shape, y.shape, *map(tuple, steps), torch.get_num_threads()))
    call.x, call.kernels = x.data_ptr(), weight.data_ptr()
    call.attention, call.outputs = attention.data_ptr(), y.data_ptr()
    call.channels_last = _layout(x, weight) == torch.channels_last
    return call


@functools.lru_cache(4096)
def _sizes(x: Ints, weight: Ints, outputs: Ints, stride: Ints, padding: Ints, dilation: Ints, threads: int) -> Call:
    """A call without its pointers."""
    stack, outs, channels, *taps = weight
    one = taps[0] * taps[1]  # how many numbers a kernel has for one channel in and one out
    numbers = (*x, outs, stack, *taps, *stride, *padding, *dilation, *outputs[2:], channels * one, one, 0)
    return Call(*[None] * len(POINTERS), *numbers, threads, x[1] // channels, 0)


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
    if not takes(x, weight) or groups * weight.shape[2] != x.shape[1] or not float32 or min(weight.shape) < 1:
        given = ", ".join(f"{tuple(t.shape)} {t.dtype} on {t.device}" for t in (x, weight, attention))
        raise ValueError(
            "dynconv.native takes float32 tensors on a CPU, x (B, C, H, W), weight (K, O, C, kh, kw) or (K, C, 1, kh, kw), attention (B, K), "
            f"got {given}, groups={groups}"
        )
    check_shapes(x, weight, attention, bias, *grad, stride, padding, dilation)


OPERATION = Operation("native", _forward, _backward, "CPU", _check, _layout)

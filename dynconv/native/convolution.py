"""Tensors in, tensors out: the calls of the C++ library, as an operation of torch's."""

from __future__ import annotations

import ctypes
import functools
import weakref
from typing import Any

import torch
from torch import Tensor

from .border import USUAL, contiguous, filled, structure
from .building import library
from .definition import Derivatives, Ints, check_shapes, output_size
from .operation import Operation, format_of

__all__ = ["OPERATION", "available", "release", "takes"]

LARGE = 1 << 20  # numbers of a gradient whose memory the library keeps for the next: 4 MB


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available() -> bool:
    """Whether the library is there."""
    return library() is not None


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether the library is there and takes these: float32, on a CPU, two dimensions, one group or depthwise, some images."""
    fits = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and weight.ndim == 5 and x.shape[0] > 0
    return fits and (x.shape[1] == weight.shape[2] or weight.shape[1:3] == (x.shape[1], 1)) and available()


def _layout(x: Tensor, weight: Tensor, stride: Ints, padding: Ints, dilation: Ints, _: int) -> torch.memory_format:
    """Channels last, if the images lie so and are computed on where they are: others are laid out anew anyway."""
    if (layout := format_of(x)) == USUAL or weight.shape[2] < x.shape[1]:  # depthwise
        return layout
    axes = zip(weight.shape[3:], stride, dilation, strict=True)
    patches = not any(padding) and all(size == 1 or (size <= step and gap == 1) for size, step, gap in axes)
    return layout if patches and weight.numel() <= x.numel() else USUAL


def release() -> None:
    """Give back the memory that is kept: for gradients, and for calls of this thread, each at most 64 MB."""
    if (loaded := library()) is not None:
        loaded.dynconv_release()


def _forward(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    """(B, C, H, W), (K, O, C, kh, kw), (B, K), (K, O) → (B, O, H', W')."""
    (size, numbers), layout = _sizes(x.shape, weight.shape, *map(tuple, geometry[:3])), _layout(x, weight, *geometry)
    y = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout)
    _run("dynconv_forward", numbers, layout, (x, weight, attention, bias, y))
    return y


def _backward(
    x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, grad: Tensor, *rest: Any
) -> Derivatives:
    """From the gradient of the outputs (B, O, H', W') those of the four inputs, each where it is needed."""
    *steps, _, needed = rest
    layout, given = format_of(x) if weight.shape[2] < x.shape[1] else USUAL, (x, weight, attention, bias)
    wanted = [t if want else None for t, want in zip(given, needed, strict=True)]
    found = [t if t is None else _new(t, layout if t is x else USUAL) for t in wanted]
    _run("dynconv_backward", _sizes(x.shape, weight.shape, *map(tuple, steps))[1], layout, (*given, grad, *found))
    return tuple(found)


def _new(like: Tensor, layout: torch.memory_format) -> Tensor:
    """For a gradient. To clear what is new takes a system as long as to compute the kernels' for a few images."""
    loaded, block = library(), ctypes.c_int64(like.numel())
    if loaded is None or like.ndim < 5 or like.numel() < LARGE or not (place := loaded.dynconv_take(block)):
        return torch.empty_like(like, memory_format=layout)
    numbers = (ctypes.c_float * like.numel()).from_address(place)
    weakref.finalize(numbers, loaded.dynconv_give, ctypes.c_void_p(place), block).atexit = False
    return torch.frombuffer(numbers, dtype=like.dtype).view(like.shape)


def _run(name: str, numbers: Ints, layout: torch.memory_format, tensors: Derivatives) -> None:
    """Call the library on the tensors as it wants them to lie."""
    loaded, last = library(), layout == torch.channels_last
    if loaded is None:
        raise RuntimeError("the C++ library is not built: python -m dynconv.native")
    held = contiguous(tensors, layout)
    if getattr(loaded, name)(filled("Call", held, *numbers, torch.get_num_threads(), last)):
        kind = structure("Call")
        told = ", ".join(f"{field} {n}" for field, n in zip(kind.fields[kind.pointers :], numbers, strict=False))
        raise MemoryError(f"dynconv.native: no memory for a convolution with {told}")


@functools.lru_cache(4096)
def _sizes(x: Ints, weight: Ints, stride: Ints, padding: Ints, dilation: Ints) -> tuple[Ints, Ints]:
    """The outputs' shape, and the numbers of a call without its threads and format."""
    stack, outs, channels, *taps = weight
    one = taps[0] * taps[1]  # how many numbers a kernel has for one channel in and one out
    size = output_size(x[2:], taps, stride, padding, dilation)
    numbers = (*x, outs, stack, *taps, *stride, *padding, *dilation, *size, channels * one, one, 0, x[1] // channels)
    return (x[0], outs, *size), numbers


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

"""Tensors in, tensors out: the calls of the C++ library, as an operation of torch's."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from .building import library
from .definition import mix, output_size
from .operation import Operation

__all__ = ["OPERATION", "available", "release", "takes"]

Ints = Sequence[int]
POINTERS = ("x", "kernels", "attention", "outputs", "grad_kernels", "grad_attention")
SIZES = (
    *("images", "channels", "height", "width"),  # x
    *("outs", "stack", "taps_down", "taps_across"),  # the kernels: (stack, outs, channels, taps_down, taps_across)
    *("stride_down", "stride_across", "pad_down", "pad_across", "gap_down", "gap_across"),
    *("high", "wide"),  # the outputs: (images, outs, high, wide)
    *(
        "next_out",
        "next_channel",
        "turned",
    ),  # how far apart they lie in a kernel, and whether its taps are read from the last
    "threads",
)


class Call(ctypes.Structure):
    """What crosses the border: `Call` in registers.h, field by field."""

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


def _forward(
    x: Tensor, weight: Tensor, attention: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Tensor:
    """(B, C, H, W), (K, O, C, kh, kw), (B, K) → (B, O, H', W')."""
    _check(x, weight, attention, groups)
    x, weight, attention = (t.contiguous() for t in (x, weight, attention))
    high, wide = output_size(x.shape[2:], weight.shape[3:], stride, padding, dilation)
    y = x.new_empty(x.shape[0], weight.shape[1], high, wide)
    call = _call(x, weight, attention, y, (stride, padding, dilation))
    _run("dynconv_forward", call)
    return y


def _backward(
    x: Tensor,
    weight: Tensor,
    attention: Tensor,
    grad: Tensor,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
    needed: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """From the gradient of the outputs (B, O, H', W') those of the three inputs, each where it is needed."""
    _check(x, weight, attention, groups)
    x, weight, attention, grad = (t.contiguous() for t in (x, weight, attention, grad))
    steps = stride, padding, dilation
    grad_x = _grad_input(x, weight, attention, grad, steps) if needed[0] else None
    grad_weight = torch.empty_like(weight) if needed[1] else None
    grad_attention = torch.empty_like(attention) if needed[2] else None
    if needed[1] or needed[2]:
        call = _call(x, weight, attention, grad, steps)
        call.grad_kernels, call.grad_attention = _pointer(grad_weight), _pointer(grad_attention)
        _run("dynconv_backward", call)
    return grad_x, grad_weight, grad_attention


Steps = tuple[Ints, Ints, Ints]  # stride, padding, dilation


def _grad_input(x: Tensor, weight: Tensor, attention: Tensor, grad: Tensor, steps: Steps) -> Tensor:
    stride, padding, dilation = steps
    kernel = weight.shape[3:]
    turned = [gap * (size - 1) - p for size, p, gap in zip(kernel, padding, dilation, strict=True)]
    if all(step == 1 for step in stride) and min(turned) >= 0:
        # the same convolution with the channels exchanged and the taps read from the last
        grad_x = torch.empty_like(x)
        call = _call(grad, weight, attention, grad_x, ((1, 1), turned, dilation))
        call.channels, call.outs, call.turned = grad.shape[1], x.shape[1], 1
        call.next_out, call.next_channel = call.next_channel, call.next_out
        _run("dynconv_forward", call)
        return grad_x
    if kernel.numel() == 1 and not any(padding):  # the pixels between are not seen
        seen = x[:, :, :: stride[0], :: stride[1]]
        grad_x = torch.zeros_like(x)
        grad_x[:, :, :: stride[0], :: stride[1]] = _grad_input(
            seen, weight, attention, grad, ((1, 1), padding, dilation)
        )
        return grad_x
    batch = x.shape[0]
    kernels = mix(weight, attention).flatten(0, 1)  # (B·O, C, kh, kw)
    shape, images = (1, batch * x.shape[1], *x.shape[2:]), grad.reshape(1, -1, *grad.shape[2:])
    grad_x = torch.nn.grad.conv2d_input(torch.Size(shape), kernels, images, stride, padding, dilation, batch)
    return grad_x.reshape(x.shape)


def _call(x: Tensor, weight: Tensor, attention: Tensor, outputs: Tensor, steps: Steps) -> Call:
    (stack, outs, channels, *taps), (stride, padding, dilation) = weight.shape, steps
    numbers = (*x.shape, outs, stack, *taps, *stride, *padding, *dilation, *outputs.shape[2:])
    one = taps[0] * taps[1]  # how many numbers a kernel has for one channel in and one out
    pointers = (*(_pointer(t) for t in (x, weight, attention, outputs)), None, None)
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


def _check(x: Tensor, weight: Tensor, attention: Tensor, groups: int) -> None:
    """What the library cannot take would be read as something else: it sees addresses and sizes only."""
    if not takes(x, weight) or groups != 1 or attention.dtype != torch.float32 or min(weight.shape) < 1:
        given = ", ".join(f"{tuple(t.shape)} {t.dtype} on {t.device}" for t in (x, weight, attention))
        raise ValueError(
            "dynconv.native takes float32 tensors on a CPU, x (B, C, H, W), weight (K, O, C, kh, kw), attention (B, K), "
            f"got {given}, groups={groups}"
        )
    if attention.shape != (x.shape[0], weight.shape[0]):
        raise ValueError(f"attention must be (B, K) = ({x.shape[0]}, {weight.shape[0]}), got {tuple(attention.shape)}")


OPERATION = Operation("native", _forward, _backward, "CPU")

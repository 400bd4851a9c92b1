"""Tensors in, tensors out: the calls of the C++ library."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from .building import library

__all__ = ["backward", "fits", "forward", "release"]


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether the library is there and takes these: float32, two dimensions, at least one image, and nobody looking on.

    A dispatch mode, such as torch's flop counter, sees PyTorch's operations only: it is given those.
    """
    taken = x.dtype == torch.float32 and weight.ndim == 5 and x.shape[0] > 0
    return taken and torch._C._len_torch_dispatch_stack() == 0 and library() is not None


def forward(x: Tensor, weight: Tensor, attention: Tensor, spatial, stride, padding, dilation) -> Tensor:
    """(B, C, H, W), (K, O, C, kh, kw), (B, K) → (B, O, *spatial)."""
    x, weight, attention = (t.contiguous() for t in (x, weight, attention))
    y = x.new_empty(x.shape[0], weight.shape[1], *spatial)
    taps = weight[0, 0, 0].numel()
    sizes = (*x.shape, *weight.shape[1:2], weight.shape[0], *weight.shape[3:], *stride, *padding, *dilation, *spatial)
    _call("dynconv_forward", (x, weight, attention, y), (*sizes, x.shape[1] * taps, taps, 0))
    return y


def backward(
    x: Tensor, weight: Tensor, attention: Tensor, grad: Tensor, stride, padding, dilation, needed: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """From the gradient of the outputs (B, O, H', W') those of the three inputs, each where it is needed."""
    x, weight, attention, grad = (t.contiguous() for t in (x, weight, attention, grad))
    grad_x = _grad_input(x, weight, attention, grad, stride, padding, dilation) if needed[0] else None
    if not (needed[1] or needed[2]):
        return grad_x, None, None
    if x.shape[0] == 1:  # the gradient of the one kernel there is, in the direction of each of the K and along each
        change, _ = _grad_kernels(
            x, weight[:1], attention.new_ones(1, 1), grad, stride, padding, dilation, (True, False)
        )
        grad_weight = attention.reshape(-1, 1, 1, 1, 1) * change if needed[1] else None
        return grad_x, grad_weight, (weight.flatten(1) @ change.flatten())[None] if needed[2] else None
    return grad_x, *_grad_kernels(x, weight, attention, grad, stride, padding, dilation, needed[1:])


def release() -> None:
    """Give back the memory, at most 64 MB, that this thread keeps from one call for the next."""
    loaded = library()
    if loaded is not None:
        loaded.dynconv_release()


def _grad_kernels(x, weight, attention, grad, stride, padding, dilation, needed):
    found = [torch.empty_like(t) if want else None for t, want in zip((weight, attention), needed, strict=True)]
    sizes = (*x.shape, weight.shape[1], weight.shape[0], *weight.shape[3:], *stride, *padding, *dilation)
    _call("dynconv_backward", (x, weight, attention, grad, *found), (*sizes, *grad.shape[2:], 0, 0, 0))
    return found


def _grad_input(x, weight, attention, grad, stride, padding, dilation):
    kernel = weight.shape[3:]
    turned = [gap * (size - 1) - p for size, p, gap in zip(kernel, padding, dilation, strict=True)]
    if all(step == 1 for step in stride) and min(turned) >= 0:
        # the same convolution with the channels exchanged and the taps read from the last
        grad_x, taps = x.new_empty(x.shape), kernel.numel()
        sizes = (*grad.shape, x.shape[1], weight.shape[0], *kernel, 1, 1, *turned, *dilation, *x.shape[2:])
        _call("dynconv_forward", (grad, weight, attention, grad_x), (*sizes, taps, x.shape[1] * taps, 1))
        return grad_x
    if kernel.numel() == 1 and not any(padding):  # the pixels between are not seen
        seen = x[:, :, :: stride[0], :: stride[1]]
        grad_x = torch.zeros_like(x)
        grad_x[:, :, :: stride[0], :: stride[1]] = _grad_input(seen, weight, attention, grad, (1, 1), padding, dilation)
        return grad_x
    batch = x.shape[0]
    mixed = (attention @ weight.flatten(1)).view(-1, *weight.shape[2:])  # (B·O, C, kh, kw)
    shape, images = (1, batch * x.shape[1], *x.shape[2:]), grad.reshape(1, -1, *grad.shape[2:])
    return torch.nn.grad.conv2d_input(shape, mixed, images, stride, padding, dilation, batch).view_as(x)


def _call(name: str, tensors: Sequence[Tensor | None], sizes: Sequence[int]) -> None:
    pointers = [None if t is None else t.data_ptr() for t in tensors]
    if getattr(library(), name)(*pointers, (ctypes.c_int64 * len(sizes))(*sizes), torch.get_num_threads()):
        raise MemoryError(f"dynconv.native: no memory for a convolution of sizes {tuple(sizes)}")

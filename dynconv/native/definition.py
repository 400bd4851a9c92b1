"""What every method computes, in torch's own operations: all images in one convolution, each as a group with its own kernel.

A geometry is a convolution's stride, padding, dilation (one number a dimension each) and groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "CONVS",
    "backward",
    "check_shapes",
    "conv_per_image",
    "forward",
    "mix",
    "output_size",
    "per_channel",
    "softmax",
    "through_bias",
]

CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
Ints = Sequence[int]
Derivatives = tuple[Tensor | None, ...]


def forward(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    """(B, C, *S), (K, O, C/g, *kernel), (B, K), (K, O) → (B, O, *S')."""
    mixed = None if bias is None else mix(bias, attention)
    return conv_per_image(x, mix(weight, attention), mixed, *geometry)


def backward(
    x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, grad: Tensor, *rest: Any
) -> Derivatives:
    """From the gradient of the outputs (B, O, *S') those of the four inputs, each where it is needed."""
    stride, padding, dilation, groups, needed = rest
    batch, kernel = x.shape[0], mix(weight, attention)
    of_x, of_kernels, _ = torch.ops.aten.convolution_backward(
        grad.reshape(1, -1, *grad.shape[2:]),
        x.reshape(1, -1, *x.shape[2:]),
        kernel.flatten(0, 1),
        None,
        stride,
        padding,
        dilation,
        False,  # not transposed,
        [0] * len(stride),  # so without output padding
        batch * groups,
        [needed[0], needed[1] or needed[2], False],
    )
    of_weight = of_attention = None
    if needed[1] or needed[2]:
        of_kernels = of_kernels.reshape(batch, -1)
        of_weight = (attention.T @ of_kernels).reshape(weight.shape) if needed[1] else None
        of_attention = of_kernels @ weight.flatten(1).T if needed[2] else None
    of_attention, of_bias = through_bias(attention, bias, grad, of_attention, needed[3])
    return of_x.reshape(x.shape) if needed[0] else None, of_weight, of_attention, of_bias


def through_bias(
    attention: Tensor, bias: Tensor | None, grad: Tensor, of_attention: Tensor | None, needed: bool
) -> tuple[Tensor | None, Tensor | None]:
    """What the bias adds to the attention's gradient, if there is one, and its own, if it is needed."""
    if bias is None or (of_attention is None and not needed):
        return of_attention, None
    sums = grad.flatten(2).sum(2)  # (B, O)
    return None if of_attention is None else of_attention + sums @ bias.T, attention.T @ sums if needed else None


def mix(weight: Tensor, attention: Tensor) -> Tensor:
    """(K, ...), ([B,] K) → ([B,] ...): the weighted sum over K."""
    mixed: Tensor = attention @ weight.flatten(1)
    return mixed.reshape(*mixed.shape[:-1], *weight.shape[1:])


def conv_per_image(
    x: Tensor, kernel: Tensor, bias: Tensor | None, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Tensor:
    """(B, C, *S), (B, O, C/g, *kernel), (B, O) → (B, O, *S'): one convolution with B·groups groups."""
    batch, out = kernel.shape[:2]
    stacked = x.reshape(1, -1, *x.shape[2:])  # (1, B·C, *S); reshape, not view: x may be channels_last
    bias = None if bias is None else bias.flatten()  # (B·O,)
    y = CONVS[x.ndim - 2](stacked, kernel.flatten(0, 1), bias, stride, padding, dilation, batch * groups)
    return y.reshape(batch, out, *y.shape[2:])  # (B, O, *S')


def softmax(logits: Tensor, temperature: float | Tensor, dim: int = -1) -> Tensor:
    """Of logits / T. The largest is subtracted first: dividing by a small T can then only reach −inf."""
    shifted = logits - logits.amax(dim, keepdim=True).detach()
    return torch.softmax(shifted / temperature, dim)


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """(B, O) → (B, O, 1, …), so that it can be added to (B, O, *S')."""
    return values.reshape(*values.shape, *[1] * (like.ndim - 2))


def output_size(size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> list[int]:
    """*S'."""
    axes = zip(size, kernel, stride, padding, dilation, strict=True)
    return [(s + 2 * p - gap * (k - 1) - 1) // step + 1 for s, k, step, p, gap in axes]


def check_shapes(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *rest: Any) -> None:
    """Raise ValueError unless they fit: what sees addresses and sizes only would read something else.

    Args:
        x, weight, attention, bias: as in :func:`forward`, of one group, or of as many as channels.
        rest: the gradient of the outputs, if there is one, then stride, padding and dilation.
    """
    *grad, stride, padding, dilation = rest
    shapes: dict[str, tuple[Tensor, str, Ints]] = {"attention": (attention, "(B, K)", (x.shape[0], weight.shape[0]))}
    size = output_size(x.shape[2:], weight.shape[3:], stride, padding, dilation)
    if min(size) < 1:
        raise ValueError(
            f"kernel {tuple(weight.shape[3:])} is larger than the padded input, {tuple(x.shape[2:])} + 2 × {padding}"
        )
    if bias is not None:
        shapes["bias"] = (bias, "(K, O)", tuple(weight.shape[:2]))
    if grad:
        shapes["grad"] = (grad[0], "(B, O, H', W')", (x.shape[0], weight.shape[1], *size))
    for name, (tensor, letters, shape) in shapes.items():
        if tensor.shape != shape:
            raise ValueError(f"{name} must be {letters} = {shape}, got {tuple(tensor.shape)}")

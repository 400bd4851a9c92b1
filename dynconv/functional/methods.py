"""The methods: ways to the same numbers, of torch's own operations or of those that are registered with it.

The kernels are mixed first ("grouped", "unfold") or the outputs last ("outputs"). Registered operations mix kernels, too,
but keep none of them for the backward pass: "native" and "triton", and, so that compilers see one operation
whatever the batch, "grouped".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import native
from ..native import gpu
from ..native.definition import CONVS, conv_per_image, mix, per_channel
from ..native.operation import tracing
from .checks import autocasts

__all__ = ["FORMER", "METHODS", "OPERATIONS", "PER_IMAGE", "backends", "dynamic"]

Ints = tuple[int, ...]
Geometry = tuple[Ints, Ints, Ints, int]  # stride, padding, dilation, groups
MIXED_AT_ONCE, FEWEST_AT_ONCE = 8_000_000, 6  # bytes of mixed kernels; images
OPERATIONS = {"grouped": native.GROUPED, "native": native.OPERATION, "triton": gpu.OPERATION}


def backends(x: Tensor, weight: Tensor, *others: Tensor | None) -> tuple[str, ...]:
    """The registered operations that can take these tensors: the one place where this is asked.

    They take real tensors of one dtype, and no others: subclasses, tracers and exporters are given torch's own operations,
    which they can take apart. (Function transforms and dispatch modes find what they need at the operations themselves.)
    """
    compiling, given = torch.compiler.is_compiling(), [x, weight, *(t for t in others if t is not None)]
    if torch.compiler.is_exporting() or tracing() or x.shape[0] == 0:
        return ()
    if not all(type(t) in (Tensor, torch.nn.Parameter) and t.layout == torch.strided for t in given):
        return ()
    found: tuple[str, ...] = ("grouped",) if compiling else ()
    casts = autocasts(x)
    if gpu.takes(x, weight, torch.get_autocast_dtype(x.device.type) if casts else x.dtype):
        found += ("triton",)
    if casts or x.device.type != "cpu" or any(t.dtype != x.dtype for t in given):
        return found
    return (*found, "native") if native.takes(x, weight) else found


def dynamic(
    method: str, registered: bool, x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """(B, C, *S), (K, O, C/g, *kernel), (B, K), (K, O) → (B, O, *S') by a method."""
    if registered:
        return OPERATIONS[method](*_cast(x, weight, attention, bias), *geometry)
    if method == "outputs":
        return _outputs(x, weight, attention, bias, geometry)
    few = _images_at_a_time(x, weight)
    if few >= x.shape[0]:
        return _mix_and_convolve(method, x, weight, attention, bias, geometry)
    parts = zip(x.split(few), attention.split(few), strict=True)
    return torch.cat([_mix_and_convolve(method, part, weight, pi, bias, geometry) for part, pi in parts])


def _cast(*tensors: Any) -> Sequence[Any]:
    """What autocast does before torch's own convolutions: it knows no others."""
    if not autocasts(tensors[0]):
        return tensors
    dtype = torch.get_autocast_dtype(tensors[0].device.type)
    return [None if t is None else t.to(dtype) for t in tensors]


def _images_at_a_time(x: Tensor, weight: Tensor) -> int:
    """How many images' kernels a CPU mixes at once: memory that is new to it costs it more than the arithmetic."""
    one = weight.shape[1:].numel() * x.element_size()  # bytes (weight[0] can block two threads for ever)
    traced = torch.compiler.is_compiling() or torch.compiler.is_exporting() or tracing()
    if x.device.type != "cpu" or traced:
        return max(1, x.shape[0])
    return max(FEWEST_AT_ONCE, MIXED_AT_ONCE // max(1, one))


def _mix_and_convolve(
    method: str, x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    kernel = mix(weight, attention)  # (B, O, C/g, *kernel)
    mixed_bias = None if bias is None else mix(bias, attention)  # (B, O)
    return PER_IMAGE[method](x, kernel, mixed_bias, *geometry)


def _outputs(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """K convolutions as one with K·O output channels, then the weighted sum."""
    (num_kernels, out), groups = weight.shape[:2], geometry[3]
    # a grouped convolution numbers its outputs group by group, so K goes inside the groups: (g, K, O/g, C/g, *kernel)
    stacked = weight.unflatten(1, (groups, out // groups)).transpose(0, 1).flatten(0, 2)  # (g·K·O/g, C/g, *kernel)
    y = CONVS[x.ndim - 2](x, stacked, None, *geometry)  # (B, g·K·O/g, *S')
    y = y.unflatten(1, (groups, num_kernels, out // groups))  # (B, g, K, O/g, *S')
    y = torch.einsum("bgko...,bk->bgo...", y, attention).flatten(1, 2)  # (B, O, *S')
    return y if bias is None else y + per_channel(mix(bias, attention), y)


def _unfold(
    x: Tensor, kernel: Tensor, bias: Tensor | None, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Tensor:
    """Every patch as a column, times every image's kernel as a matrix."""
    x = F.pad(x, [p for size in reversed(padding) for p in (size, size)])
    columns = patches(x, tuple(kernel.shape[3:]), stride, dilation)  # (B, C·kernel, *S')
    spatial = columns.shape[2:]
    columns = columns.unflatten(1, (groups, -1)).flatten(3)  # (B, g, C/g·kernel, S')
    matrix = kernel.unflatten(1, (groups, -1)).flatten(3)  # (B, g, O/g, C/g·kernel)
    y: Tensor = (matrix @ columns).flatten(1, 2).unflatten(-1, spatial)  # (B, O, *S')
    return y if bias is None else y + per_channel(bias, y)


def patches(x: Tensor, kernel_size: Ints, stride: Ints, dilation: Ints) -> Tensor:
    """Every patch of ``x`` that a kernel sees, as a column: (B, C, *S) → (B, C·kernel, *S'), in any dimension."""
    n = x.ndim - 2
    for i, (size, step, gap) in enumerate(zip(kernel_size, stride, dilation, strict=True)):
        x = x.unfold(2 + i, gap * (size - 1) + 1, step)[..., ::gap]  # …, *S', and one kernel size at the end
    order = (0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n))
    return x.permute(order).flatten(1, 1 + n)  # (B, C·kernel, *S')


PER_IMAGE = {"grouped": conv_per_image, "unfold": _unfold}
METHODS = ("outputs", *PER_IMAGE, "native", "triton")
FORMER = {"tiled": "native"}  # a method that is gone → what took its place

"""Convolution with one kernel for all images, and with a mix of K kernels for each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import native
from . import tiled
from .checks import check_counts, check_together, sizes
from .fused import fits, fused_conv
from .mixing import mix_kernels

__all__ = ["METHODS", "PADDING_MODES", "choose_method", "conv", "conv_per_image", "dynamic_conv"]

CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
MIXED_AT_ONCE, FEWEST_AT_ONCE = 8_000_000, 6  # bytes of mixed kernels; images
# where one road overtakes another, measured: python -m experiments.bench --all (NATIVE_IMAGES where gradients are wanted)
NATIVE_IMAGES, NATIVE_POSITIONS, NATIVE_CHANNELS, FEW_CHANNELS, MANY_WEIGHTS = 4, 256, 16, 4, 4096


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
) -> Tensor:
    """One plain convolution in one, two or three dimensions (by ``weight.ndim``), with any of nn.ConvNd's paddings.

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html

    Example:
        >>> import torch
        >>> conv(torch.randn(2, 3, 8, 8), torch.randn(5, 3, 3, 3), padding="same", padding_mode="reflect").shape
        torch.Size([2, 5, 8, 8])

    Args:
        x: (B, C, *S).
        weight: (O, C/groups, *kernel).
        bias: (O,) or None.
        stride, padding, dilation, groups, padding_mode: as in :func:`dynamic_conv`.

    Raises:
        ValueError: shapes, stride, padding, dilation or groups do not fit; the message names the value.
        RuntimeError: the tensors are on more than one device; TypeError: they have more than one dtype.
    """
    n = weight.ndim - 2
    _check_shapes(x, weight, groups, padding_mode, n)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be (O,) = ({weight.shape[0]},), got {tuple(bias.shape)}")
    check_together(x=x, weight=weight, bias=bias)
    stride, dilation = sizes(stride, n, "stride", 1), sizes(dilation, n, "dilation", 1)
    x, padding = _pad(x, weight.shape[2:], stride, padding, dilation, padding_mode)
    _check_size(x, weight.shape[2:], padding, dilation)
    return CONVS[n](x, weight, bias, stride, padding, dilation, groups)


def dynamic_conv(
    x: Tensor,
    weight: Tensor,
    attention: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    method: str = "auto",
) -> Tensor:
    r"""Convolve every image with its own mix of K kernels, in one, two or three dimensions (by ``weight.ndim``).

    Reference: Chen et al., https://arxiv.org/abs/1912.03458; with weights of any sign and sum it is CondConv,
    Yang et al., https://arxiv.org/abs/1904.04971

    .. math:: y_b = \Big(\sum_k \pi_{bk} W_k\Big) * x_b + \sum_k \pi_{bk} b_k

    Example:
        >>> import torch
        >>> x, weight = torch.randn(2, 6, 9, 9), torch.randn(4, 8, 6, 3, 3)
        >>> attention = torch.softmax(torch.randn(2, 4), dim=1)
        >>> dynamic_conv(x, weight, attention, padding=1).shape
        torch.Size([2, 8, 9, 9])

    Args:
        x: (B, C, *S), floating point; B may be 0.
        weight: (K, O, C/groups, *kernel).
        attention: (B, K), any sign and sum.
        bias: (K, O), mixed like the kernels, or None.
        stride, padding, dilation, groups: as in ``torch.nn.functional.conv2d``; padding also "valid" or "same", which at a
            stride pads as TensorFlow and timm do, so that the output has ⌈size / stride⌉ positions.
        padding_mode: "zeros", "reflect", "replicate" or "circular", as in ``torch.nn.Conv2d``.
        method: the same numbers by different roads. "grouped" mixes the kernels and runs one convolution in which each
            image is a group; "outputs" runs K convolutions and mixes what comes out (needs no free-batch tricks, so it
            exports); "unfold" mixes the kernels and multiplies them with every patch; "tiled" does so a few kernels at a
            time, in memory that is used again (on CPUs, one group; elsewhere it is "unfold"); "native" mixes them in the
            cache, in C++ (float32 images on a CPU, one group, after ``python -m dynconv.native``; elsewhere it is
            "unfold"); "auto" chooses.

    Raises:
        ValueError: shapes, stride, padding, dilation, groups or method do not fit; the message names the value.
        TypeError: x is not floating point, or the tensors have more than one dtype (outside of autocast).
        RuntimeError: the tensors are on more than one device; the message names each.
    """
    n = weight.ndim - 3
    _check_dynamic_conv(x, weight, attention, bias, groups, padding_mode, n)
    stride, dilation = sizes(stride, n, "stride", 1), sizes(dilation, n, "dilation", 1)
    x, padding = _pad(x, weight.shape[3:], stride, padding, dilation, padding_mode)
    _check_size(x, weight.shape[3:], padding, dilation)
    if method == "auto":
        method = choose_method(x, weight, stride, dilation)
    if method not in METHODS:
        raise ValueError(f"method must be 'auto' or one of {', '.join(map(repr, METHODS))}, got {method!r}")
    if method in ENGINES:
        if fits(x, weight, attention) and (method != "native" or native.fits(x, weight)):
            return fused_conv(ENGINES[method], x, weight, attention, bias, stride, padding, dilation)
        method = "unfold"
    if method == "outputs":
        return _outputs(x, weight, attention, bias, stride, padding, dilation, groups)
    geometry = stride, padding, dilation, groups
    few = _images_at_a_time(x, weight)
    if few >= x.shape[0]:
        return _mix_and_convolve(method, x, weight, attention, bias, *geometry)
    parts = zip(x.split(few), attention.split(few), strict=True)
    return torch.cat([_mix_and_convolve(method, part, weight, pi, bias, *geometry) for part, pi in parts])


def conv_per_image(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    method: str = "auto",
) -> Tensor:
    r"""Convolve every image with a kernel of its own, in one, two or three dimensions (by ``kernel.ndim``).

    Reference: Jia et al., *Dynamic Filter Networks*, https://arxiv.org/abs/1605.09673

    .. math:: y_b = W_b * x_b + c_b

    Example:
        >>> import torch
        >>> conv_per_image(torch.randn(2, 6, 9, 9), torch.randn(2, 8, 6, 3, 3), padding=1).shape
        torch.Size([2, 8, 9, 9])

    Args:
        x: (B, C, *S), floating point; B may be 0.
        kernel: (B, O, C/groups, *kernel).
        bias: (B, O) or None.
        stride, padding, dilation, groups, padding_mode: as in :func:`dynamic_conv`.
        method: "grouped" (one convolution in which each image is a group), "unfold" (a matrix product with every patch;
            exports with a free batch size) or "auto".

    Raises:
        ValueError, TypeError, RuntimeError: as in :func:`dynamic_conv`.
    """
    n = kernel.ndim - 3
    if method not in ("auto", *PER_IMAGE):
        raise ValueError(f"method must be 'auto' or one of {', '.join(map(repr, PER_IMAGE))}, got {method!r}")
    if kernel.shape[0] != x.shape[0] or (bias is not None and bias.shape != kernel.shape[:2]):
        given = tuple(kernel.shape), None if bias is None else tuple(bias.shape)
        raise ValueError(f"kernel and bias must have one row for each of the {x.shape[0]} images, got {given}")
    _check_input(x, kernel, groups, padding_mode, n, "B")
    check_together(x=x, kernel=kernel, bias=bias)
    stride, dilation = sizes(stride, n, "stride", 1), sizes(dilation, n, "dilation", 1)
    x, padding = _pad(x, kernel.shape[3:], stride, padding, dilation, padding_mode)
    _check_size(x, kernel.shape[3:], padding, dilation)
    if method == "auto":
        method = _choose_per_image(x, kernel)
    return PER_IMAGE[method](x, kernel, bias, stride, padding, dilation, groups)


def choose_method(x: Tensor, weight: Tensor, stride: Sequence[int] = (), dilation: Sequence[int] = ()) -> str:
    """Name the road ``method="auto"`` takes: from shapes and device, from what is built, and whether gradients are wanted."""
    if torch.compiler.is_exporting():  # images as groups would fix the batch size in the exported graph
        return "unfold" if _pointwise(weight) else "outputs"
    if x.shape[0] == 0:  # a convolution cannot have zero groups
        return "outputs"
    positions = x.shape[2:].numel() // math.prod(stride)  # of the output
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    small = positions <= NATIVE_POSITIONS and x.shape[0] >= (NATIVE_IMAGES if learns else 1)
    one = all(step == 1 for step in (*stride, *dilation))
    tiles = one and weight.shape[3:] == (3, 3)  # four outputs for 16 products, not 36
    many = min(weight.shape[1:3]) >= NATIVE_CHANNELS
    if (small or tiles) and many and fits(x, weight) and native.fits(x, weight):
        return "native"
    method = _choose_per_image(x, weight)
    return "tiled" if method == "unfold" and fits(x, weight) and tiled.pays(x, weight) else method


def _choose_per_image(x: Tensor, kernel: Tensor) -> str:
    """ "unfold" where patches cost little or, on a CPU, where a large kernel sees few positions; else "grouped"."""
    if torch.compiler.is_exporting() or x.shape[0] == 0:
        return "unfold"
    cpu = x.device.type == "cpu"
    few_positions = cpu and kernel[0].numel() >= MANY_WEIGHTS * x.shape[2:].numel()
    few_channels = cpu and x.shape[1] == kernel.shape[2] <= FEW_CHANNELS
    return "unfold" if x.shape[0] > 1 and (_pointwise(kernel) or few_positions or few_channels) else "grouped"


def _pointwise(weight):
    return weight.shape[3:].numel() == 1


def _images_at_a_time(x: Tensor, weight: Tensor) -> int:
    """How many images' kernels a CPU mixes at once: memory that is new to it costs it more than the arithmetic."""
    one = weight[0].numel() * x.element_size()  # bytes
    traced = torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing()
    if x.device.type != "cpu" or traced:
        return max(1, x.shape[0])
    return max(FEWEST_AT_ONCE, MIXED_AT_ONCE // max(1, one))


def _mix_and_convolve(method, x, weight, attention, bias, *geometry):
    kernel = mix_kernels(weight, attention)  # (B, O, C/g, *kernel)
    mixed_bias = None if bias is None else mix_kernels(bias, attention)  # (B, O)
    return PER_IMAGE[method](x, kernel, mixed_bias, *geometry)


def _grouped(x, kernel, bias, stride, padding, dilation, groups):
    """One convolution with B·groups groups: image b is convolved with its own kernel."""
    batch, out = kernel.shape[:2]
    stacked = x.reshape(1, -1, *x.shape[2:])  # (1, B·C, *S); reshape, not view: x may be channels_last
    bias = None if bias is None else bias.flatten()  # (B·O,)
    y = CONVS[x.ndim - 2](stacked, kernel.flatten(0, 1), bias, stride, padding, dilation, batch * groups)
    return y.reshape(batch, out, *y.shape[2:])  # (B, O, *S')


def _outputs(x, weight, attention, bias, stride, padding, dilation, groups):
    """K convolutions as one with K·O output channels, then the weighted sum."""
    num_kernels, out = weight.shape[:2]
    # a grouped convolution numbers its outputs group by group, so K goes inside the groups: (g, K, O/g, C/g, *kernel)
    stacked = weight.unflatten(1, (groups, out // groups)).transpose(0, 1).flatten(0, 2)  # (g·K·O/g, C/g, *kernel)
    y = CONVS[x.ndim - 2](x, stacked, None, stride, padding, dilation, groups)  # (B, g·K·O/g, *S')
    y = y.unflatten(1, (groups, num_kernels, out // groups))  # (B, g, K, O/g, *S')
    y = torch.einsum("bgko...,bk->bgo...", y, attention).flatten(1, 2)  # (B, O, *S')
    return y if bias is None else y + _per_channel(mix_kernels(bias, attention), y)


def _unfold(x, kernel, bias, stride, padding, dilation, groups):
    """Every patch as a column, times every image's kernel as a matrix."""
    x = F.pad(x, [p for size in reversed(padding) for p in (size, size)])
    columns = patches(x, kernel.shape[3:], stride, dilation)  # (B, C·kernel, *S')
    spatial = columns.shape[2:]
    columns = columns.unflatten(1, (groups, -1)).flatten(3)  # (B, g, C/g·kernel, S')
    matrix = kernel.unflatten(1, (groups, -1)).flatten(3)  # (B, g, O/g, C/g·kernel)
    y = (matrix @ columns).flatten(1, 2).unflatten(-1, spatial)  # (B, O, *S')
    return y if bias is None else y + _per_channel(bias, y)


def patches(x: Tensor, kernel_size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """Every patch of ``x`` that a kernel sees, as a column: (B, C, *S) → (B, C·kernel, *S'), in any dimension."""
    n = x.ndim - 2
    for i, (size, step, gap) in enumerate(zip(kernel_size, stride, dilation, strict=True)):
        x = x.unfold(2 + i, gap * (size - 1) + 1, step)[..., ::gap]  # …, *S', and one kernel size at the end
    order = (0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n))
    return x.permute(order).flatten(1, 1 + n)  # (B, C·kernel, *S')


PER_IMAGE = {"grouped": _grouped, "unfold": _unfold}
ENGINES = {"tiled": tiled, "native": native}
METHODS = ("outputs", *PER_IMAGE, *ENGINES)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(*values.shape, *[1] * (like.ndim - 2))  # (B, O) → (B, O, 1, …)


def _pad(x, kernel, stride, padding, dilation, padding_mode):
    """Apply what a convolution cannot pad by itself; return the input and the symmetric zero padding that is left."""
    n = len(kernel)
    if padding == "same":
        total = [total_padding(*axis) for axis in zip(x.shape[2:], kernel, stride, dilation, strict=True)]
        sides = [(t // 2, t - t // 2) for t in total]  # an odd total pads one more on the right, as torch does
    elif padding == "valid":
        sides = [(0, 0)] * n
    elif isinstance(padding, str):
        raise ValueError(f"padding must be an int, a tuple, 'same' or 'valid', got {padding!r}")
    else:
        sides = [(p, p) for p in sizes(padding, n, "padding", 0)]
    if padding_mode == "zeros" and all(left == right for left, right in sides):
        return x, tuple(left for left, _ in sides)
    flat = [p for pair in reversed(sides) for p in pair]  # F.pad counts from the last dimension
    return F.pad(x, flat, mode="constant" if padding_mode == "zeros" else padding_mode), (0,) * n


def _check_size(x, kernel, padding, dilation):
    """Before a road is taken: each would say it in words of its own. A tracer's sizes are not looked at."""
    if torch.compiler.is_compiling():
        return
    axes = zip(x.shape[2:], kernel, padding, dilation, strict=True)
    if any(size + 2 * p < gap * (k - 1) + 1 for size, k, p, gap in axes):
        raise ValueError(
            f"kernel {tuple(kernel)} is larger than the padded input, {tuple(x.shape[2:])} + 2 × {padding}, "
            f"with dilation {dilation}"
        )


def total_padding(size, kernel, step, gap):
    """What "same" pads along an axis: the output is then as long as the input, at a stride ⌈size / stride⌉."""
    if step == 1:
        return gap * (kernel - 1)
    return max(0, (size - 1) // step * step + gap * (kernel - 1) + 1 - size)


def _check_dynamic_conv(x, weight, attention, bias, groups, padding_mode, n):
    _check_input(x, weight, groups, padding_mode, n, "K")
    num_kernels, out = weight.shape[:2]
    if num_kernels == 0:
        raise ValueError(f"weight must hold at least one kernel, got K = 0 in shape {tuple(weight.shape)}")
    if attention.shape != (x.shape[0], num_kernels):
        raise ValueError(
            f"attention must be (B, K) = ({x.shape[0]}, {num_kernels}), one row an image, got {tuple(attention.shape)}"
        )
    if bias is not None and bias.shape != (num_kernels, out):
        raise ValueError(f"bias must be (K, O) = ({num_kernels}, {out}), one row a kernel, got {tuple(bias.shape)}")
    check_together(x=x, weight=weight, attention=attention, bias=bias)


def _check_input(x, weight, groups, padding_mode, n, first):
    if not x.is_floating_point():
        raise TypeError(f"x must be floating point, got {x.dtype}; convert it, for example with x.float() / 255")
    _check_shapes(x, weight, groups, padding_mode, n, first)


def _check_shapes(x, weight, groups, padding_mode, n, first=""):
    shape = tuple(weight.shape)
    if n not in CONVS:
        wanted = ", ".join([*first, "O", "C/groups", "*kernel"])
        raise ValueError(f"weight must be ({wanted}) with 1 to 3 kernel sizes, got {shape}")
    check_counts(groups=groups)
    out, channels = shape[-n - 2 : -n]
    if x.ndim != n + 2 or x.shape[1] != channels * groups:
        raise ValueError(
            f"x must be (B, {channels * groups}, {n} spatial sizes) for weight {shape} and "
            f"groups={groups}, got {tuple(x.shape)}"
        )
    if out % groups:
        raise ValueError(f"groups must divide the {out} output channels, got groups={groups}")
    if padding_mode not in PADDING_MODES:
        raise ValueError(f"padding_mode must be one of {PADDING_MODES}, got {padding_mode!r}")

"""Convolution with one kernel for all images, and with a mix of K kernels for each."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from .. import native
from ..native import attended
from ..native.definition import CONVS, mix
from ..native.operation import learns, unwatched
from .checks import autocasts, check_counts, check_together
from .choice import choose_method, choose_per_image
from .methods import FORMER, METHODS, OPERATIONS, PER_IMAGE, backends, dynamic
from .padding import PADDING_MODES, geometry, padded

__all__ = ["attended_conv", "conv", "conv_per_image", "dynamic_conv"]

Ints = tuple[int, ...]
Given = tuple[Any, ...]
Plan = TypeVar("Plan")
PLANS: dict[Hashable, Any] = {}  # for arguments that were seen before
MOST_PLANS = 4096


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
    pads, steps = geometry(x, weight, stride, padding, dilation, padding_mode)
    return CONVS[n](padded(x, pads, padding_mode), weight, bias, *steps, groups)


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
        attention: (B, K), any sign and sum. Where "auto" sees that all rows are one (a row that was expanded, as
            :func:`dynconv.probe.intervene` gives "frozen" and "given" ones), the kernels are mixed once for all images: frames
            of a film or tiles of an image cost what a static convolution does.
        bias: (K, O), mixed like the kernels, or None.
        stride, padding, dilation, groups: as in ``torch.nn.functional.conv2d``; padding also "valid" or "same", which at a
            stride pads as TensorFlow and timm do, so that the output has ⌈size / stride⌉ positions.
        padding_mode: "zeros", "reflect", "replicate" or "circular", as in ``torch.nn.Conv2d``.
        method: the same numbers by different methods. "grouped" mixes the kernels and runs one convolution in which each
            image is a group; "outputs" runs K convolutions and mixes what comes out (needs no free-batch tricks, so it
            exports); "unfold" mixes the kernels and multiplies them with every patch; "native" mixes them in the cache, in C++
            (float32 images on a CPU, one group or a kernel for each channel, after ``python -m dynconv.native``; elsewhere it
            is "unfold"; 3 × 3 kernels at stride 1 by Winograd's products, in tiles of 4 × 4 outputs: how a number far larger
            than its neighbours is rounded shows in all of a tile, NaN and infinity only where they are seen); "triton" mixes
            them in registers on their way into the product (images on an NVIDIA GPU, one group, 16 channels and more;
            elsewhere it is "unfold"); "auto" chooses. ("tiled" is an older name, and now "native".)

    Raises:
        ValueError: shapes, stride, padding, dilation, groups or method do not fit; the message names the value.
        TypeError: x is not floating point, or the tensors have more than one dtype (outside of autocast).
        RuntimeError: the tensors are on more than one device; the message names each.
    """
    given, options = (x, weight, attention, bias), (stride, padding, dilation, groups, padding_mode, method)
    if not unwatched():
        return _plan(given, options).carry_out(*given)
    return _planned(given, options, _plan).carry_out(*given)


def attended_conv(
    given: Given, stride: Any, padding: Any, dilation: Any, groups: int, padding_mode: str, method: str
) -> Tensor | None:
    """A layer's outputs from the image on, where its attention and the convolution can be one step; None where they are two.

    Only for who has asked whether nobody looks on.

    Args:
        given: the image, the layer's weight and bias; those of the attention's two layers; its temperature.
        stride, padding, dilation, groups, padding_mode, method: as in :func:`dynamic_conv`.
    """
    return _planned(given, (stride, padding, dilation, groups, padding_mode, method), _attended)(*given)


def _planned(given: Given, options: Given, plan: Callable[[Given, Given], Plan]) -> Plan:
    """What to do with arguments like these, thought about once."""
    key = _key(given, options)
    found: Plan | None = PLANS.get(key)
    if found is None:
        if len(PLANS) >= MOST_PLANS:
            PLANS.clear()  # other threads hold the plans that they go by
        found = PLANS[key] = plan(given, options)
    return found


def _attended(given: Given, options: Given) -> Callable[..., Tensor | None]:
    x, weight, bias, *_ = given
    if attended.fits(given):
        plan = _plan((x, weight, x.new_empty(x.shape[0], weight.shape[0]), bias), options)
        if plan.method == "native" and not plan.pads:
            return partial(attended.attended, plan.geometry)
    return lambda *given: None


class _Plan(NamedTuple):
    """What was found out about arguments like these: that they fit, and how they are computed."""

    method: str
    registered: bool
    pads: Sequence[int]
    geometry: tuple[Ints, Ints, Ints, int]  # stride, padding, dilation, groups
    padding_mode: str
    alike: bool  # whether all images have one mix of the kernels
    lean: bool  # whether the operation's way forward is all there is to do

    def carry_out(self, x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None) -> Tensor:
        if self.lean:
            return OPERATIONS[self.method].forward(x, weight, attention, bias, *self.geometry)
        x = padded(x, self.pads, self.padding_mode)
        if self.alike:
            kernel, mixed_bias = mix(weight, attention[:1])[0], None if bias is None else mix(bias, attention[:1])[0]
            return CONVS[x.ndim - 2](x, kernel, mixed_bias, *self.geometry)
        return dynamic(self.method, self.registered, x, weight, attention, bias, self.geometry)


def _plan(given: Given, options: Given) -> _Plan:
    """All checks, and the choice."""
    (x, weight, attention, bias), (stride, padding, dilation, groups, padding_mode, method) = given, options
    _check_dynamic_conv(x, weight, attention, bias, groups, padding_mode, weight.ndim - 3)
    if method not in ("auto", *METHODS, *FORMER):
        raise ValueError(f"method must be 'auto' or one of {', '.join(map(repr, METHODS))}, got {method!r}")
    method = FORMER.get(method, method)
    pads, steps = geometry(x, weight, stride, padding, dilation, padding_mode)
    can = backends(x, weight, attention, bias)
    one_row = x.shape[0] > 1 and attention.stride(0) == 0 and not attention.requires_grad  # expanded
    alike = method == "auto" and one_row and not torch.are_deterministic_algorithms_enabled()
    if method == "auto":
        method = choose_method(x, weight, steps[0], can)
    elif method in ("native", "triton") and method not in can:
        method = "unfold"
    lean = method in can and unwatched() and not (pads or alike or learns(*given) or autocasts(x))
    return _Plan(method, method in can, pads, (*steps, groups), padding_mode, alike, lean)


def _key(given: Given, options: Given) -> Hashable:
    """All that a plan depends on: of the tensors all but their numbers, and what torch was told."""
    how = [
        t is not None and (t.shape, t.stride(), t.dtype, t.device, t.layout, type(t), t.requires_grad) for t in given
    ]
    told = autocasts(given[0]), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()
    return *how, repr(options), told, native.available()


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
    pads, steps = geometry(x, kernel, stride, padding, dilation, padding_mode)
    x = padded(x, pads, padding_mode)
    if method == "auto":
        method = choose_per_image(x, kernel, steps[0])
    return PER_IMAGE[method](x, kernel, bias, *steps, groups)


def _check_dynamic_conv(
    x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, groups: int, padding_mode: str, n: int
) -> None:
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


def _check_input(x: Tensor, weight: Tensor, groups: int, padding_mode: str, n: int, first: str) -> None:
    if not x.is_floating_point():
        raise TypeError(f"x must be floating point, got {x.dtype}; convert it, for example with x.float() / 255")
    _check_shapes(x, weight, groups, padding_mode, n, first)


def _check_shapes(x: Tensor, weight: Tensor, groups: int, padding_mode: str, n: int, first: str = "") -> None:
    shape = tuple(weight.shape)
    if n not in CONVS:
        wanted = ", ".join([*first, "O", "C/groups", "*kernel"])
        raise ValueError(f"weight must be ({wanted}) with 1 to 3 kernel sizes, got {shape}")
    check_counts(groups=groups)
    out, channels = shape[-n - 2 : -n]
    if 0 in shape[-n - 2 :]:
        raise ValueError(f"weight must have at least one channel in and out and no kernel size of 0, got {shape}")
    if x.ndim != n + 2 or x.shape[1] != channels * groups:
        raise ValueError(
            f"x must be (B, {channels * groups}, {n} spatial sizes) for weight {shape} and "
            f"groups={groups}, got {tuple(x.shape)}"
        )
    if out % groups:
        raise ValueError(f"groups must divide the {out} output channels, got groups={groups}")
    if padding_mode not in PADDING_MODES:
        raise ValueError(f"padding_mode must be one of {PADDING_MODES}, got {padding_mode!r}")

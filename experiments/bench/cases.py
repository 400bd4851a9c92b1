"""What is compared: shapes, and the ways to compute a dynamic convolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dynconv.functional import METHODS, dynamic_conv

from .peers import one_grouped

__all__ = ["CASES", "GPU_CASES", "MORE_CASES", "NETWORK_CASES", "TINY_CASES", "Case", "methods"]


class Case(NamedTuple):
    """One convolution: B images of ``channels`` × ``size`` × ``size`` to ``out`` channels."""

    batch: int
    channels: int
    out: int
    size: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1

    def __str__(self) -> str:
        extra = f", stride {self.stride}" * (self.stride > 1) + f", {self.groups} groups" * (self.groups > 1)
        return f"{self.batch} × {self.channels} → {self.out}, {self.size}², {self.kernel}×{self.kernel}{extra}"


NOT_THERE = {"cpu": ("triton",), "cuda": ("native",)}  # methods that would be another one there
CASES = (
    Case(1, 64, 64, 56),
    Case(1, 256, 256, 14),
    Case(8, 16, 16, 56),
    Case(8, 128, 128, 28),
    Case(32, 64, 64, 28),
    Case(32, 256, 256, 8),
    Case(128, 32, 32, 14),
    Case(128, 64, 64, 7),
    Case(8, 64, 256, 56, kernel=1),
    Case(128, 128, 128, 7, kernel=1),
)
MORE_CASES = (
    *CASES,
    Case(32, 128, 128, 14),
    Case(32, 256, 256, 14),
    Case(32, 64, 128, 28, stride=2),
    Case(32, 64, 64, 28, groups=64),
    Case(32, 192, 192, 14, kernel=5, groups=192),
    Case(1, 256, 1024, 14, kernel=1),
    Case(32, 256, 256, 14, kernel=1),
    Case(64, 256, 256, 7, kernel=1),
)
NETWORK_CASES = (  # where networks spend their time: measured as whole layers, with their attention
    *(
        Case(8, 512, 512, 4),
        Case(8, 256, 512, 8, stride=2),
        Case(8, 128, 256, 16, stride=2),
        Case(8, 64, 128, 32, stride=2),
    ),
    *(Case(8, 64, 128, 32, kernel=1, stride=2), Case(8, 256, 512, 8, kernel=1, stride=2)),
    *(Case(8, 96, 24, 32, kernel=1), Case(8, 144, 24, 32, kernel=1), Case(8, 192, 32, 16, kernel=1)),
    *(Case(8, 576, 96, 8, kernel=1), Case(8, 960, 160, 4, kernel=1), Case(8, 24, 144, 32, kernel=1)),
    *(Case(8, 32, 32, 64, groups=32), Case(8, 96, 96, 64, stride=2, groups=96), Case(8, 144, 144, 32, groups=144)),
    *(Case(8, 192, 192, 16, groups=192), Case(8, 384, 384, 8, groups=384), Case(8, 960, 960, 4, groups=960)),
    *(Case(1, 64, 64, 32), Case(1, 512, 512, 4), Case(1, 256, 512, 8, stride=2)),
    *(Case(1, 144, 24, 32, kernel=1), Case(1, 144, 144, 32, groups=144), Case(1, 960, 960, 4, groups=960)),
)
TINY_CASES = Case(1, 8, 8, 8), Case(1, 16, 16, 8, kernel=1), Case(1, 16, 16, 8, groups=16), Case(8, 8, 8, 8)
GPU_CASES = (  # a GPU's work on CASES is over before the next can be asked for
    Case(128, 64, 64, 56),
    Case(128, 128, 128, 28),
    Case(128, 256, 256, 14),
    Case(128, 512, 512, 7),
    Case(32, 256, 256, 14),
    Case(128, 64, 128, 56, stride=2),
    Case(128, 64, 256, 56, kernel=1),
    Case(128, 512, 128, 28, kernel=1),
)


def methods(
    case: Case,
    num_kernels: int,
    device: str,
    dtype: torch.dtype,
    backward: bool,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Mapping[str, Callable]:
    """Name → call without arguments, all on the same tensors: nn.Conv2d's function, every method, and two peers.

    "one grouped convolution" is what most public implementations do; "timm" is timm's CondConv2d with the same kernels,
    present where timm is installed; "one kernel, native" is the static convolution by the C++ of "native", so that what
    mixing costs can be told from what that C++ saves. All are given the attention: what computes it is the same for all.

    Example:
        >>> sorted(methods(Case(2, 4, 4, 8), 4, "cpu", torch.float32, False))[:4]
        ['auto', 'grouped', 'native', 'one grouped convolution']

    Args:
        case: the shape.
        num_kernels: K.
        device, dtype: where and in which precision.
        backward: each call also computes the gradients of input, kernels and attention.
        memory_format: of the images, and of the static kernel.
    """
    made = {"device": device, "dtype": dtype, "requires_grad": backward}
    torch.manual_seed(0)
    x = torch.randn(case.batch, case.channels, case.size, case.size, **made)
    x = x.detach().contiguous(memory_format=memory_format).requires_grad_(backward)
    shape = (num_kernels, case.out, case.channels // case.groups, case.kernel, case.kernel)
    weight = torch.randn(shape, **made)
    attention = torch.rand(case.batch, num_kernels, device=device).softmax(1).to(dtype).requires_grad_(backward)
    geometry = {"stride": case.stride, "padding": case.kernel // 2, "groups": case.groups}

    def call(function: Callable[[], Tensor], inputs: tuple[Tensor, ...]) -> Callable[[], object]:
        if not backward:
            return torch.no_grad()(function)
        torch.manual_seed(1)  # the same direction for all
        out = torch.randn_like(function()).contiguous(memory_format=memory_format)
        return lambda: torch.autograd.grad(function(), inputs, out)

    every = (x, weight, attention)
    kernel = weight[0].detach().clone(memory_format=memory_format).requires_grad_(backward)
    made_by = {"static": call(lambda: F.conv2d(x, kernel, **geometry), (x, kernel))}
    for method in ("auto", *(m for m in METHODS if m not in NOT_THERE[device])):
        made_by[method] = call(lambda m=method: dynamic_conv(x, weight, attention, **geometry, method=m), every)
    if case.groups == 1 and device == "cpu":
        only, ones = kernel.detach()[None].clone().requires_grad_(backward), x.new_ones(case.batch, 1)
        made_by["one kernel, native"] = call(
            lambda: dynamic_conv(x, only, ones, **geometry, method="native"), (x, only)
        )
    made_by["one grouped convolution"] = call(lambda: one_grouped(x, weight, attention, None, geometry), every)
    layer = _timm(case, num_kernels, geometry)
    if layer is not None:
        stacked = weight.detach().flatten(1).clone().requires_grad_(backward)
        layer.weight = torch.nn.Parameter(stacked, requires_grad=backward)
        layer.to(device)
        made_by["timm"] = call(lambda: layer(x, attention), (x, layer.weight, attention))
    return made_by


def _timm(case, num_kernels, geometry):
    try:
        from timm.layers import CondConv2d
    except ModuleNotFoundError:
        return None
    return CondConv2d(case.channels, case.out, case.kernel, bias=False, num_experts=num_kernels, **geometry)

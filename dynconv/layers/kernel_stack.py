"""K kernels of one geometry: the parameters that `StaticMixConv*` and `DynamicConv*` share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..functional import PADDING_MODES
from ..functional.checks import check_counts, check_together, sizes

__all__: list[str] = []

PLAIN = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class KernelStack(nn.Module):
    """``weight`` (K, O, C/groups, *kernel) and ``bias`` (K, O), with nn.ConvNd's geometry and initialisation.

    Subclasses set ``spatial_dims`` and say where the K weights of the mix come from.
    """

    spatial_dims: int
    mixes_kernels = True  # `attention` weighs the K kernels

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        num_kernels: int,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, out_channels=out_channels, groups=groups, num_kernels=num_kernels)
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
            if value % groups:
                raise ValueError(f"{name} must be divisible by groups={groups}, got {value}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"padding must be integers, 'same' or 'valid', got {padding!r}")
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {PADDING_MODES}, got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        n = self.spatial_dims
        self.kernel_size = sizes(kernel_size, n, "kernel_size", 1)
        self.stride, self.dilation = sizes(stride, n, "stride", 1), sizes(dilation, n, "dilation", 1)
        self.padding = padding if isinstance(padding, str) else sizes(padding, n, "padding", 0)
        self.padding_mode, self.num_kernels = padding_mode, num_kernels
        shape = (num_kernels, out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(shape[:2], device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw each kernel and its bias as nn.ConvNd draws its own."""
        # Kernel by kernel: fan-in must be that of one kernel. Initialising the stack at once would take O for C.
        for weight in self.weight:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0, 0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def _as_batch(self, x: Tensor) -> tuple[Tensor, bool]:
        """Check x as nn.ConvNd would, and give one image without a batch dimension one."""
        unbatched = x.ndim == self.spatial_dims + 1
        batch = x.unsqueeze(0) if unbatched else x
        if batch.ndim != self.spatial_dims + 2 or batch.shape[1] != self.in_channels:
            sizes = ", ".join("DHW"[-self.spatial_dims :])
            raise ValueError(
                f"{type(self).__name__} expects (B, {self.in_channels}, {sizes}) or ({self.in_channels}, {sizes}), "
                f"got {tuple(x.shape)}"
            )
        if not x.is_floating_point():
            raise TypeError(f"{type(self).__name__} expects floating point input, got {x.dtype}")
        check_together(x=x, weight=self.weight)
        return batch, unbatched

    def geometry(self) -> dict:
        """The keyword arguments that `functional.conv` and `functional.dynamic_conv` share."""
        names = ("stride", "padding", "dilation", "groups", "padding_mode")
        return {name: getattr(self, name) for name in names}

    def _plain_conv(self, weight: Tensor, bias: Tensor | None) -> nn.Module:
        """An nn.ConvNd of this geometry that holds the given kernel."""
        conv = torch.nn.utils.skip_init(
            PLAIN[self.spatial_dims],
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            bias is not None,
            self.padding_mode,
            device=weight.device,
            dtype=weight.dtype,
        )
        with torch.no_grad():
            conv.weight.copy_(weight)
            if bias is not None:
                conv.bias.copy_(bias)
        return conv.train(self.training)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        defaults = {"padding": (0,) * self.spatial_dims, "dilation": (1,) * self.spatial_dims, "groups": 1}
        parts += [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        parts += ["bias=False"] if self.bias is None else []
        parts += [f"padding_mode={self.padding_mode}"] if self.padding_mode != "zeros" else []
        return ", ".join([*parts, f"num_kernels={self.num_kernels}"])

"""Branches of one input, weighed channel by channel with a softmax that is computed from the image.

Reference: Li et al., *Selective Kernel Networks*, https://arxiv.org/abs/1903.06586; Zhang et al., *ResNeSt: Split-Attention
Networks*, https://arxiv.org/abs/2004.08955
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.types import Device

from ..functional.checks import check_counts, sizes
from .checkpoints import rename
from .inputs import check_images
from .layer import Factory, Layer

__all__ = ["BranchAttention", "SelectiveKernel", "SplitAttention"]

# timm's names of the parts
SELECTIVE = {"attn.fc_reduce": "attention.fc1", "attn.bn": "attention.norm", "attn.fc_select": "attention.fc2"}
SPLIT = {"bn0": "norm", "fc1": "attention.fc1", "bn1": "attention.norm", "fc2": "attention.fc2"}


class BranchAttention(Layer):
    r"""How much of each channel comes from each of K branches, computed from their sum.

    Reference: Li et al., eq. 3–6, https://arxiv.org/abs/1903.06586; Zhang et al., eq. 2, https://arxiv.org/abs/2004.08955

    .. math:: a = \mathrm{softmax}_k\big(V_2\,\mathrm{relu}(\mathrm{BN}(V_1 \,\mathrm{mean}(\textstyle\sum_k u_k)))\big)

    Of one branch there is nothing to share out: K = 1 has a sigmoid, and says how much of a channel passes.

    Example:
        >>> import torch
        >>> weights = BranchAttention(16, num_branches=2).eval()(torch.randn(3, 2, 16, 8, 8))
        >>> weights.shape, bool(torch.allclose(weights.sum(1), torch.ones(3, 16)))
        (torch.Size([3, 2, 16]), True)

    Args:
        channels: C of each branch.
        num_branches: K.
        hidden_channels: width of the hidden layer.
        groups: of the two layers.
        bias: whether the two layers have one; norm: whether there is a batch norm between them.

    Shape:
        (B, K, C, H, W) → (B, K, C).

    Raises:
        ValueError: an argument or the input's shape does not fit.
    """

    over, batched = "branches", True

    def __init__(
        self,
        channels: int,
        num_branches: int = 2,
        hidden_channels: int = 32,
        groups: int = 1,
        bias: bool = False,
        norm: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(channels=channels, num_branches=num_branches, hidden_channels=hidden_channels, groups=groups)
        factory: Factory = {"device": device, "dtype": dtype}
        self.channels, self.num_branches, self.groups = channels, num_branches, groups
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1, groups=groups, bias=bias, **factory)
        self.norm = nn.BatchNorm2d(hidden_channels, **factory) if norm else nn.Identity()
        self.fc2 = nn.Conv2d(hidden_channels, num_branches * channels, 1, groups=groups, bias=bias, **factory)

    def forward(self, maps: Tensor) -> Tensor:
        if maps.ndim != 5 or maps.shape[1:3] != (self.num_branches, self.channels):
            got = tuple(maps.shape)
            raise ValueError(f"BranchAttention expects (B, {self.num_branches}, {self.channels}, H, W), got {got}")
        squeezed = maps.sum(1).mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        logits = self.fc2(torch.relu(self.norm(self.fc1(squeezed)))).flatten(1)  # (B, g·K·C/g)
        if self.num_branches == 1:
            return torch.sigmoid(logits)[:, None]  # (B, 1, C)
        shared: Tensor = logits.unflatten(1, (self.groups, self.num_branches, -1)).transpose(1, 2).flatten(2)
        return shared.softmax(1)


class SelectiveKernel(Layer):
    r"""Convolutions of several sizes, mixed channel by channel with weights that are computed from their sum.

    Reference: Li et al., section 3.1, https://arxiv.org/abs/1903.06586

    .. math:: y_c = \sum_k a_{kc}\, u_{kc}, \qquad u_k = \mathrm{relu}(\mathrm{BN}(W_k * x)), \qquad
        a_{\cdot c} = \mathrm{softmax}_k\big(V_k\,\mathrm{relu}(\mathrm{BN}(V \,\mathrm{mean}(\textstyle\sum_k u_k)))\big)_c

    The question's layer, made dynamic: a convex combination of feature maps whose weights differ from image to image.

    Example:
        >>> import torch
        >>> SelectiveKernel(8, 16)(torch.randn(2, 8, 12, 12)).shape
        torch.Size([2, 16, 12, 12])

    Args:
        in_channels, out_channels, stride, groups: as in :class:`torch.nn.Conv2d`; the padding is half the kernel.
        kernel_sizes: of the K branches, odd.
        dilate: kernels larger than 3 become 3 × 3 with a dilation that reaches as far, as in the paper.
        split_input: each branch sees an equal part of the channels, as in timm.
        hidden_channels: width of the hidden layer; None is max(32, out_channels // 16), the paper's.

    Shape:
        (B, in_channels, H, W) → (B, out_channels, H', W'). Checkpoints of timm's SelectiveKernel load as they are.

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    their_names = SELECTIVE

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_sizes: Sequence[int] = (3, 5),
        stride: int = 1,
        groups: int = 1,
        dilate: bool = True,
        split_input: bool = False,
        hidden_channels: int | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, out_channels=out_channels, stride=stride, groups=groups)
        kernel_sizes = sizes(kernel_sizes, len(kernel_sizes), "kernel_sizes", 1)
        if not kernel_sizes or not all(size % 2 for size in kernel_sizes):
            raise ValueError(f"kernel_sizes must be odd integers, at least one, got {kernel_sizes!r}")
        if split_input and in_channels % len(kernel_sizes):
            raise ValueError(f"in_channels must be divisible by the {len(kernel_sizes)} branches, got {in_channels}")
        hidden = max(32, out_channels // 16) if hidden_channels is None else hidden_channels
        factory: Factory = {"device": device, "dtype": dtype}
        self.in_channels, self.split_input = in_channels, split_input
        self.channels = in_channels // len(kernel_sizes) if split_input else in_channels  # of what a branch sees
        self.branches = nn.ModuleList()
        for size in kernel_sizes:
            kernel, gap = (3, (size - 1) // 2) if dilate and size > 3 else (size, 1)
            conv = nn.Conv2d(self.channels, out_channels, kernel, stride, size // 2, gap, groups, bias=False, **factory)
            self.branches.append(nn.Sequential(conv, nn.BatchNorm2d(out_channels, **factory), nn.ReLU()))
        self.attention = BranchAttention(out_channels, len(kernel_sizes), hidden, **factory)

    def forward(self, x: Tensor) -> Tensor:
        check_images(self, x, self.in_channels, "H, W")
        parts = x.split(self.channels, 1) if self.split_input else (x,) * len(self.branches)
        maps = torch.stack([branch(part) for branch, part in zip(self.branches, parts, strict=True)], 1)
        return _weighed(maps, self.attention(maps))  # of (B, K, O, H', W')

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
        for k in range(len(self.branches)):
            rename(state, prefix, {f"paths.{k}.conv": f"branches.{k}.0", f"paths.{k}.bn": f"branches.{k}.1"})
        super()._load_from_state_dict(state, prefix, *args)


class SplitAttention(Layer):
    r"""Groups of one convolution's output, mixed channel by channel with weights that are computed from their sum.

    Reference: Zhang et al., section 3.1, https://arxiv.org/abs/2004.08955

    .. math:: y_c = \sum_r a_{rc}\, u_{rc}, \qquad (u_1, \dots, u_R) = \mathrm{relu}(\mathrm{BN}(W * x))

    The R splits each see an R-th of the input's channels. With R = 1 it is Squeeze-and-Excitation after a convolution.

    Example:
        >>> import torch
        >>> SplitAttention(8, 16, 3, padding=1)(torch.randn(2, 8, 12, 12)).shape
        torch.Size([2, 16, 12, 12])

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in :class:`torch.nn.Conv2d`; of
            the convolution, which has R times as many channels out and R times as many groups.
        radix: R, the number of splits.
        hidden_channels: width of the hidden layer; None is max(32, in_channels · R // 4), the paper's.
        norm: whether batch norms follow the convolution and the hidden layer.

    Shape:
        (B, in_channels, H, W) → (B, out_channels, H', W'). Checkpoints of timm's SplitAttn load as they are.

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    their_names = SPLIT

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        radix: int = 2,
        hidden_channels: int | None = None,
        norm: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, out_channels=out_channels, groups=groups, radix=radix)
        hidden = max(32, in_channels * radix // 4) if hidden_channels is None else hidden_channels
        factory: Factory = {"device": device, "dtype": dtype}
        self.in_channels, self.radix, out = in_channels, radix, out_channels * radix
        self.conv = nn.Conv2d(in_channels, out, kernel_size, stride, padding, dilation, groups * radix, bias, **factory)
        self.norm = nn.BatchNorm2d(out, **factory) if norm else nn.Identity()
        self.attention = BranchAttention(out_channels, radix, hidden, groups, True, norm, **factory)

    def forward(self, x: Tensor) -> Tensor:
        check_images(self, x, self.in_channels, "H, W")
        maps: Tensor = torch.relu(self.norm(self.conv(x))).unflatten(1, (self.radix, -1))  # (B, R, O, H', W')
        return _weighed(maps, self.attention(maps))


def _weighed(maps: Tensor, weights: Tensor) -> Tensor:
    """(B, K, C, H, W) and (B, K, C) → (B, C, H, W)."""
    return torch.einsum("bkchw,bkc->bchw", maps, weights.to(maps.dtype))

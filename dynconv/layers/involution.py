"""Involution: a kernel for each position, computed from the pixel that lies there.

Reference: Li et al., *Involution: Inverting the Inherence of Convolution for Visual Recognition*,
https://arxiv.org/abs/2103.06255
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from ..functional.checks import check_counts
from .inputs import check_images
from .layer import Factory, Layer
from .weighting import Weighting

__all__ = ["Involution2d"]


class Involution2d(Layer):
    r"""Each position is convolved with a kernel of its own, which groups of channels share.

    Reference: Li et al., eq. 4–6, https://arxiv.org/abs/2103.06255; where the kernel is computed from the time step and goes
    through a softmax, it is the dynamic convolution of Wu et al., https://arxiv.org/abs/1901.10430

    .. math:: y_{cp} = \sum_q H_{g(c)\,p\,q}\, x_{c,\,p+q}, \qquad H_p = V_2\,\mathrm{relu}(\mathrm{BN}(V_1 x_p))

    Opposite to a convolution: the same for all channels of a group, different at every position.

    Example:
        >>> import torch
        >>> Involution2d(16, 7, groups=4)(torch.randn(2, 16, 10, 10)).shape
        torch.Size([2, 16, 10, 10])

    Args:
        channels: C, in and out.
        kernel_size: odd; the padding is half of it.
        stride: of the output; the kernels are computed from means over stride × stride pixels, as in the paper's code.
        groups: of channels that share a kernel; divides C.
        reduction: the hidden width is max(1, channels // reduction).

    Shape:
        (B, C, H, W) → (B, C, ⌈H/stride⌉, ⌈W/stride⌉).

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 7,
        stride: int = 1,
        groups: int = 1,
        reduction: int = 4,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(channels=channels, kernel_size=kernel_size, stride=stride, groups=groups, reduction=reduction)
        if not kernel_size % 2:
            raise ValueError(f"kernel_size must be odd, so that it has a centre, got {kernel_size}")
        if channels % groups:
            raise ValueError(f"channels must be divisible by groups={groups}, got {channels}")
        factory: Factory = {"device": device, "dtype": dtype}
        self.channels, self.kernel_size, self.stride, self.groups = channels, kernel_size, stride, groups
        hidden = max(1, channels // reduction)
        self.squeeze = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False, **factory), nn.BatchNorm2d(hidden, **factory), nn.ReLU()
        )
        self.span = nn.Conv2d(hidden, kernel_size**2 * groups, 1, **factory)
        self.kernels = Weighting("positions")

    def forward(self, x: Tensor) -> Tensor:
        check_images(self, x, self.channels, "H, W")
        weights = self.kernels(self.span(self.reduce(self.squeeze(x))))  # (B, g·k², H', W')
        patches: Tensor = F.unfold(
            x, self.kernel_size, padding=self.kernel_size // 2, stride=self.stride
        )  # (B, C·k², H'·W')
        patches = patches.unflatten(1, (self.groups, -1, self.kernel_size**2))  # (B, g, C/g, k², H'·W')
        own = weights.flatten(2).unflatten(1, (self.groups, -1)).to(patches.dtype)  # (B, g, k², H'·W')
        y: Tensor = torch.einsum("bgckp,bgkp->bgcp", patches, own).flatten(1, 2)  # (B, C, H'·W')
        return y.reshape(*y.shape[:2], *weights.shape[2:])

    def extra_repr(self) -> str:
        return f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}, groups={self.groups}"

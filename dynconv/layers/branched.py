"""Parallel convolutions with a batch norm each, which fold into one: ACNet, RepVGG, the Diverse Branch Block.

Reference: Ding et al., *ACNet*, https://arxiv.org/abs/1908.03930, *RepVGG*, https://arxiv.org/abs/2101.03697, and
*Diverse Branch Block*, https://arxiv.org/abs/2103.13425
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.types import Device

from ..functional.checks import check_counts, sizes
from .inputs import check_images
from .layer import Factory, Layer
from .same import holding

__all__ = ["BranchedConv2d"]

Branch = str | int | tuple[int, int]
Affine = tuple[Tensor, Tensor]  # a kernel (O, C/groups, kh, kw) and a bias (O,)


class BranchedConv2d(Layer):
    r"""Parallel convolutions with a batch norm each, added while it trains; one plain convolution afterwards.

    Reference: ACNet, https://arxiv.org/abs/1908.03930 (3×3, 1×3 and 3×1); RepVGG, https://arxiv.org/abs/2101.03697
    (3×3, 1×1, identity); Diverse Branch Block, https://arxiv.org/abs/2103.13425 (K×K, 1×1, 1×1–K×K, average)

    .. math:: y = \sum_k \gamma_k \frac{W_k * x - \mu_k}{\sigma_k} + \beta_k

    No softmax and no attention: each branch is weighed by its norm's scale. In eval mode all of it is affine, so
    :meth:`fold` is exact; in training the norms' statistics depend on the batch, and nothing folds.

    Example:
        >>> import torch
        >>> acnet = BranchedConv2d(4, 8, branches=(3, (1, 3), (3, 1))).eval()
        >>> x = torch.randn(2, 4, 9, 9)
        >>> bool(torch.allclose(acnet(x), acnet.fold()(x), atol=1e-6))
        True

    Args:
        in_channels, out_channels, stride, groups: as in :class:`torch.nn.Conv2d`; the padding is half the kernel.
        kernel_size: of the convolution that it folds into, odd.
        branches: for each its kernel size (odd, at most ``kernel_size``), or "identity" (as many channels out as in,
            stride 1), "average" (1×1, then the mean over the kernel), "sequence" (1×1, then the kernel).

    Shape:
        (B, in_channels, H, W) → (B, out_channels, H', W').

    Raises:
        ValueError: an argument or the input's shape does not fit, or it is folded in training; TypeError, RuntimeError: the
            input's dtype or device does not.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        branches: Sequence[Branch] = (3, (1, 3), (3, 1)),
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, out_channels=out_channels, groups=groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = _odd(kernel_size, "kernel_size")
        self.stride = sizes(stride, 2, "stride", 1)
        if isinstance(branches, (str, int)) or not branches:
            raise ValueError(f"branches must be a sequence of at least one, got {branches!r}")
        factory: Factory = {"device": device, "dtype": dtype}
        self.branches = nn.ModuleList([self._branch(kind, factory) for kind in branches])

    def _branch(self, kind: Branch, factory: Factory) -> nn.Sequential:
        norm = nn.BatchNorm2d(self.out_channels, **factory)
        if kind == "identity":
            if self.in_channels != self.out_channels or self.stride != (1, 1):
                got = f"{self.in_channels} and {self.out_channels} channels, stride {self.stride}"
                raise ValueError(f"an identity needs as many channels out as in, and stride 1; got {got}")
            return nn.Sequential(norm)
        if kind == "average":
            first = self._conv(self.out_channels, (1, 1), (1, 1), False, factory)
            padded = _PaddedNorm(self.out_channels, self.kernel_size, factory)
            return nn.Sequential(first, padded, nn.AvgPool2d(self.kernel_size, (self.stride[0], self.stride[1])), norm)
        if kind == "sequence":
            first = self._conv(self.in_channels, (1, 1), (1, 1), False, factory)
            padded = _PaddedNorm(self.in_channels, self.kernel_size, factory)
            second = self._conv(self.out_channels, self.kernel_size, self.stride, False, factory)
            return nn.Sequential(first, padded, second, norm)
        if isinstance(kind, str):
            raise ValueError(f"a branch is a kernel size, 'identity', 'average' or 'sequence', got {kind!r}")
        size = _odd(kind, "a branch")
        if any(own > whole for own, whole in zip(size, self.kernel_size, strict=True)):
            raise ValueError(f"no branch may be larger than the kernel, {self.kernel_size}, got {kind!r}")
        return nn.Sequential(self._conv(self.out_channels, size, self.stride, True, factory), norm)

    def _conv(
        self, out: int, size: tuple[int, ...], stride: tuple[int, ...], padded: bool, factory: Factory
    ) -> nn.Conv2d:
        padding = (size[0] // 2, size[1] // 2) if padded else (0, 0)
        kernel, step = (size[0], size[1]), (stride[0], stride[1])
        return nn.Conv2d(self.in_channels, out, kernel, step, padding, groups=self.groups, bias=False, **factory)

    def forward(self, x: Tensor) -> Tensor:
        check_images(self, x, self.in_channels, "H, W")
        return torch.stack([branch(x) for branch in self.branches]).sum(0)  # (B, O, H', W')

    def fold(self) -> nn.Conv2d:
        """One plain nn.Conv2d that computes the same function in eval mode."""
        if self.training:
            raise ValueError("BranchedConv2d folds in eval mode only: in training its norms depend on the batch")
        with torch.no_grad():
            kernels, biases = zip(*(self._folded(list(branch.children())) for branch in self.branches), strict=True)
        kernel, bias = torch.stack(kernels).sum(0), torch.stack(biases).sum(0)
        padding = tuple(size // 2 for size in self.kernel_size)
        return holding(nn.Conv2d, kernel, bias, self.groups, stride=self.stride, padding=padding).eval()

    def _folded(self, modules: list[nn.Module]) -> Affine:
        """Kernel, of the full size, and bias of one branch: one map after the other, beginning with none at all."""
        weight, bias = self._identity(modules[-1])
        for module in modules:
            if isinstance(module, nn.Conv2d):
                weight, bias = self._then(weight, bias, module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                weight, bias = _normed(weight, bias, module)
            else:  # the mean over the kernel: the map before it has one tap
                weight = weight.expand(*weight.shape[:2], *self.kernel_size) / math.prod(self.kernel_size)
        around = [(whole - own) // 2 for whole, own in zip(self.kernel_size, weight.shape[2:], strict=True)]
        return F.pad(weight, (around[1], around[1], around[0], around[0])), bias

    def _identity(self, like: nn.Module) -> Affine:
        own = self.in_channels // self.groups
        eye = torch.eye(own).repeat(self.groups, 1)[..., None, None].to(next(like.parameters()))  # (C, C/groups, 1, 1)
        return eye, eye.new_zeros(self.in_channels)

    def _then(self, weight: Tensor, bias: Tensor, after: Tensor) -> Affine:
        """The map of one tap ``weight``, then the convolution ``after``, group by group."""
        inner = weight[..., 0, 0].unflatten(0, (self.groups, -1))  # (g, M/g, C/g)
        outer = after.unflatten(0, (self.groups, -1))  # (g, O/g, M/g, kh, kw)
        kernel = torch.einsum("gomij,gmc->gocij", outer, inner).flatten(0, 1)
        return kernel, torch.einsum("gomij,gm->go", outer, bias.unflatten(0, (self.groups, -1))).flatten()


class _PaddedNorm(nn.BatchNorm2d):
    """A batch norm, then a border of what it makes of zero: so that the next kernel sees no step at the border."""

    def __init__(self, channels: int, kernel_size: tuple[int, ...], factory: Factory) -> None:
        super().__init__(channels, **factory)
        self.around = (kernel_size[1] // 2,) * 2 + (kernel_size[0] // 2,) * 2

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)  # first, for it moves the statistics
        assert self.running_mean is not None
        assert self.running_var is not None
        zero = self.bias - self.running_mean * self.weight * torch.rsqrt(self.running_var + self.eps)  # (C,)
        border = zero.to(y)[:, None, None]
        return F.pad(y - border, self.around) + border  # (B, C, H + 2·⌊kh/2⌋, W + 2·⌊kw/2⌋)


def _normed(weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d) -> Affine:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return fuse_conv_bn_weights(weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)


def _odd(size: Branch, name: str) -> tuple[int, int]:
    if isinstance(size, str):
        raise ValueError(f"{name} must be odd integers, got {size!r}")
    height, width = sizes(size, 2, name, 1)
    if not height % 2 or not width % 2:
        raise ValueError(f"{name} must be odd, so that it has a centre, got {size!r}")
    return height, width

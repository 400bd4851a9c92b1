"""Dynamic convolution: every image is convolved with its own mix of K kernels.

Reference: Chen et al., *Dynamic Convolution: Attention over Convolution Kernels*, https://arxiv.org/abs/1912.03458
"""

from __future__ import annotations

from torch import Tensor, nn

from ..functional import dynamic_conv
from ..functional.convolution import attended_conv
from ..native import unwatched
from .attention import KernelAttention, bare_attention
from .kernel_stack import KernelStack

__all__ = ["DynamicConv1d", "DynamicConv2d", "DynamicConv3d"]


class _DynamicConv(KernelStack):
    attention: nn.Module

    def _weigh(
        self, *, reduction: int = 4, temperature: float = 30.0, attention: nn.Module | None = None, method: str = "auto"
    ) -> None:
        self.method = self._check_method(method)
        if attention is None:
            attention = KernelAttention(
                self.in_channels, self.num_kernels, reduction, temperature=temperature, **self._factory()
            )
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        if unwatched() and (scores := bare_attention(self._modules.get("attention"))) is not None:  # one step
            y = attended_conv((x, self.weight, self.bias, *scores), **self.geometry(), method=self.method)
            if y is not None:
                return y
        x, unbatched = self._as_batch(x)
        y = dynamic_conv(x, self.weight, self.attention(x), self.bias, **self.geometry(), method=self.method)
        return y.squeeze(0) if unbatched else y


class DynamicConv1d(_DynamicConv):
    """:class:`DynamicConv2d` over sequences (B, C, W).

    Example:
        >>> import torch
        >>> DynamicConv1d(8, 16, 5, padding=2)(torch.randn(2, 8, 20)).shape
        torch.Size([2, 16, 20])
    """

    spatial_dims = 1


class DynamicConv2d(_DynamicConv):
    r"""A convolution whose kernel is mixed from K kernels, for each image anew.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458

    .. math:: y_b = \Big(\sum_k \pi_k(x_b) W_k\Big) * x_b + \sum_k \pi_k(x_b)\, b_k

    where π(x) is the layer's ``attention``. Takes nn.Conv2d's place: its arguments come first, in its order.

    Example:
        >>> import torch
        >>> layer = DynamicConv2d(16, 32, 3, stride=2, padding=1, num_kernels=4, temperature=30.0)
        >>> layer(torch.randn(2, 16, 9, 9)).shape
        torch.Size([2, 32, 5, 5])

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in :class:`torch.nn.Conv2d`.
        num_kernels: K, at least 1; K = 1 is torch.nn.Conv2d.
        reduction, temperature: passed to the default attention, :class:`KernelAttention`.
        attention: any module from the layer's input (B, C, H, W) to weights (B, K), in place of the default one.
        method: how it is computed, see :func:`dynconv.functional.dynamic_conv`.

    Shape:
        (B, in_channels, H, W) → (B, out_channels, H', W'), or without B. Parameters: ``weight`` (K, O, C/groups, kh, kw),
        ``bias`` (K, O), and the attention's.

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    spatial_dims = 2


class DynamicConv3d(_DynamicConv):
    """:class:`DynamicConv2d` over volumes (B, C, D, H, W).

    Example:
        >>> import torch
        >>> DynamicConv3d(4, 6, 3, padding=1)(torch.randn(1, 4, 5, 6, 7)).shape
        torch.Size([1, 6, 5, 6, 7])
    """

    spatial_dims = 3

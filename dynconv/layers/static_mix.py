"""Softmax-weighted sum of K convolutions of the same input: the question's layer.

Reference: the question that began this project, https://ai.stackexchange.com/questions/34748
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..functional import conv, mix_kernels
from .attention import LearnedAttention
from .kernel_stack import KernelStack

__all__ = ["StaticMixConv1d", "StaticMixConv2d", "StaticMixConv3d"]


class _StaticMixConv(KernelStack):
    attention: LearnedAttention

    def _weigh(self, *, temperature: float = 1.0) -> None:
        self.attention = LearnedAttention(self.num_kernels, temperature, **self._factory())

    def _mixed(self) -> tuple[Tensor, Tensor | None]:
        attention = self.attention()  # (K,)
        return mix_kernels(self.weight, attention), None if self.bias is None else mix_kernels(self.bias, attention)

    def forward(self, x: Tensor) -> Tensor:
        x, unbatched = self._as_batch(x)
        # by linearity one convolution with the mixed kernel is the sum of K convolutions, at a K-th of the work
        y = conv(x, *self._mixed(), **self.geometry())
        return y.squeeze(0) if unbatched else y

    def fold(self) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
        """One plain nn.ConvNd that computes the same function: sum_k pi_k W_k and sum_k pi_k b_k."""
        with torch.no_grad():
            return self._plain_conv(*self._mixed())


class StaticMixConv1d(_StaticMixConv):
    """:class:`StaticMixConv2d` over sequences (B, C, W).

    Example:
        >>> import torch
        >>> StaticMixConv1d(6, 8, 5, padding=2, num_kernels=3)(torch.randn(2, 6, 20)).shape
        torch.Size([2, 8, 20])
    """

    spatial_dims = 1


class StaticMixConv2d(_StaticMixConv):
    r"""K convolutions of the same input, added with softmax weights that are parameters.

    Reference: https://ai.stackexchange.com/questions/34748

    .. math:: y = \sum_k \pi_k (W_k * x + b_k), \qquad \pi = \mathrm{softmax}(z / T)

    The K logits z are learned and the same for every image, so the whole layer is **static**: it equals the single
    convolution that :meth:`fold` returns. Temperature T only rescales the logits.

    Example:
        >>> import torch
        >>> mix = StaticMixConv2d(3, 8, 3, padding=1, num_kernels=4)
        >>> x = torch.randn(2, 3, 16, 16)
        >>> bool(torch.allclose(mix(x), mix.fold()(x), atol=1e-6))
        True

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in :class:`torch.nn.Conv2d`.
        num_kernels: K, how many convolutions are mixed, at least 1; K = 1 is torch.nn.Conv2d.
        temperature: T above 0, kept as a buffer so that a saved model keeps it.

    Shape:
        (B, in_channels, H, W) → (B, out_channels, H', W'), or without B. Parameters: ``weight`` (K, O, C/groups, kh, kw),
        ``bias`` (K, O), and the K logits of ``attention``, which start at 0: an even mix.

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    spatial_dims = 2


class StaticMixConv3d(_StaticMixConv):
    """:class:`StaticMixConv2d` over volumes (B, C, D, H, W).

    Example:
        >>> import torch
        >>> StaticMixConv3d(2, 4, 3, padding=1)(torch.randn(1, 2, 5, 6, 7)).shape
        torch.Size([1, 4, 5, 6, 7])
    """

    spatial_dims = 3

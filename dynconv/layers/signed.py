"""Weights of any sign, which begin one-hot: the attention of KernelWarehouse.

Reference: Li and Yao, *KernelWarehouse: Rethinking the Design of Dynamic Convolution*, https://arxiv.org/abs/2406.07879
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.types import Device

from ..functional.checks import check_counts
from .attention import Scores

__all__ = ["SignedAttention"]


class SignedAttention(Scores):
    r"""How much each of K kernels counts, computed from each image, negative weights included.

    Reference: Li and Yao, eq. 3, https://arxiv.org/abs/2406.07879

    .. math:: \alpha_k = \tau\,[k = j] + (1 - \tau)\,\frac{z_k}{\sum_i |z_i|}

    z comes from the image as in :class:`KernelAttention`. The blend τ, which its authors call a temperature, works the other
    way round: training begins at τ = 1, where every image gets kernel j alone, and ends at 0. Nothing sums to one, so no
    batch norm behind it folds into the K kernels.

    Example:
        >>> import torch
        >>> alpha = SignedAttention(16, num_kernels=3, blend=0.0)(torch.randn(2, 16, 8, 8))
        >>> bool(torch.allclose(alpha.abs().sum(1), torch.ones(2)))
        True

    Args:
        in_channels: C of the images it looks at.
        num_kernels: K, at least 1.
        reduction: the hidden width is max(1, in_channels // reduction).
        blend: τ from 0 to 1, a buffer: ``attention.blend.fill_(…)`` moves it.
        first: j, the kernel that τ = 1 leaves alone.

    Shape:
        (B, C, *spatial), or the means (B, C) themselves → (B, K).

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    blend: Tensor

    def __init__(
        self,
        in_channels: int,
        num_kernels: int = 4,
        reduction: int = 4,
        blend: float = 1.0,
        first: int = 0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, num_kernels=num_kernels, reduction=reduction)
        if not 0 <= blend <= 1:
            raise ValueError(f"blend must be from 0 to 1, got {blend!r}")
        if first not in range(num_kernels):
            raise ValueError(f"first must be one of the {num_kernels} kernels, got {first!r}")
        self._score(in_channels, num_kernels, max(1, in_channels // reduction), {"device": device, "dtype": dtype})
        self.first, self.initial_blend = first, float(blend)
        self.register_buffer("blend", torch.tensor(self.initial_blend, device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """The blend of the beginning; the two layers have methods of their own."""
        with torch.no_grad():
            self.blend.fill_(self.initial_blend)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        shares = logits / logits.abs().sum(1, keepdim=True).clamp_min(torch.finfo(logits.dtype).tiny)
        alone = torch.arange(self.num_kernels, device=x.device) == self.first  # (K,)
        blend = self.blend.clone()  # autograd keeps it: the buffer may move before backward
        return blend * alone.to(shares.dtype) + (1 - blend) * shares

    def extra_repr(self) -> str:
        return f"num_kernels={self.num_kernels}, first={self.first}"

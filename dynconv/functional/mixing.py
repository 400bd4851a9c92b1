"""Weighted sums over K: of outputs, or of kernels. By linearity a convolution cannot tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..native.definition import mix
from .checks import check_together

__all__ = ["mix_kernels", "mix_outputs"]


def mix_outputs(outputs: Tensor | Sequence[Tensor], weights: Tensor) -> Tensor:
    r"""Weighted sum of K convolution outputs.

    Reference: the question that began this project, https://ai.stackexchange.com/questions/34748

    .. math:: y_b = \sum_k \pi_{bk}\, y_{bk}

    Example:
        >>> import torch
        >>> outputs = torch.stack([torch.zeros(2, 5, 8, 8), torch.ones(2, 5, 8, 8)], dim=1)  # (B, K, O, H, W)
        >>> mix_outputs(outputs, torch.tensor([0.25, 0.75])).unique()
        tensor([0.7500])

    Args:
        outputs: (B, K, O, *S), or a sequence of K tensors (B, O, *S).
        weights: (K,) the same for every image, or (B, K).

    Raises:
        ValueError: the shapes do not fit; RuntimeError: the tensors are on two devices; TypeError: they have two dtypes.
    """
    if not isinstance(outputs, Tensor):
        outputs, shapes = tuple(outputs), sorted({tuple(y.shape) for y in outputs})
        if len(shapes) != 1:
            raise ValueError(f"outputs must be at least one tensor, all of one shape, got shapes {shapes}")
        outputs = torch.stack(outputs, dim=1)  # (B, K, O, *S)
    if outputs.ndim < 3:
        raise ValueError(f"outputs must be (B, K, O, *spatial), got shape {tuple(outputs.shape)}")
    batch, num_kernels = outputs.shape[:2]
    if weights.shape not in ((num_kernels,), (batch, num_kernels)):
        raise ValueError(
            f"weights must be (K,) = ({num_kernels},) or (B, K) = ({batch}, {num_kernels}), got {tuple(weights.shape)}"
        )
    check_together(outputs=outputs, weights=weights)
    if weights.ndim == 1:
        return torch.einsum("bk...,k->b...", outputs, weights)
    return torch.einsum("bk...,bk->b...", outputs, weights)


def mix_kernels(weight: Tensor, attention: Tensor) -> Tensor:
    r"""Weighted sum of K kernels (or of K biases: any tensor whose first dimension is K).

    Reference: Chen et al., eq. 2, https://arxiv.org/abs/1912.03458

    .. math:: \tilde W_b = \sum_k \pi_{bk} W_k

    By linearity, convolving with the mixed kernel equals mixing the K convolutions' outputs.

    Example:
        >>> import torch
        >>> weight = torch.stack([torch.zeros(5, 3, 3, 3), torch.ones(5, 3, 3, 3)])  # (K, O, C, 3, 3)
        >>> mix_kernels(weight, torch.tensor([[0.25, 0.75], [1.0, 0.0]])).shape  # one kernel an image
        torch.Size([2, 5, 3, 3, 3])

    Args:
        weight: (K, ...).
        attention: (K,) for one mix, or (B, K) for one an image; any sign and sum.

    Returns:
        (...) or (B, ...).

    Raises:
        ValueError: attention's last dimension is not K, or it has more than two.
        RuntimeError: the tensors are on two devices; TypeError: they have two dtypes (outside of autocast).
    """
    if attention.ndim not in (1, 2) or attention.shape[-1] != weight.shape[0]:
        raise ValueError(
            f"attention must be (K,) or (B, K) with K = {weight.shape[0]} kernels, got {tuple(attention.shape)}"
        )
    check_together(weight=weight, attention=attention)
    return mix(weight, attention)

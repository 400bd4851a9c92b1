"""Batch norm over the batch of all processes together, on any device."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ...surgery.replace import replace_modules

__all__ = ["BatchNormAcross", "synchronise_batch_norm"]


class _Sum(torch.autograd.Function):
    """Sum over processes; so is its gradient."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class BatchNormAcross(nn.modules.batchnorm._NormBase):
    """A BatchNorm whose mean and variance are those of all processes' images; torch's SyncBatchNorm refuses CPUs.

    Reference: Ioffe and Szegedy, https://arxiv.org/abs/1502.03167

    .. math:: y = \\gamma \\frac{x - \\mu}{\\sqrt{\\sigma^2 + \\epsilon}} + \\beta

    with mean and variance over every image of every process and every position.

    Example:
        >>> import torch
        >>> norm = BatchNormAcross(3).eval()
        >>> norm(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3, 4, 4])

    Args:
        num_features, eps, momentum, affine, track_running_stats, device, dtype: as in torch's BatchNorm.

    Shape:
        (B, C, …) → the same. Training needs an initialised process group.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        dims, shape = [d for d in range(x.ndim) if d != 1], [1, -1, *[1] * (x.ndim - 2)]
        count = _Sum.apply(x.new_tensor([x.numel() / x.shape[1]], dtype=torch.float32))
        mean = _Sum.apply(x.float().sum(dims)) / count  # (C,)
        centred = x.float() - mean.reshape(shape)
        variance = _Sum.apply((centred**2).sum(dims)) / count  # (C,)
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.to(self.running_mean), share)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), share)
        y = centred * torch.rsqrt(variance + self.eps).reshape(shape)
        return (y * self.weight.reshape(shape) + self.bias.reshape(shape)).to(x.dtype)


def synchronise_batch_norm(model: nn.Module) -> nn.Module:
    """Replace every batch norm of a model, in place, by one over all processes; parameters and buffers are the same objects.

    Reference: torch.nn.SyncBatchNorm, https://docs.pytorch.org/docs/stable/generated/torch.nn.SyncBatchNorm.html

    Example:
        >>> from torch import nn
        >>> type(synchronise_batch_norm(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))[1]).__name__
        'BatchNormAcross'

    Args:
        model: any module whose batch norms are affine and keep running statistics.
    """
    kinds = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
    new: dict[nn.Module, nn.Module] = {}
    for norm in (m for m in model.modules() if isinstance(m, kinds)):
        new[norm] = BatchNormAcross(norm.num_features, norm.eps, norm.momentum).train(norm.training)
        new[norm]._parameters, new[norm]._buffers = norm._parameters, norm._buffers
    return replace_modules(model, new)

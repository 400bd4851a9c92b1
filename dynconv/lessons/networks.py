"""Two small networks of the lessons: one whose maps are scored (07), one with gates (09)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import CAMHead, SparseBlock

__all__ = ["GatedNet", "cam_network"]


def cam_network() -> nn.Sequential:
    """Three convolutions and a CAM head: 40 × 40 images, maps of 10 × 10."""
    layers: list[nn.Module] = []
    for channels, out, stride in ((1, 16, 1), (16, 32, 2), (32, 32, 2)):
        layers += [nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(nn.Sequential(*layers), CAMHead(32, 10))


class GatedNet(nn.Module):
    """A small classifier with two sparse blocks; gives logits, and what each block used of its multiply-adds.

    Reference: Verelst and Tuytelaars, https://arxiv.org/abs/1912.03203

    Example:
        >>> import torch
        >>> logits, used, total = GatedNet()(torch.rand(2, 1, 40, 40))
        >>> logits.shape, used.shape, len(total)
        (torch.Size([2, 10]), torch.Size([2]), 2)

    Args:
        channels: of the blocks.
        classes: of the images.

    Shape:
        (B, 1, H, W) → logits (B, classes), used (blocks,), total: a number a block.
    """

    def __init__(self, channels: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.blocks = nn.ModuleList([SparseBlock(channels), SparseBlock(channels)])
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        x, costs = self.stem(x), []  # (B, C, H/2, W/2)
        for block in self.blocks:
            x, cost = block(x, return_cost=True)
            costs.append(cost)
        return self.head(x.amax((2, 3))), torch.stack([c.used for c in costs]), [c.total for c in costs]

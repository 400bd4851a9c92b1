"""A small U-Net: pixels in, a class for each pixel out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["UNet"]


class UNet(nn.Module):
    """Halved and widened level by level, then back up beside what each level saw.

    Reference: Ronneberger et al., https://arxiv.org/abs/1505.04597

    Example:
        >>> UNet()(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 2, 32, 32])

    Args:
        widths: channels of each level; classes: of the pixels.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128), classes: int = 2) -> None:
        super().__init__()
        self.down = nn.ModuleList(_block(*pair) for pair in zip((3, *widths), widths, strict=False))
        upwards = zip(widths[:0:-1], widths[-2::-1], strict=True)  # from the lowest level up
        self.up = nn.ModuleList(_block(low + high, high) for low, high in upwards)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)  # (B, widths[level], H / 2^level, …)
            seen.append(x)
        for block, beside in zip(self.up, seen[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, size=beside.shape[2:]), beside], dim=1))
        return self.head(x)  # (B, classes, H, W)


def _block(channels: int, out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for given in (channels, out):
        layers += [nn.Conv2d(given, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)

"""The pointing game: does a map's largest value lie where the object is?"""

from __future__ import annotations

from torch import Tensor

__all__ = ["hit_rate"]


def hit_rate(maps: Tensor, boxes: Tensor, size: int) -> float:
    """The pointing game: share of maps whose maximum lies in the box.

    Reference: Zhang et al., section 4.1, https://arxiv.org/abs/1608.00507

    Example:
        >>> import torch
        >>> maps = torch.zeros(1, 4, 4)
        >>> maps[0, 1, 2] = 1
        >>> hit_rate(maps, torch.tensor([[8, 16, 24, 32]]), size=32)
        1.0

    Args:
        maps: (N, h, w).
        boxes: (N, 4) in pixels of the image: top, left, bottom, right.
        size: the image's height and width.
    """
    height, width = maps.shape[1:]
    place = maps.flatten(1).argmax(1)
    row, column = (place // width + 0.5) * size / height, (place % width + 0.5) * size / width  # centre, in pixels
    top, left, bottom, right = boxes.T
    return ((row >= top) & (row < bottom) & (column >= left) & (column < right)).float().mean().item()

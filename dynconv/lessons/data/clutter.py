"""Digits in clutter: where the digit is, is known, so that a map can be scored on whether it finds it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .shipped import digits

__all__ = ["Clutter", "digits_in_clutter", "digits_split"]

TRAINING_DIGITS = 1297  # of 1797; the last 500 are for testing


class Clutter(NamedTuple):
    """``images`` (N, 1, S, S) in 0 … 1, ``labels`` (N,) and ``boxes`` (N, 4): top, left, bottom, right of the digit."""

    images: Tensor
    labels: Tensor
    boxes: Tensor


def digits_split(split: str = "train") -> tuple[Tensor, Tensor]:
    """The UCI digits, the first 1297 of them to train or the last 500 to test: images (N, 1, 8, 8) and labels.

    Reference: E. Alpaydin and C. Kaynak, https://doi.org/10.24432/C50P49

    Example:
        >>> digits_split("test")[0].shape
        torch.Size([500, 1, 8, 8])

    Args:
        split: "train" or "test".

    Raises:
        ValueError: unknown split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    images, labels = digits()
    part = slice(TRAINING_DIGITS) if split == "train" else slice(TRAINING_DIGITS, None)
    return images[part], labels[part]


def digits_in_clutter(
    split: str = "train", count: int = 1000, size: int = 40, pieces: int = 8, seed: int = 0
) -> Clutter:
    """One whole digit, 16 × 16, at a random place among pieces of other digits.

    Reference: this project's own, after the cluttered MNIST of Mnih et al., https://arxiv.org/abs/1406.6247

    Example:
        >>> data = digits_in_clutter("test", count=3)
        >>> data.images.shape, (data.boxes[:, 2:] - data.boxes[:, :2]).unique().tolist()
        (torch.Size([3, 1, 40, 40]), [16])

    Args:
        split: "train" or "test"; no digit is in both, nor a piece of it.
        count: N.
        size: S, height and width in pixels, at least 16.
        pieces: of 6 × 6 pixels, cut from digits drawn at random; where they would touch the digit they are left out.
        seed: of all that is random.

    Raises:
        ValueError: unknown split, or a number out of range.
    """
    for name, value, least in (("count", count, 1), ("size", size, 16), ("pieces", pieces, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    images, labels = digits_split(split)
    large = F.interpolate(images, scale_factor=2, mode="bilinear")  # (n, 1, 16, 16)
    generator = torch.Generator().manual_seed(2 * seed + (split == "test"))

    def draw(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    chosen, corners = draw(len(large), count), draw(size - 15, count, 2)
    others, cuts, places = draw(len(large), count, pieces), draw(11, count, pieces, 2), draw(size - 5, count, pieces, 2)
    canvas = torch.zeros(count, 1, size, size)
    for n, (top, left) in enumerate(corners.tolist()):
        for other, (y, x), (row, column) in zip(others[n], cuts[n].tolist(), places[n].tolist(), strict=True):
            if row + 6 <= top or row >= top + 16 or column + 6 <= left or column >= left + 16:
                place = canvas[n, :, row : row + 6, column : column + 6]
                place.copy_(torch.maximum(place, large[other, :, y : y + 6, x : x + 6]))
        canvas[n, :, top : top + 16, left : left + 16] = large[chosen[n]]
    return Clutter(canvas, labels[chosen], torch.cat([corners, corners + 16], dim=1))

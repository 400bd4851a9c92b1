"""Images that an instrument shows side by side."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__: list[str] = []

MOST_IMAGES = 8


def stacked(images: Mapping[str, Tensor]) -> Tensor:
    """The images, (3, H, W) or (1, H, W) in 0 … 1 and all of one size, as one batch (B, 3, H, W).

    Raises:
        ValueError: there is none, or more than 8; or shapes or values do not fit.
    """
    shapes = sorted({tuple(image.shape) for image in images.values()})
    if not 1 <= len(images) <= MOST_IMAGES or len({shape[1:] for shape in shapes}) != 1:
        raise ValueError(f"images must be 1 to {MOST_IMAGES} of one size, got {len(images)} of {shapes}")
    if any(len(shape) != 3 or shape[0] not in (1, 3) for shape in shapes):
        raise ValueError(f"images must be (3, H, W) or (1, H, W), got {shapes}")
    batch = torch.stack([image.detach().cpu().float().expand(3, -1, -1) for image in images.values()])
    if batch.min() < 0 or batch.max() > 1:
        raise ValueError(f"images must be in 0 … 1, got {batch.min():g} to {batch.max():g}")
    return batch

"""Images that an instrument shows side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .instrument import encode

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


def encoded_once(targets: Sequence[Tensor | None]) -> dict:
    """Targets as they travel, each different one once, and which of them is each image's; null where nobody knows it.

    One photo that is damaged in many ways is wanted once.
    """
    texts = [None if target is None else encode(target) for target in targets]
    different = list(dict.fromkeys(texts))
    return {"wanted": different, "goals": [different.index(text) for text in texts]}


def error_before(image: Tensor, target: Tensor | None) -> float | None:
    """The mean squared error of the image itself, where its middle can be laid over what is wanted."""
    if target is None or len(image) != 1:
        return None
    edges = [(side - wanted) // 2 for side, wanted in zip(image.shape[1:], target.shape, strict=True)]
    if min(edges) < 0 or [side - 2 * edge for side, edge in zip(image.shape[1:], edges, strict=True)] != list(
        target.shape
    ):
        return None
    height, width = target.shape
    middle = image[0, edges[0] : edges[0] + height, edges[1] : edges[1] + width]
    return F.mse_loss(middle, target).item()

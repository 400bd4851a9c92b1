"""Cue: a mark somewhere in the image decides which edges of the *whole* image count.

Which of two filters is right depends on the image and on nothing near the pixel: per-image kernels are needed by
construction, and with them the error can be zero.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .degradations import cut_patches, standardised
from .shipped import photo_names

__all__ = ["Cue", "cue", "edge_filters"]


class Cue(NamedTuple):
    """``images`` (N, 1, S, S), ``edges`` (N, 1, S − 4, S − 4) and ``kind`` (N,): 0 for a bright mark, 1 for a dark one."""

    images: Tensor
    edges: Tensor
    kind: Tensor


def edge_filters() -> Tensor:
    """Two 5 × 5 derivatives of a Gaussian, along x and along y, (2, 1, 5, 5).

    Reference: J. Canny, https://doi.org/10.1109/TPAMI.1986.4767851

    Example:
        >>> edge_filters()[0, 0].sum().abs().item() < 1e-6
        True
    """
    at = torch.arange(-2.0, 3.0)
    bell = torch.exp(-(at**2) / 2)
    along = torch.outer(bell, -at * bell)  # a derivative along x, smoothed along y
    along = along / along.abs().sum()
    return torch.stack([along, along.T])[:, None]


def cue(split: str = "train", per_photo: int = 40, size: int = 32, seed: int = 0) -> Cue:
    """Patches of the shipped photos with a bright or a dark mark; a bright one asks for edges along x, a dark one along y.

    Reference: this project's own task; the photos' sources are in data/README.md

    .. math:: y = 3\\, W_{kind} * x

    The mark is a 2 × 2 square of ±5 standard deviations at a random place; y has a variance of about 1. What one linear
    filter can do at best is the average of the two answers.

    Example:
        >>> train = cue("train", per_photo=2)
        >>> train.images.shape, train.edges.shape, train.kind.bincount().tolist()
        (torch.Size([28, 1, 32, 32]), torch.Size([28, 1, 28, 28]), [14, 14])

    Args:
        split: "train" (left 60 % of each photo) or "test" (right 35 %).
        per_photo: patches cut from each of the 7 photos for each kind of mark.
        size: S, height and width of a patch in pixels, at least 5.
        seed: of where patches are cut and marks are put.

    Raises:
        ValueError: unknown split, or a number too small.
    """
    if size < 5 or per_photo < 1:
        raise ValueError(f"size must be at least 5 and per_photo at least 1, got {size} and {per_photo}")
    generator = torch.Generator().manual_seed(2 * seed + (split == "test"))
    images, kinds = [], []
    for name in photo_names():
        for kind in (0, 1):
            patches = cut_patches(standardised(name), split, per_photo, size, generator)  # (N, 1, S, S)
            images.append(_marked(patches, (5.0, -5.0)[kind], generator))
            kinds.append(torch.full((per_photo,), kind))
    x, which = torch.cat(images), torch.cat(kinds)
    both = 3 * F.conv2d(x, edge_filters())  # (N, 2, S − 4, S − 4)
    return Cue(x, both[torch.arange(len(x)), which][:, None], which)


def _marked(patches: Tensor, value: float, generator: torch.Generator) -> Tensor:
    patches = patches.clone()
    corners = torch.randint(0, patches.shape[-1] - 1, (len(patches), 2), generator=generator)
    for patch, (top, left) in zip(patches, corners.tolist(), strict=True):
        patch[:, top : top + 2, left : left + 2] = value
    return patches

"""Restoration: undo one of four degradations without being told which.

One linear filter cannot undo them all, one filter *per degradation* can do much better, and least squares says exactly
how much: a task on which a dynamic convolution has something to gain, with a known ceiling.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .shipped import photo, photo_names

__all__ = ["DEGRADATIONS", "SHIFTS", "Restoration", "best_filter", "damaged_window", "restoration"]

# where something is to be seen in the right 35 % of a photo, which no training patch comes from: top and left, in pixels
WINDOWS = {"astronaut": (120, 344), "camera": (110, 376), "chelsea": (60, 296), "coffee": (140, 392)}


def _blur(x: Tensor, height: int, width: int) -> Tensor:
    padded = F.pad(x, (width // 2, width // 2, height // 2, height // 2), mode="reflect")
    return F.avg_pool2d(padded, (height, width), stride=1)


def _noise(x: Tensor, std: float, generator: torch.Generator) -> Tensor:
    return x + std * torch.randn(x.shape, generator=generator)


# name: image (1, 1, H, W) with standard deviation 1, generator → the degraded image
DEGRADATIONS = {
    "horizontal blur": lambda x, generator: _blur(x, 1, 7),
    "vertical blur": lambda x, generator: _blur(x, 7, 1),
    "strong noise": lambda x, generator: _noise(x, 0.8, generator),
    "box blur, weak noise": lambda x, generator: _noise(_blur(x, 3, 3), 0.1, generator),
}


def _moved(x: Tensor, down: int, right: int) -> Tensor:
    reach = max(abs(down), abs(right))
    padded = F.pad(x, [reach] * 4, mode="reflect")
    return padded[..., reach - down : padded.shape[-2] - reach - down, reach - right : padded.shape[-1] - reach - right]


# the same for a task in which nothing shows what was done: one filter a shift undoes it, and no attention can tell which
SHIFTS = {
    "moved left": lambda x, generator: _moved(x, 0, -2),
    "moved right": lambda x, generator: _moved(x, 0, 2),
    "moved up": lambda x, generator: _moved(x, -2, 0),
    "moved down": lambda x, generator: _moved(x, 2, 0),
}


class Restoration(NamedTuple):
    """Patches of photos: ``degraded`` and ``clean`` (N, 1, S, S), ``kind`` (N,) in DEGRADATIONS, ``photo`` (N,) in photo_names()."""

    degraded: Tensor
    clean: Tensor
    kind: Tensor
    photo: Tensor


def restoration(split: str = "train", per_photo: int = 40, size: int = 32, seed: int = 0) -> Restoration:
    """Patches of the shipped photos and textures, each degraded in one of four ways.

    Reference: this project's own task; the photos' sources are in data/README.md

    Every grey photo is standardised (mean 0, standard deviation 1) and degraded whole; patches are then cut from the
    left 60 % of it for training and from the right 35 % for testing, so that no pixel is in both.

    Example:
        >>> train = restoration("train", per_photo=2)
        >>> train.degraded.shape, train.kind.bincount().tolist()
        (torch.Size([56, 1, 32, 32]), [14, 14, 14, 14])

    Args:
        split: "train" or "test".
        per_photo: patches cut from each of the 7 photos for each of the 4 degradations.
        size: height and width of a patch in pixels.
        seed: of the noise and of where patches are cut.

    Raises:
        ValueError: unknown split, or a number below 1.
    """
    if per_photo < 1 or size < 1:
        raise ValueError(f"per_photo and size must be at least 1, got {per_photo} and {size}")
    generator = torch.Generator().manual_seed(2 * seed + (split == "test"))
    degraded, clean, kinds, photos = [], [], [], []
    for number, name in enumerate(photo_names()):
        image = standardised(name)  # (1, 1, H, W)
        for kind, degrade in enumerate(DEGRADATIONS.values()):
            both = torch.cat([degrade(image, generator), image], dim=1)  # (1, 2, H, W)
            patches = cut_patches(both, split, per_photo, size, generator)  # (N, 2, S, S)
            degraded.append(patches[:, :1])
            clean.append(patches[:, 1:])
            kinds.append(torch.full((per_photo,), kind))
            photos.append(torch.full((per_photo,), number))
    return Restoration(*map(torch.cat, (degraded, clean, kinds, photos)))


def damaged_window(name: str, size: int = 136, seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    """A part of a photo that training patches are never cut from, under each of the four degradations, and clean.

    Reference: see :func:`restoration`

    Example:
        >>> damaged, clean = damaged_window("chelsea")
        >>> list(damaged), clean.shape
        (['horizontal blur', 'vertical blur', 'strong noise', 'box blur, weak noise'], torch.Size([1, 136, 136]))

    Args:
        name: "astronaut", "camera", "chelsea" or "coffee".
        size: height and width in pixels, at most 136.
        seed: of the noise.

    Returns:
        Name of the degradation → (1, size, size), and the clean (1, size, size).

    Raises:
        ValueError: no such window.
    """
    if name not in WINDOWS or not 1 <= size <= 136:
        raise ValueError(f"name must be one of {', '.join(WINDOWS)} and size 1 to 136, got {name!r} and {size}")
    generator, image, (top, left) = torch.Generator().manual_seed(seed), standardised(name), WINDOWS[name]
    cut = (0, slice(None), slice(top, top + size), slice(left, left + size))
    return {kind: degrade(image, generator)[cut] for kind, degrade in DEGRADATIONS.items()}, image[cut]


def standardised(name: str) -> Tensor:
    """A shipped photo in grey with mean 0 and standard deviation 1, (1, 1, H, W)."""
    image = photo(name, grey=True)[None]
    return (image - image.mean()) / image.std()


def cut_patches(image: Tensor, split: str, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Random S × S patches of (1, C, H, W), from its left 60 % to train or its right 35 % to test: (count, C, S, S)."""
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    height, width = image.shape[-2:]
    first, end = (0, int(0.6 * width)) if split == "train" else (int(0.65 * width), width)
    if size > min(height, end - first):
        raise ValueError(f"size {size} is larger than the {height} × {end - first} region that patches are cut from")
    tops = torch.randint(0, height - size + 1, (count,), generator=generator).tolist()
    lefts = torch.randint(first, end - size + 1, (count,), generator=generator).tolist()
    return torch.stack([image[0, :, t : t + size, c : c + size] for t, c in zip(tops, lefts, strict=True)])


def best_filter(degraded: Tensor, clean: Tensor, kernel_size: int = 9) -> Tensor:
    r"""The k × k filter with the least mean squared error, by linear least squares.

    Reference: N. Wiener, *Extrapolation, Interpolation, and Smoothing of Stationary Time Series* (1949), here on samples

    .. math:: \mathrm{arg\,min}_W \lVert W * x_{degraded} - x_{clean} \rVert^2

    Example:
        >>> data = restoration("train", per_photo=5)
        >>> blurred = data.kind == 0
        >>> best_filter(data.degraded[blurred], data.clean[blurred]).shape
        torch.Size([1, 1, 9, 9])

    Args:
        degraded, clean: (N, 1, S, S).
        kernel_size: k, odd, in pixels. No padding: the outermost k // 2 pixels of ``clean`` do not count.

    Returns:
        A weight for ``conv2d``, (1, 1, k, k).

    Raises:
        ValueError: kernel_size is even, below 1 or larger than the patches.
    """
    if kernel_size < 1 or kernel_size % 2 == 0 or kernel_size > degraded.shape[-1]:
        raise ValueError(f"kernel_size must be odd and at most {degraded.shape[-1]}, got {kernel_size}")
    edge = kernel_size // 2
    inner = clean[..., edge : clean.shape[-2] - edge, edge : clean.shape[-1] - edge]
    places = kernel_size**2
    gram, moment = (degraded.new_zeros(shape, dtype=torch.float64) for shape in ((places, places), (places,)))
    for x, y in zip(degraded.split(256), inner.split(256), strict=True):  # a few MB at a time
        columns = F.unfold(x.double(), kernel_size).movedim(1, 0).flatten(1)  # (k², pixels)
        gram, moment = gram + columns @ columns.T, moment + columns @ y.double().flatten()
    return torch.linalg.solve(gram, moment).to(degraded.dtype).reshape(1, 1, kernel_size, kernel_size)

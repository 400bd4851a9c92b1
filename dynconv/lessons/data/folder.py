"""Any folder of images, read safely."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

__all__ = ["ImageFolder", "image_folder", "open_image"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MOST_PIXELS = 50_000_000


class ImageFolder(NamedTuple):
    """``images`` as bytes (N, C, S, S), ``labels`` (N,), the ``classes``' names and the ``files``."""

    images: Tensor
    labels: Tensor
    classes: list[str]
    files: list[Path]


class _TooDeepError(Exception):
    """More than 16 bits a pixel."""


def open_image(source, name: str, size: int | None = None, *, grey: bool = False) -> Tensor:
    """One image file as bytes (C, H, W), its header checked before its pixels are decoded.

    Reference: https://pillow.readthedocs.io/en/stable/reference/limits.html

    It is turned as its camera says (EXIF), 16 bits a pixel become 8, and of a moving picture the first frame counts.

    Example:
        >>> from dynconv.lessons.data.shipped import FOLDER
        >>> open_image(FOLDER / "coffee.png", "coffee.png", size=64).shape
        torch.Size([3, 64, 64])

    Args:
        source: a path, or a file of bytes.
        name: of the image, for messages.
        size: the centre square is resized to size × size (Pillow's Lanczos filter). None keeps it as it is.
        grey: one channel instead of three.

    Raises:
        ValueError: not an image of a known format, too large, damaged, or of 32 bits a pixel; names the file.
    """
    image = _decoded(source, name, "L" if grey else "RGB")
    if size is not None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    pixels = torch.from_numpy(np.array(image))  # (H, W) or (H, W, 3)
    return pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0).contiguous()


def _decoded(source, name: str, mode: str) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow says of damaged and of large files: we refuse them ourselves
        try:
            with Image.open(source, formats=FORMATS) as image:
                width, height = image.size
                if width * height <= MOST_PIXELS:
                    return ImageOps.exif_transpose(_eight_bits(image)).convert(mode)
        except UnidentifiedImageError:
            raise ValueError(f"{name} is not an image of a known format ({', '.join(FORMATS)})") from None
        except Image.DecompressionBombError as error:
            raise ValueError(f"{name} is too large: {error}") from None
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except _TooDeepError:
            raise ValueError(f"{name} is of 32 bits a pixel, and only 8 and 16 can be read") from None
        except Exception as error:  # each format has errors of its own
            raise ValueError(f"{name} is damaged: {error}") from error
    raise ValueError(f"{name} is too large: {width} × {height} pixels, more than {MOST_PIXELS:,}")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16 bits a pixel as 8: Pillow's own conversion would make all but the darkest white."""
    if image.mode[0] not in "IF":
        return image
    pixels = np.asarray(image, dtype=np.float64)
    if image.mode == "F" or not 0 <= pixels.min() <= pixels.max() < 2**16:
        raise _TooDeepError
    return Image.fromarray((pixels / 257).round().astype(np.uint8))  # 65535 → 255


def image_folder(path: str | Path, size: int = 64, *, grey: bool = False) -> ImageFolder:
    """All images below a folder, resized to one size; each subfolder is a class.

    Reference: the layout of torchvision's ImageFolder, https://docs.pytorch.org/vision/stable/datasets.html

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("cats/tom.png", "dogs/rex.png"):
        ...     (folder / name).parent.mkdir()
        ...     Image.new("RGB", (50, 40)).save(folder / name)
        >>> found = image_folder(folder, size=32)
        >>> found.images.shape, found.labels.tolist(), found.classes
        (torch.Size([2, 3, 32, 32]), [0, 1], ['cats', 'dogs'])

    Args:
        path: of the folder. Images directly in it, without a subfolder, are the class ".".
        size: S, in pixels.
        grey: one channel instead of three.

    Raises:
        FileNotFoundError: there is no such folder; ValueError: no image in it, one that cannot be read, or size below 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise ValueError(f"no images in {path}: no file below it ends in {', '.join(SUFFIXES)}")
    names = [p.relative_to(path).parts[0] if p.parent != path else "." for p in files]
    classes = sorted(set(names))
    images = torch.stack([open_image(p, str(p), size, grey=grey) for p in files])  # (N, C, S, S)
    return ImageFolder(images, torch.tensor([classes.index(name) for name in names]), classes, files)

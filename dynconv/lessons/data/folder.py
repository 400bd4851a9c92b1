"""Any folder of images, read safely."""

from __future__ import annotations

import errno
import os
import stat
import warnings
from collections.abc import Iterator
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
ROWS = 256  # of a 16-bit image that become 8 bits at once


class ImageFolder(NamedTuple):
    """``images`` as bytes (N, C, S, S), ``labels`` (N,), the ``classes``' names, the ``files``, and what was ``skipped``."""

    images: Tensor
    labels: Tensor
    classes: list[str]
    files: list[Path]
    skipped: list[Path]


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
    mode = "L" if grey else "RGB"
    image = _decoded(source, name, mode)
    if size is not None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    pixels = torch.from_numpy(np.array(image if image.mode == mode else image.convert(mode)))  # (H, W) or (H, W, 3)
    return pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0).contiguous()


def _decoded(source, name: str, mode: str) -> Image.Image:
    """In the mode that is wanted, or in grey: colours that are all the same can be made once the image is small."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow says of damaged and of large files: we refuse them ourselves
        try:
            with Image.open(source, formats=FORMATS) as image:
                width, height = image.size
                if width * height <= MOST_PIXELS:
                    ImageOps.exif_transpose(image, in_place=True)
                    image.load()
                    pixels = _eight_bits(image)
                    return pixels if pixels.mode in (mode, "L") else pixels.convert(mode)
        except UnidentifiedImageError:
            raise ValueError(f"{name} is not an image of a known format ({', '.join(FORMATS)})") from None
        except (Image.DecompressionBombError, MemoryError) as error:
            raise ValueError(f"{name} is too large: {str(error) or 'there is no memory for it'}") from None
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except _TooDeepError:
            raise ValueError(f"{name} is of 32 bits a pixel, and only 8 and 16 can be read") from None
        except Exception as error:  # each format has errors of its own
            raise ValueError(f"{name} is damaged: {error}") from error
    raise ValueError(f"{name} is too large: {width} × {height} pixels, more than {MOST_PIXELS:,}")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16 bits a pixel as 8, some rows at a time: Pillow's own conversion would make all but the darkest white."""
    if image.mode[0] not in "IF":
        return image
    if image.mode == "F":
        raise _TooDeepError
    grey = Image.new("L", image.size)
    for top in range(0, image.height, ROWS):
        rows = np.asarray(image.crop((0, top, image.width, min(top + ROWS, image.height))), dtype=np.int32)
        if rows.min() < 0 or rows.max() >= 2**16:
            raise _TooDeepError
        grey.paste(Image.fromarray(((rows + 128) // 257).astype(np.uint8)), (0, top))  # 65535 → 255
    return grey


def image_folder(path: str | Path, size: int = 64, *, grey: bool = False) -> ImageFolder:
    """All images below a folder, resized to one size; each subfolder is a class, a link to one too.

    What is hidden (its name begins with a dot) is no image and no class: thumbnails, other systems' notes, checkpoints of
    notebooks. It stands in ``skipped``. So do links that lead nowhere or in a circle and subfolders without an image, and
    those give a warning.

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
        FileNotFoundError: there is no such folder; PermissionError: it, one below it or a file cannot be opened;
            ValueError: no image in it, one that cannot be read, or size below 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    files, skipped = _found(path)
    if not files:
        raise ValueError(f"no images in {path}: no file below it ends in {', '.join(SUFFIXES)}")
    names = [p.relative_to(path).parts[0] if p.parent != path else "." for p in files]
    classes = sorted(set(names))
    images = torch.stack([open_image(p, str(p), size, grey=grey) for p in files])  # (N, C, S, S)
    return ImageFolder(images, torch.tensor([classes.index(name) for name in names]), classes, files, skipped)


def _found(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images below a folder, and what was left out."""
    found = list(_walk(folder, (os.path.realpath(folder),)))
    skipped = sorted(path for path, is_image in found if not is_image)
    odd = [str(path) for path in skipped if not path.name.startswith(".")]
    if odd and len(found) > len(skipped):
        listed = ", ".join(odd[:5]) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
        warnings.warn(f"left out, for they lead nowhere or in a circle, or hold no image: {listed}", stacklevel=3)
    return sorted(path for path, is_image in found if is_image), skipped


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[Path, bool]]:
    """Path and whether it is an image; ``above`` are the real folders that this one is in."""
    for path in (folder / name for name in sorted(os.listdir(folder))):
        mode, looks_like_one = _mode(path), path.suffix.lower() in SUFFIXES
        if path.name.startswith("."):
            if looks_like_one or stat.S_ISDIR(mode):
                yield path, False
        elif stat.S_ISDIR(mode) and (real := os.path.realpath(path)) not in above:
            inside = list(_walk(path, (*above, real)))
            yield from inside
            if len(above) == 1 and not any(is_image for _, is_image in inside):  # it would have been a class
                yield path, False
        elif looks_like_one or stat.S_ISDIR(mode) or not mode:
            yield path, stat.S_ISREG(mode)


def _mode(path: Path) -> int:
    """What a path is in the end, in stat's bits; 0 for a link to nowhere or to itself. What may not be looked at raises."""
    try:
        return path.stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP) or getattr(error, "winerror", None) == 1921:  # Windows' ELOOP
            return 0
        raise

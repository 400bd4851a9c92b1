"""The images that come with the package, checked against their SHA-256 before they are used."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

__all__ = ["digits", "photo", "photo_names"]

_HERE = Path(__file__).resolve().parent
LINE = re.compile(r"([0-9a-f]{64})  ([\w.-]+)")  # of SHA256SUMS
# an installed package carries the files inside itself; a checkout has them at its top
FOLDER = _HERE / "files" if (_HERE / "files").is_dir() else _HERE.parents[2] / "data"


def photo_names() -> list[str]:
    """Names of the shipped photos and textures.

    Reference: sources and licences in data/README.md

    Example:
        >>> photo_names()
        ['astronaut', 'brick', 'camera', 'chelsea', 'coffee', 'grass', 'gravel']
    """
    return sorted(name.removesuffix(".png") for name in checksums() if name.endswith(".png"))


def photo(name: str, size: int | None = None, *, grey: bool = False) -> Tensor:
    """One shipped photo as floats in 0 … 1, channels first.

    Reference: sources and licences in data/README.md

    Example:
        >>> photo("chelsea").shape
        torch.Size([3, 300, 451])
        >>> photo("chelsea", size=64, grey=True).shape
        torch.Size([1, 64, 64])

    Args:
        name: one of :func:`photo_names`.
        size: pixels; the centre square is resized to size × size (Pillow's Lanczos filter). None keeps it as it is.
        grey: one channel (ITU-R 601 luma) instead of three; the textures and ``camera`` are grey already.

    Raises:
        ValueError: there is no such photo, or size is below 1; OSError: the file is missing or damaged, and how to restore it.
    """
    if name not in photo_names():
        raise ValueError(f"there is no photo {name!r}; there are: {', '.join(photo_names())}")
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    stored = Image.open(io.BytesIO(read(f"{name}.png")))
    image = stored.convert("L" if grey or stored.mode == "L" else "RGB")
    if size is not None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255)  # (H, W) or (H, W, 3)
    return pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0).contiguous()


def digits() -> tuple[Tensor, Tensor]:
    """The UCI handwritten digits: 1797 images in 0 … 1 and their labels.

    Reference: E. Alpaydin and C. Kaynak, https://doi.org/10.24432/C50P49

    Example:
        >>> images, labels = digits()
        >>> images.shape, labels[:5].tolist()
        (torch.Size([1797, 1, 8, 8]), [0, 1, 2, 3, 4])

    Raises:
        OSError: the file is missing or damaged, and how to restore it.
    """
    with np.load(io.BytesIO(read("digits.npz")), allow_pickle=False) as packed:
        images, labels = packed["images"], packed["labels"]
    return torch.from_numpy(images).float()[:, None] / 16, torch.from_numpy(labels).long()


def checksums(folder: str = "") -> dict[str, str]:
    """Names of the files of ``folder`` → their SHA-256.

    Reference: ``sha256sum``'s format, as in data/SHA256SUMS

    Example:
        >>> "camera.png" in checksums()
        True

    Args:
        folder: within the shipped data, such as "recordings".

    Raises:
        OSError: the list is missing or damaged, and how to restore it.
    """
    name = f"{folder}/SHA256SUMS".lstrip("/")
    given = _bytes(name).decode(errors="replace").splitlines()
    lines = [line for line in map(LINE.fullmatch, given) if line is not None]
    if not lines or len(lines) < len(given):
        raise OSError(f"{FOLDER / name} is damaged: a line is no checksum and name. {_restore(name)}")
    return {line[2]: line[1] for line in lines}


def read(name: str) -> bytes:
    """The content of a shipped file, compared with its SHA-256.

    Reference: data/README.md

    Example:
        >>> read("camera.png")[1:4]
        b'PNG'

    Args:
        name: its path within the shipped data, such as "recordings/restoration.json".

    Raises:
        OSError: it is missing or damaged, and how to restore it.
    """
    content = _bytes(name)
    folder, _, own = name.rpartition("/")
    digest, expected = hashlib.sha256(content).hexdigest(), checksums(folder).get(own)
    if digest != expected:
        raise OSError(f"{FOLDER / name} is damaged: its SHA-256 is {digest}, not {expected}. {_restore(name)}")
    return content


def _bytes(name: str) -> bytes:
    try:
        return (FOLDER / name).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{FOLDER / name} is missing. {_restore(name)}") from None
    except OSError as error:  # a folder of that name, no permission, a broken disk
        how = f"Remove it. {_restore(name)}" if (FOLDER / name).is_dir() else _restore(name)
        raise OSError(f"{FOLDER / name} cannot be read ({error.strerror}). {how}") from None


def _restore(name: str) -> str:
    if FOLDER.name == "files":
        return "Restore it by installing the package again: pip install --force-reinstall --no-deps dynconv"
    return f"Restore it with: git checkout -- data/{name}"

"""FashionMNIST and CIFAR-10 by name, fetched by torchvision on the first call."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["cifar10", "data_folder", "fashion_mnist"]


def data_folder() -> Path:
    """Where downloads are kept: the variable DYNCONV_DATA, or dynconv in the user's cache.

    Reference: https://specifications.freedesktop.org/basedir-spec/latest/

    Example:
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, DYNCONV_DATA="large files"):
        ...     print(data_folder())
        large files

    Raises:
        OSError: there is no home folder, and the variable is not set.
    """
    if named := os.environ.get("DYNCONV_DATA"):
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynconv"
    except RuntimeError:
        raise OSError("there is no home folder to keep downloads in; set DYNCONV_DATA to a folder") from None


def fashion_mnist(split: str = "train", folder: str | Path | None = None) -> tuple[Tensor, Tensor]:
    """FashionMNIST: 60,000 or 10,000 images of clothes, bytes (N, 1, 28, 28), and their labels.

    Reference: Xiao et al., https://arxiv.org/abs/1708.07747

    Example:
        >>> fashion_mnist("valid")
        Traceback (most recent call last):
        ValueError: split must be 'train' or 'test', got 'valid'

    Args:
        split: "train" or "test".
        folder: keeps the files; :func:`data_folder` if left out.

    Raises:
        ValueError: unknown split; OSError: no network, or a file that is not what its checksum says, and what to do.
    """
    found = _fetch("FashionMNIST", split, folder)
    return found.data[:, None], found.targets


def cifar10(split: str = "train", folder: str | Path | None = None) -> tuple[Tensor, Tensor]:
    """CIFAR-10: 50,000 or 10,000 colour images of ten classes, bytes (N, 3, 32, 32), and their labels.

    Reference: A. Krizhevsky, https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf

    Example:
        >>> cifar10("valid")
        Traceback (most recent call last):
        ValueError: split must be 'train' or 'test', got 'valid'

    Args:
        split: "train" or "test".
        folder: keeps the files; :func:`data_folder` if left out.

    Raises:
        ValueError: unknown split; OSError: no network, or a file that is not what its checksum says, and what to do.
    """
    found = _fetch("CIFAR10", split, folder)
    return torch.from_numpy(found.data).movedim(-1, 1).contiguous(), torch.tensor(found.targets)


def _fetch(name: str, split: str, folder: str | Path | None):
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    from torchvision import datasets  # a second to import, and only here

    folder = Path(folder) if folder is not None else data_folder()
    try:  # shows a progress bar, and compares checksums
        return getattr(datasets, name)(root=str(folder), train=split == "train", download=True)
    except (OSError, RuntimeError) as error:  # urllib raises the one, torchvision the other
        reason = " ".join(str(getattr(error, "reason", error)).split())
        if "corrupted" in reason:
            raise OSError(
                f"a file of {name} in {folder} is not what its checksum says ({reason}). Delete {folder / name} and "
                "try again; if it happens twice, the download was tampered with or the publisher changed the file."
            ) from error
        raise OSError(
            f"{name} is not in {folder} and cannot be downloaded ({reason}). Connect to the network once, or copy the "
            "folder from a machine that has it. The lessons need no network."
        ) from error

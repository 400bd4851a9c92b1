"""Checkpoints that survive: written beside the old one and renamed, read without running code."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import torch

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(path: str | Path, state: dict) -> None:
    """Write ``state`` to ``path``, whole or not at all.

    Reference: the write, sync, rename pattern, https://lwn.net/Articles/457667/

    Whatever happens on the way — a kill, a full disk — ``path`` holds either the old checkpoint or the new one.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp(), "runs", "last.pt")
        >>> save_checkpoint(path, {"epoch": 3, "weight": torch.ones(2)})
        >>> load_checkpoint(path)["epoch"]
        3

    Args:
        path: of the file; its folder is made if need be.
        state: tensors, numbers, strings, and lists and dicts of them.

    Raises:
        OSError: it could not be written; says what became of the old one.
    """
    path = Path(path)
    packed = io.BytesIO()
    torch.save(state, packed)  # in memory first: a failure there touches no file
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(packed.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        kept = "the one from before is untouched" if path.exists() else "there was none before"
        raise OSError(f"cannot save the checkpoint {path}: {error.strerror or error}; {kept}") from error


def load_checkpoint(path: str | Path) -> dict:
    """What :func:`save_checkpoint` wrote, on the CPU.

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.load.html (``weights_only``: no code runs)

    Example:
        >>> load_checkpoint("nowhere/last.pt")
        Traceback (most recent call last):
        FileNotFoundError: there is no checkpoint nowhere/last.pt

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is none; ValueError: the file is no checkpoint, is damaged, or holds more than tensors and
            plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path.as_posix()}")
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()  # torch.save writes a checksum of every part, torch.load compares none
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} is not what its checksum says")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have errors of their own
        first = (str(error).splitlines() or [type(error).__name__])[0][:80]
        reason = f"it is damaged, cut off or something else ({first})"
        if isinstance(error, pickle.UnpicklingError):  # what torch says here is how to run its code
            reason = "it holds more than tensors and plain values"
        raise ValueError(
            f"{path} is not a checkpoint that can be read safely: {reason}. Delete it to begin anew"
        ) from error

"""Recorded training runs: what a dynamic layer did after every epoch, kept for playing back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .degradations import damaged_window
from .shipped import checksums, read

__all__ = ["check_record", "check_runs", "recording", "recording_names"]


def recording_names() -> list[str]:
    """Names of the shipped recordings.

    Reference: made by data/record.py

    Example:
        >>> recording_names()
        ['restoration']
    """
    return sorted(name.removesuffix(".json") for name in checksums("recordings"))


def recording(name: str) -> dict:
    """A shipped recording of training runs, ready for :class:`dynconv.lessons.views.time_machine.TimeMachine`.

    Reference: ``experiments.evidence.recording.record_training``; data/README.md says how the files were made

    Example:
        >>> kept = recording("restoration")
        >>> list(kept["runs"]), len(kept["runs"]["T = 1"]), len(kept["classes"])
        (['T = 1', 'T = 30', 'T = 30 → 1'], 26, 4)

    Args:
        name: one of :func:`recording_names`.

    Returns:
        "runs" name → records, see :func:`.check_record`; "classes" names of the kinds of image; "references" name → loss;
        "pictures" that the runs restore: "images" name → (1, H, W), and "wanted" name → (h, w), what they should become;
        "task", "seed", "window", "command" and "versions" say where all this comes from.

    Raises:
        ValueError: there is no such recording, or what it says is not one; names what does not fit.
            OSError: the file is missing or damaged, and how to restore it.
    """
    if name not in recording_names():
        raise ValueError(f"there is no recording {name!r}; there are: {', '.join(recording_names())}")
    try:
        kept = json.loads(read(f"recordings/{name}.json"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"recording {name!r} is not JSON: {error}") from None
    for entry, kind in {"runs": dict, "classes": list, "references": dict, "window": dict}.items():
        if not isinstance(kept, dict) or not isinstance(kept.get(entry), kind):
            raise ValueError(f"recording {name!r} needs an entry {entry!r} that is a {kind.__name__}")
    kept["pictures"] = _pictures(name, kept["window"])
    check_runs(kept["runs"], kept["classes"], len(kept["pictures"]["images"]))
    for label, loss in kept["references"].items():
        _numbers(f"recording {name!r}: reference {label!r}", loss, ())
    return kept


def _pictures(name: str, window: dict) -> dict[str, dict[str, Tensor]]:
    """A window's damaged pictures, and of each the clean middle that a 9 × 9 filter reaches; none of an empty window."""
    if not window:
        return {"images": {}, "wanted": {}}
    try:
        damaged, clean = damaged_window(**window)
    except (TypeError, ValueError) as error:
        raise ValueError(f"recording {name!r} needs a window of damaged_window, got {window!r:.60}: {error}") from None
    return {"images": damaged, "wanted": dict.fromkeys(damaged, clean[0, 4:-4, 4:-4])}


def check_runs(runs: Mapping[str, Sequence[Mapping]], classes: Sequence[str], pictures: int = 0) -> None:
    """Raise a ValueError that names the run, the epoch and the entry, if these are not records of training runs.

    Reference: :func:`.check_record` says what a record holds

    Example:
        >>> check_runs({"T = 1": []}, ["cat"])
        Traceback (most recent call last):
        ValueError: run 'T = 1' must be a list of at least one record, got []

    Args:
        runs: name → records in the order of their epochs. Within a run K and the size of the kernels stay the same.
        classes: names of the kinds of image.
        pictures: how many pictures every record has the shares of.
    """
    if not classes or not runs:
        raise ValueError(f"needs at least one run and one class, got {len(runs)} and {len(classes)}")
    for name, records in runs.items():
        if not isinstance(records, Sequence) or not records or not all(isinstance(r, Mapping) for r in records):
            raise ValueError(f"run {name!r} must be a list of at least one record, got {records!r:.60}")
        shape = _shape(records[0])
        before = -1
        for record in records:
            epoch: Any = record.get("epoch")  # a number, once the record is checked
            try:
                check_record(record, len(classes), *shape, pictures)
            except ValueError as error:
                raise ValueError(f"run {name!r}, epoch {epoch!r:.20}: {error}") from None
            if epoch <= before:
                raise ValueError(f"run {name!r}: epochs must rise, got {epoch} after {before}")
            before = epoch


def check_record(record: Mapping, classes: int, num_kernels: int, pixels: int, pictures: int = 0) -> None:
    """Raise a ValueError that names the entry, if this is not the record of an epoch.

    Reference: what :func:`dynconv.lessons.train.fit` yields, and what was watched

    A record holds "epoch", "temperature", "test_loss", "attention" (classes × K shares, the mean over the images of each
    class) and "kernels" (K × pixels, row by row); where known also "loss", of training, and "effective", for each class
    the mean over its images of exp(entropy of the attention). Where pictures are to be seen restored it holds "shares",
    the attention of each of them (pictures × K), and "biases" (K) where the layer has them.

    Example:
        >>> record = {"epoch": 0, "temperature": 0.0, "test_loss": 1.0, "attention": [[1.0]], "kernels": [[2.0]]}
        >>> check_record(record, 1, 1, 1)
        Traceback (most recent call last):
        ValueError: a record's temperature must be above 0, got 0.0

    Args:
        record: of one epoch.
        classes: how many kinds of image.
        num_kernels: K, 1 to 8.
        pixels: of one kernel.
        pictures: how many it has the shares of.
    """
    if type(record.get("epoch")) is not int or record["epoch"] < 0:
        raise ValueError(f"a record's epoch must be a whole number from 0, got {record.get('epoch')!r:.40}")
    shapes = {"temperature": (), "test_loss": (), "attention": (classes, num_kernels), "kernels": (num_kernels, pixels)}
    optional: dict[str, tuple[int, ...]] = {"loss": (), "effective": (classes,), "biases": (num_kernels,)}
    shapes |= {name: shape for name, shape in optional.items() if record.get(name) is not None}
    shapes |= {"shares": (pictures, num_kernels)} if pictures else {}
    numbers = {name: _numbers(f"a record's {name}", record.get(name), shape) for name, shape in shapes.items()}
    if numbers["temperature"] <= 0:
        raise ValueError(f"a record's temperature must be above 0, got {record['temperature']}")
    for name in {"attention", "shares"} & numbers.keys():
        shares = numbers[name]
        if shares.min() < 0 or (shares.sum(1) - 1).abs().max() > 1e-2:  # rounded shares may miss 1 by a little
            raise ValueError(f"a record's {name} must be shares of at least 0 with sum 1, got {record[name]}")
    if (
        "effective" in numbers
        and not 0.99 <= numbers["effective"].min() <= numbers["effective"].max() <= num_kernels + 0.01
    ):
        raise ValueError(f"a record's effective must be 1 to {num_kernels}, got {record['effective']}")


def _shape(record: Mapping) -> tuple[int, int]:
    """K and pixels of a run, as its first record has them."""
    kernels = record.get("kernels")
    if not isinstance(kernels, Sequence) or not 1 <= len(kernels) <= 8 or not isinstance(kernels[0], Sequence):
        raise ValueError(f"a record's kernels must be 1 to 8 lists of numbers, got {kernels!r:.60}")
    pixels = len(kernels[0])
    if not pixels or math.isqrt(pixels) ** 2 != pixels:
        raise ValueError(f"a record's kernels must be square, got {pixels} pixels")
    return len(kernels), pixels


def _numbers(what: str, value, shape: tuple[int, ...]) -> Tensor:
    wanted = f"{' × '.join(map(str, shape))} numbers" if shape else "a number"
    try:
        numbers = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{what} must be {wanted}, got {value!r:.60}") from None
    if numbers.shape != shape:
        raise ValueError(f"{what} must be {wanted}, got {tuple(numbers.shape)}")
    if not numbers.isfinite().all():
        raise ValueError(f"{what} must be finite, got {numbers[~numbers.isfinite()].tolist()[0]}")
    return numbers

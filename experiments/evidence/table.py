"""The CSV of all runs: added to line by line, summed up over seeds."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from .runs import COLUMNS

__all__ = ["KEY", "summarise", "write"]

KEY = ("task", "system", "num_kernels", "temperature")


def write(path: str | Path, lines: list[dict], columns: tuple[str, ...] = COLUMNS) -> None:
    """All lines, sorted by row and seed, whole or not at all.

    Reference: see :func:`dynconv.lessons.train.save_checkpoint`

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "runs.csv")
        >>> write(path, [dict.fromkeys(COLUMNS, "1")])
        >>> from dynconv.lessons.tables import read
        >>> read(path)[0]["task"]
        '1'

    Args:
        path: of the file.
        lines: as :func:`run` gives them; a later line of the same row and seed replaces an earlier one.
        columns: in their order.
    """
    path = Path(path)
    more = (
        "question",
        "case",
        "learning_rate",
        "budget",
        "quiet",
        "network",
        "model",
        "weights",
        "gates",
        "mode",
        "seed",
    )
    key = [name for name in (*KEY, *more) if name in columns]
    lines = [{n: f"{v:.6g}" if isinstance(v, float) else str(v) for n, v in line.items()} for line in lines]
    latest = {tuple(line[name] for name in key): line for line in lines}  # a fresh 1.0 is the file's "1"
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(latest[k] for k in sorted(latest))
    os.replace(part, path)


def summarise(lines: list[dict]) -> dict[tuple[str, ...], list[dict]]:
    """Lines by row, seeds in order.

    Reference: none

    Example:
        >>> line = dict.fromkeys(COLUMNS, "1")
        >>> [len(seeds) for seeds in summarise([line, line | {"seed": "2"}]).values()]
        [2]

    Args:
        lines: as :func:`dynconv.lessons.tables.read` gives them.
    """
    found: dict[tuple[str, ...], list[dict]] = {}
    for line in lines:
        found.setdefault(tuple(line[name] for name in KEY), []).append(line)
    return {key: sorted(seeds, key=lambda line: int(line["seed"])) for key, seeds in found.items()}

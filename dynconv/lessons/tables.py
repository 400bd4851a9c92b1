"""The CSVs of the evidence, as the lessons read them."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

__all__ = ["mean_and_std", "read"]


def read(path: str | Path, columns: tuple[str, ...] | None = None) -> list[dict]:
    """The lines of a CSV of runs, every value as text; none if there is no file.

    Reference: Python's csv module

    Example:
        >>> read("nowhere.csv")
        []

    Args:
        path: of the file.
        columns: that it has to have; None for any.

    Raises:
        ValueError: it has other columns.
    """
    path = Path(path)
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if columns is not None and tuple(reader.fieldnames or ()) != columns:
            raise ValueError(f"{path} has the columns {reader.fieldnames}, not {list(columns)}")
        return list(reader)


def mean_and_std(lines: list[dict], column: str) -> tuple[float, float] | None:
    """Mean and sample standard deviation over seeds; None where the column is empty.

    Reference: none

    Example:
        >>> mean_and_std([{"a": "1"}, {"a": "3"}], "a")
        (2.0, 1.4142135623730951)

    Args:
        lines: of one row.
        column: which.
    """
    values = [float(line[column]) for line in lines if line[column] != ""]
    if not values:
        return None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0

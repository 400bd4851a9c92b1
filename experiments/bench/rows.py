"""What was measured, and the arithmetic of the tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Row", "extremes", "mean_ratio"]


@dataclass(frozen=True)
class Row:
    """One row of a table: the medians of functions that were called in turns.

    Example:
        >>> row = Row("networks", "resnet18", True, 1, {"static": 2.0, "dynamic": 3.0}, {"static": 2.0, "dynamic": 2.5})
        >>> row.ratio("dynamic"), row.ratio("dynamic", clock="cpu"), row.ratio("timm"), row.step
        (1.25, 1.25, None, 'training')
        >>> row.ratio("dynamic", clock="wall")
        1.5

    Args:
        table: which one; name: the shape's or network's; train: both ways, instead of forward only.
        threads: of torch.
        wall, cpu: kind → seconds a call; peak: kind → bytes, None where the system does not tell.
        clock: "wall" or "cpu", the one that decides.
    """

    table: str
    name: str
    train: bool
    threads: int
    wall: dict[str, float]
    cpu: dict[str, float]
    peak: dict[str, float | None] = field(default_factory=dict)
    clock: str = "cpu"

    @property
    def step(self) -> str:
        return "training" if self.train else "inference"

    @property
    def seconds(self) -> dict[str, float]:
        """By the clock that decides."""
        return self.by(self.clock)

    def by(self, clock: str) -> dict[str, float]:
        """Kind → seconds by a clock."""
        return {"wall": self.wall, "cpu": self.cpu}[clock]

    def ratio(self, kind: str, base: str = "static", clock: str | None = None) -> float | None:
        """How many times as long as ``base``, by the clock that decides; None where one of them was not measured."""
        took = self.by(clock or self.clock)
        return took[kind] / took[base] if kind in took and base in took else None

    def memory(self, kind: str, base: str = "static") -> float | None:
        """How many times as much memory at the peak."""
        mine, other = self.peak.get(kind), self.peak.get(base)
        return mine / other if mine is not None and other else None


def mean_ratio(rows: Sequence[Row], kind: str, base: str = "static") -> float:
    """The geometric mean over the rows that have both.

    Example:
        >>> rows = [Row("", "", False, 1, {}, {"static": 1.0, "auto": auto}) for auto in (1.0, 4.0)]
        >>> mean_ratio(rows, "auto")
        2.0

    Args:
        rows, kind, base: as in :meth:`Row.ratio`.
    """
    return statistics.geometric_mean(r for row in rows if (r := row.ratio(kind, base)) is not None)


def extremes(rows: Sequence[Row], value: Callable[[Row], float | None]) -> tuple[tuple[float, Row], tuple[float, Row]]:
    """The rows with the smallest and the largest value, those without one left out.

    Example:
        >>> rows = [Row("", str(auto), False, 1, {}, {"static": 1.0, "auto": auto}) for auto in (2.0, 1.0, 4.0)]
        >>> [(ratio, row.name) for ratio, row in extremes(rows, lambda row: row.ratio("auto"))]
        [(1.0, '1.0'), (4.0, '4.0')]

    Args:
        rows: one at least has a value.
        value: of a row.

    Raises:
        ValueError: none has.
    """
    found = [(number, row) for row in rows if (number := value(row)) is not None]
    if not found:
        raise ValueError("none of the rows has this value")
    return min(found, key=lambda pair: pair[0]), max(found, key=lambda pair: pair[0])

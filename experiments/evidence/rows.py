"""What is run: one row of the tables is one system in one setting on one task."""

from __future__ import annotations

from dataclasses import dataclass

from dynconv.lessons.systems import SYSTEMS

__all__ = ["Row", "rows"]

KERNELS = (2, 4, 8)
TEMPERATURES = ("1", "3", "10", "30", "100", "30-1")
TASKS = ("restoration", "cue", "digits", "clutter")


@dataclass(frozen=True)
class Row:
    """A system in one setting on one task.

    Attributes:
        task: see :func:`dynconv.lessons.tasks.task`.
        system: see :data:`dynconv.lessons.systems.SYSTEMS`.
        num_kernels: K; 0 where there are none.
        temperature: a number, or "30-1" for a straight line from 30 to 1 over the first 30 % of the steps; "" where there is none.
    """

    task: str
    system: str
    num_kernels: int = 0
    temperature: str = ""

    def anneal(self) -> tuple[float, float, float] | None:
        """What :func:`dynconv.lessons.train.fit` is told, or None at a fixed temperature."""
        if "-" not in self.temperature:
            return None
        first, last = map(float, self.temperature.split("-"))
        return first, last, 0.3

    def options(self) -> dict:
        """What the network's builder is told."""
        start = self.temperature.split("-")[0]
        options = {"num_kernels": self.num_kernels} if self.num_kernels else {}
        return options | ({"temperature": float(start)} if start else {})


def rows(task: str | None = None, system: str | None = None) -> list[Row]:
    """All rows, or those of one task and one system.

    Reference: the systems' own papers, see :mod:`dynconv.layers`

    Example:
        >>> len(rows("cue")), rows("cue", "mix")
        (26, [Row(task='cue', system='mix', num_kernels=4, temperature='1')])

    Args:
        task, system: to keep only theirs.

    Raises:
        ValueError: no row fits.
    """
    found = [row for name in TASKS for row in _of(name) if task in (None, name) and system in (None, row.system)]
    if not found:
        raise ValueError(f"no row for task {task!r} and system {system!r}; there are {TASKS} and {SYSTEMS}")
    return found


def _of(task: str) -> list[Row]:
    plain = [Row(task, name) for name in ("static", "static-parameters", "static-flops")]
    gated = [Row(task, "mix", 4, "1"), Row(task, "se"), Row(task, "condconv", 4), Row(task, "odconv", 4)]
    one = Row(task, "dynamic", 1, "1")  # one kernel has all the weight at any temperature
    return [*plain, *gated, one, *(Row(task, "dynamic", K, T) for K in KERNELS for T in TEMPERATURES)]

"""How all of one pass is measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from .measure import clocked, peak_memory
from .rows import Row

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What the command was asked for.

    Example:
        >>> Settings(seconds=0).measure("shapes", "1 + 1", False, {"static": lambda: 1 + 1}, memory=()).name
        '1 + 1'
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.contiguous_format
    num_kernels: int = 4
    seconds: float = 2.0  # at least, for a row of one layer; a network's row takes four times as long
    threads: int = 1
    says: bool = False  # each row when it is measured, on standard error: a table takes minutes

    def measure(
        self,
        table: str,
        name: str,
        train: bool,
        functions: Mapping[str, Callable[[], object]],
        memory: tuple[str, ...] | None = None,
        network: bool = False,
    ) -> Row:
        """One row: all functions in turns.

        Args:
            table, name, train: what the row is about.
            functions: name → call.
            memory: whose peak is asked for; None for all.
            network: take four times as long, and five rounds at least.
        """
        clocks = clocked(functions, self.device, (1 + 3 * network) * self.seconds, 5 if network else 7)
        asked = functions if memory is None else memory
        peak = {kind: peak_memory(functions[kind], self.device) for kind in asked}
        wall, cpu = ({kind: both[i] for kind, both in clocks.items()} for i in (0, 1))
        row = Row(table, name, train, self.threads, wall, cpu, peak, self.clock)
        if self.says:
            took = ", ".join(f"{kind} {1e3 * seconds:.3g}" for kind, seconds in row.seconds.items())
            print(f"{row.table}: {row.name}, {row.step}, ms: {took}", file=sys.stderr, flush=True)
        return row

    @property
    def clock(self) -> str:
        """One thread is told by CPU time, which others who compute beside it hardly change; else only waiting counts."""
        return "cpu" if self.device == "cpu" and self.threads == 1 else "wall"

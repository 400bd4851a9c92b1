"""Sparse blocks beside themselves computing everywhere: python -m experiments.bench.gates [--out FILE]

One image, one thread, CPU time, medians of turns. The gate is given, but computed all the same; squares lie in a corner, scattered
positions anywhere. *needed*: the share of positions of the first convolution, which sees one position further than the gate.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from dynconv.functional import dilate_gate
from dynconv.layers import SparseBlock
from dynconv.probe import intervene
from experiments.bench.measure import clocked

__all__ = ["GATES", "times_as_fast"]

SIZES = ((16, 16), (32, 32), (64, 32), (64, 56), (128, 32), (256, 14), (512, 14))
SHARES = (0.02, 0.1, 0.25, 0.5, 1.0)
ROUNDS = 101


def squares(size: int, share: float) -> Tensor:
    side, gate = round(size * share**0.5), torch.zeros(1, 1, size, size)
    gate[..., :side, :side] = 1
    return gate


def scattered(size: int, share: float) -> Tensor:
    chosen = torch.randperm(size * size, generator=torch.Generator().manual_seed(0))[: round(size * size * share)]
    return torch.zeros(size * size).index_fill(0, chosen, 1).reshape(1, 1, size, size)


GATES: dict[str, Callable[[int, float], Tensor]] = {"squares": squares, "scattered": scattered}


@torch.no_grad()
def times_as_fast(channels: int, gate: Tensor, rounds: int = ROUNDS) -> float:
    """CPU time of a block that computes everywhere, over that of the block as it chooses.

    Example:
        >>> times_as_fast(4, squares(8, 0.5), rounds=2) > 0
        True

    Args:
        channels: of the block and its image, which is as large as the gate; rounds: turns, at least.
    """
    torch.manual_seed(0)
    block, image = SparseBlock(channels).eval(), torch.randn(1, channels, *gate.shape[2:])

    def run(sparse: bool | None) -> None:
        block.sparse = sparse
        block(image)

    with intervene(block, "given", attention=gate):
        took = clocked({"everywhere": lambda: run(False), "chosen": lambda: run(None)}, least=rounds)
    return took["everywhere"].cpu / took["chosen"].cpu


def table() -> str:
    """Markdown, a row for each size and kind of gate."""
    rows = ["| channels | positions | open | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |"]
    rows += ["| --: | --: | --- |" + " --: |" * len(SHARES)]
    for channels, size in SIZES:
        for name, gate in GATES.items():
            cells = [_cell(channels, gate(size, share)) for share in SHARES]
            rows.append(f"| {channels} | {size} × {size} | {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(channels: int, gate: Tensor) -> str:
    return f"{times_as_fast(channels, gate):.2f} ({dilate_gate(gate, gate.shape[2:]).mean():.0%})"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench.gates", description=__doc__)
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    before, made = os.getloadavg()[0], table()
    about = (
        "# Gates: times as fast as computing everywhere\n\nOne sparse block with a given share of open positions, one image, one "
        "thread, CPU time, medians of turns (in brackets the positions that the first convolution has to compute). Made by "
        "`python -m experiments.bench.gates --out experiments/speed_gates.md`; load average of the machine before and after: "
        f"{before:.1f} and {os.getloadavg()[0]:.1f}, torch {torch.__version__.partition('+')[0]}.\n"
    )
    print(made)
    if args.out:
        args.out.write_text(f"{about}\n{made}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

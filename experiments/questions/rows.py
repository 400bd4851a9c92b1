"""Rows: a question, a case of it, a seed, and the numbers that came out."""

from __future__ import annotations

import fnmatch
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch

from dynconv.lessons.tables import read
from experiments.evidence.table import write

from . import branches, convexity, importance, maps, similarity, temperature
from .common import Numbers

__all__ = ["COLUMNS", "QUESTIONS", "ask", "found", "row"]

# each has CASES (a name → its setting), SEEDS, run(case, seed) → numbers, and tell(case → numbers) → words and pictures
QUESTIONS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (importance, similarity, convexity, branches, temperature, maps)
}
COLUMNS = ("question", "case", "seed", "numbers", "seconds", "torch", "command")


def row(question: str, case: str, seed: int) -> dict[str, str]:
    """One line of the CSV, measured."""
    started = time.perf_counter()
    numbers = QUESTIONS[question].run(case, seed)
    rounded = {name: float(f"{value:.6g}") for name, value in numbers.items()}
    seconds, version = f"{time.perf_counter() - started:.1f}", torch.__version__.split("+")[0]
    command = f'python -m experiments.questions {question} --case "{case}" --seed {seed}'
    line = (question, case, str(seed), json.dumps(rounded, ensure_ascii=False), seconds, version, command)
    return dict(zip(COLUMNS, line, strict=True))


def ask(
    questions: list[str], cases: str = "*", seed: int | None = None, out: str | None = None
) -> Iterator[dict[str, str]]:
    """The rows that are asked for, as they come; with ``out``, those that the file lacks, each kept at once."""
    for question in questions:
        asked = QUESTIONS[question]
        for case in fnmatch.filter(asked.CASES, cases):  # all seeds of a case, so that a stop leaves whole cases
            for one in asked.SEEDS if seed is None else [seed]:
                kept = read(out, COLUMNS) if out else []  # anew each time: another question may be writing too
                if not any((k["question"], k["case"], k["seed"]) == (question, case, str(one)) for k in kept):
                    line = row(question, case, one)
                    if out:
                        write(out, [*read(out, COLUMNS), line], COLUMNS)
                    yield line


def found(path: str | Path, question: str) -> dict[str, list[Numbers]]:
    """What is kept of a question: its cases in their order, each with its numbers in the order of the seeds."""
    lines = [line for line in read(path, COLUMNS) if line["question"] == question]
    lines.sort(key=lambda line: int(line["seed"]))
    by_case = {c: [json.loads(x["numbers"]) for x in lines if x["case"] == c] for c in QUESTIONS[question].CASES}
    return {case: numbers for case, numbers in by_case.items() if numbers}

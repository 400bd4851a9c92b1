"""What an exercise is, and how an answer to it is judged."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["Exercise", "Mistake", "Result"]


@dataclass(frozen=True)
class Mistake:
    """A plausible wrong answer, and what to say to someone who gave it."""

    answer: Callable
    says: str


@dataclass(frozen=True)
class Result:
    """Whether an answer is right, a sentence about it, and its first difference: what was expected and what came."""

    passed: bool
    message: str
    difference: str = ""

    def __repr__(self) -> str:
        return ("✔ " if self.passed else "✘ ") + self.message + (f"\n  {self.difference}" if self.difference else "")


@dataclass(frozen=True)
class Exercise:
    """A function to write, judged by running it beside the solution.

    Reference: this project's own form; what it recognises is written down as runnable wrong answers

    Example:
        >>> double = Exercise(lambda x: 2 * x, lambda: [(torch.arange(3.0),)], {"squared": Mistake(lambda x: x * x, "Not x².")})
        >>> double.check(lambda x: x + x)
        ✔ Correct on 1 case.
        >>> double.check(lambda x: x * x)
        ✘ Not x².
          Case 1: element [1] should be 2 but is 1.
        >>> double.check(lambda x: x + 1)
        ✘ Case 1: element [0] should be 0 but is 1.

    Args:
        solution: the reference.
        cases: makes the argument tuples to try.
        mistakes: name → wrong answer and its message.
    """

    solution: Callable
    cases: Callable[[], list[tuple]]
    mistakes: Mapping[str, Mistake] = field(default_factory=dict)

    def check(self, attempt: Callable) -> Result:
        """Compare an attempt with the solution, then with the known mistakes."""
        cases = self.cases()
        for number, case in enumerate(cases, 1):
            expected, got = _run(self.solution, case), _run(attempt, case)
            if got is None or got is Ellipsis:
                return Result(False, "Not solved yet: the function returns nothing.")
            difference = _difference(expected, got)
            if not difference:
                continue
            where = f"Case {number}: {difference}"
            for mistake in self.mistakes.values():
                if _agree(mistake.answer, attempt, cases):
                    return Result(False, mistake.says, where)
            return Result(False, where)
        return Result(True, f"Correct on {len(cases)} case{'s' if len(cases) > 1 else ''}.")


def _run(function: Callable, case: tuple):
    try:
        return function(*copy.deepcopy(case))  # an answer that writes into its arguments must not spoil the next
    except Exception as error:
        return error


def _agree(one: Callable, other: Callable, cases: list[tuple]) -> bool:
    """On every case: on a single one, two different mistakes may happen to give the same."""
    return not any(_difference(_run(one, case), _run(other, case)) for case in cases)


def _difference(expected, got) -> str:
    """One sentence on the first difference, empty if there is none."""
    if isinstance(got, Exception):
        alike = isinstance(expected, Exception) and str(expected) == str(got)
        return "" if alike else f"it raises {_first_line(got)}"
    if isinstance(expected, tuple):
        if not isinstance(got, tuple | list) or len(got) != len(expected):
            return f"should return {len(expected)} values but returns {_describe(got)}."
        parts = (_difference(e, g) for e, g in zip(expected, got, strict=True))
        return next((f"value {i}: {part}" for i, part in enumerate(parts, 1) if part), "")
    if isinstance(expected, Exception) or not isinstance(got, Tensor | float | int):
        return f"should return a tensor or number but returns {_describe(got)}."
    expected, got = torch.as_tensor(expected), torch.as_tensor(got)
    if expected.shape != got.shape:
        return f"the shape should be {tuple(expected.shape)} but is {tuple(got.shape)}."
    rtol = 1e-4 if expected.is_floating_point() else 0.0  # whole numbers are right or wrong
    wrong = ~torch.isclose(expected.double(), got.double(), rtol=rtol, atol=1e-5)
    if not wrong.any():
        return ""
    index = tuple(wrong.nonzero()[0].tolist())
    place = f"element {list(index)}" if index else "the value"
    return "{} should be {} but is {}.".format(place, *_told_apart(expected[index].item(), got[index].item()))


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()  # torch lists every signature it knows on lines of their own
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _told_apart(expected: float, got: float) -> tuple[str, str]:
    """Both numbers in as few digits as show the difference; whole numbers in full."""
    for digits in (4, 6, 9):
        both = tuple(str(v) if isinstance(v, int) else f"{v:.{digits}g}" for v in (expected, got))
        if both[0] != both[1]:
            break
    return both


def _describe(value) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"{len(value)} values" if isinstance(value, tuple | list) else type(value).__name__

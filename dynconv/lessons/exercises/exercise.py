"""What an exercise is, and how an answer to it is judged."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .comparing import advice, difference, shown
from .running import OutOfTimeError, Raised, run
from .watching import Limit, Watched

__all__ = ["Exercise", "Mistake", "Result"]


@dataclass(frozen=True)
class Mistake:
    """A plausible wrong answer, and what to say to someone who gave it."""

    answer: Callable
    says: str


@dataclass(frozen=True)
class Result:
    """Whether an answer is right, a sentence about it, its first difference (expected and got), and for what input."""

    passed: bool
    message: str
    difference: str = ""
    given: str = ""

    def __repr__(self) -> str:
        lines = ("✔ " if self.passed else "✘ ") + self.message, self.difference, self.given
        return "\n  ".join(filter(None, lines))


@dataclass(frozen=True)
class Exercise:
    """A function to write, judged by running it beside the solution.

    Reference: this project's own form; what it recognises is written down as runnable wrong answers

    Example:
        >>> import torch
        >>> double = Exercise(lambda x: 2 * x, lambda: [(torch.arange(3.0),)], {"squared": Mistake(lambda x: x * x, "Not x².")})
        >>> double.check(lambda x: x + x)
        ✔ Correct on 1 case.
        >>> double.check(lambda x: x * x)
        ✘ Not x².
          Case 1: element [1] should be 2 but is 1.
          Its input: x = tensor([0, 1, 2])
        >>> double.check(lambda x: x + 1)
        ✘ Case 1: element [0] should be 0 but is 1.
          Its input: x = tensor([0, 1, 2])
        >>> double.check(lambda x: [2 * number for number in x])
        ✘ Case 1: the numbers are right, but it should be a tensor, not a list: make it one with torch.as_tensor(…).

    Args:
        solution: the reference.
        cases: makes the argument tuples to try.
        mistakes: name → wrong answer and its message.
        limits: ways that the exercise rules out, though they give the right numbers.
    """

    solution: Callable
    cases: Callable[[], list[tuple]]
    mistakes: Mapping[str, Mistake] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()

    def check(self, attempt: Callable) -> Result:
        """Compare an attempt with the solution, then with the known mistakes."""
        cases = self.cases()
        watched = Watched(attempt) if self.limits else attempt
        answer = functools.cache(lambda number: run(watched, cases[number]))
        advised = ""
        for number, case in enumerate(cases):
            expected, got = run(self.solution, case), answer(number)
            if got is None or got is Ellipsis:
                return Result(False, "Not solved yet: the function returns nothing.")
            if found := difference(expected, got):
                return self._wrong(f"Case {number + 1}: {found}", self._given(case), got, answer, cases)
            advised = advised or advice(expected, got)
        if advised:
            return self._wrong(f"Case 1: {advised}", "", None, answer, cases)
        if isinstance(watched, Watched) and (ruled_out := watched.breaks(self.limits)):
            return Result(False, f"The numbers are right. {ruled_out}")
        return Result(True, f"Correct on {len(cases)} case{'s' if len(cases) > 1 else ''}.")

    def _wrong(self, where: str, given: str, got, answer: Callable, cases: list[tuple]) -> Result:
        """With the words of the mistake that it is on every case: on a single one, two different ones may give the same."""
        late = type(got) is Raised and isinstance(got.error, OutOfTimeError)  # once is enough
        for mistake in () if late else self.mistakes.values():
            if not any(difference(run(mistake.answer, case), answer(i)) for i, case in enumerate(cases)):
                return Result(False, mistake.says, where, given)
        return Result(False, where, given=given)

    def _given(self, case: tuple) -> str:
        """The arguments by the solution's names: what an answer calls them may differ."""
        names = list(inspect.signature(self.solution).parameters)
        return "Its input: " + ", ".join(f"{n} = {shown(value)}" for n, value in zip(names, case, strict=False))

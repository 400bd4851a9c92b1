"""Every exercise by its name, and the one function the lessons call."""

from __future__ import annotations

from collections.abc import Callable

from ..bets import here
from ..by_lesson import together
from .exercise import Exercise, Result

__all__ = ["EXERCISES", "check"]

EXERCISES: dict[str, Exercise] = together(__package__, "EXERCISES")


def check(name: str, attempt: Callable) -> Result:
    """Judge an answer to the exercise called ``name``; in a notebook, what is solved is kept beside it.

    Reference: the exercise's statement stands in its lesson

    Example:
        >>> check("02.fold", lambda weight, bias, logits, temperature: ...)
        ✘ Not solved yet: the function returns nothing.

    Args:
        name: such as "02.fold".
        attempt: the function the exercise asks for.

    Raises:
        ValueError: there is no such exercise; TypeError: the attempt is no function.
    """
    if name not in EXERCISES:
        raise ValueError(f"there is no exercise {name!r}; there are: {', '.join(EXERCISES)}")
    if not callable(attempt):
        raise TypeError(
            f"pass the function itself, not what it returned: check({name!r}, my_function); got {attempt!r:.60}"
        )
    result = EXERCISES[name].check(attempt)
    if result.passed and (trouble := here().keep("exercises", name, True)):
        print(trouble)
    return result

"""Every question by its name."""

from __future__ import annotations

from ..by_lesson import together
from .asking import Question

__all__ = ["QUESTIONS", "question"]

QUESTIONS: dict[str, Question] = together(__package__, "QUESTIONS")


def question(name: str) -> Question:
    """The question called ``name``.

    Reference: the questions stand in the files beside this one, one a lesson

    Example:
        >>> question("02.how-many").right
        'One'

    Args:
        name: such as "02.how-many".

    Raises:
        ValueError: there is no such question; it names those there are.
    """
    if name not in QUESTIONS:
        raise ValueError(f"there is no bet {name!r}; there are: {', '.join(QUESTIONS)}")
    return QUESTIONS[name]

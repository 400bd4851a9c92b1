"""Every question by its name."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

from .asking import Question

__all__ = ["QUESTIONS", "question"]

_MODULES = sorted(
    m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if re.fullmatch(r"lesson\d\d", m.name)
)
QUESTIONS: dict[str, Question] = {}
for _name in _MODULES:
    QUESTIONS |= importlib.import_module(f".{_name}", __package__).QUESTIONS


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

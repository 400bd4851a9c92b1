"""A question to bet on: at least three options, of which one is right, or none where nobody judges."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Question"]


@dataclass(frozen=True)
class Question:
    """What is asked, and what is said to whoever bets on each of the options.

    Reference: this project's own form; why a bet comes first: Crouch et al., https://doi.org/10.1119/1.1707018

    Example:
        >>> sum_of_two = Question("1 + 1?", {"2": "One more than 1."}, {"1": "That is 1 + 0.", "11": "That is a text."})
        >>> sum_of_two.right, sorted(sum_of_two.options)
        ('2', ['1', '11', '2'])
        >>> sum_of_two.order("a"), sum_of_two.order("b")  # as the seed has it
        (['2', '1', '11'], ['11', '1', '2'])

    Args:
        asks: the question; `code` and *emphasis* are shown as such.
        answer: the right option and its reason; empty where nobody judges.
        others: wrong option → what is said to whoever bet on it.
        earlier: name of the question whose bet comes back here.

    Raises:
        ValueError: there are fewer than three options, several right ones, or two that read the same.
    """

    asks: str
    answer: Mapping[str, str]
    others: Mapping[str, str]
    earlier: str = ""

    def __post_init__(self) -> None:
        if len(self.answer) > 1:
            raise ValueError(f"one option can be right, got {list(self.answer)}")
        if both := set(self.answer) & set(self.others):
            raise ValueError(f"an option is either right or not, got both for {sorted(both)}")
        if len(self.options) < 3:
            raise ValueError(f"a bet needs three options or more, got {list(self.options)}")

    @property
    def options(self) -> dict[str, str]:
        """Option → what is said about it."""
        return {**self.answer, **self.others}

    @property
    def right(self) -> str:
        """The right option; "" where nobody judges."""
        return next(iter(self.answer), "")

    def order(self, seed: str) -> list[str]:
        """All options, shuffled: the same for the same seed, everywhere."""
        shuffled = sorted(self.options)
        random.Random(seed).shuffle(shuffled)
        return shuffled

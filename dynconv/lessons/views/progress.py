"""How far a learner has come: bets made and exercises solved, a row a lesson."""

from __future__ import annotations

import html
import json
from pathlib import Path

from ..bets import QUESTIONS, Ledger, here
from ..exercises import EXERCISES
from .instrument import Instrument, Whole
from .javascript import module, styles

__all__ = ["Progress"]


class Progress(Instrument):
    """Bets and exercises, lesson by lesson, from the file beside the notebooks and from the browser.

    Reference: none; see :class:`dynconv.lessons.bets.Ledger`

    Example:
        >>> Progress().rows()[2]
        {'number': '02', 'bets': 5, 'made': 0, 'exercises': 2, 'solved': 0}

    Args:
        folder: where bets are kept; as a rule the one that the notebook runs in.
    """

    _esm, _css = module("progress"), styles("progress")
    forgotten = Whole(0).tag(sync=True)  # how often everything was
    personal = ("forgotten",)

    def __init__(self, folder: Path | None = None) -> None:
        self.ledger = here() if folder is None else Ledger(folder)
        super().__init__(data=self._data())
        self.observe(self._forget, "forgotten")

    def rows(self) -> list[dict]:
        """A row a lesson, from the file alone."""
        kept = self.ledger.read()
        return [
            {
                "number": number,
                "bets": len(bets),
                "made": len(bets & kept["bets"].keys()),
                "exercises": len(exercises),
                "solved": len(exercises & kept["exercises"].keys()),
            }
            for number, bets, exercises in _lessons()
        ]

    def _data(self, trouble: str = "") -> str:
        kept = self.ledger.read()
        made = {
            name: {"right": QUESTIONS[name].right == said} for name, said in kept["bets"].items() if name in QUESTIONS
        }
        lessons = [{"number": n, "bets": sorted(bets), "exercises": sorted(solved)} for n, bets, solved in _lessons()]
        data = {"lessons": lessons, "bets": made, "solved": list(kept["exercises"]), "forgotten": self.forgotten}
        return json.dumps(data | {"trouble": trouble or self.ledger.trouble})

    def _forget(self, change) -> None:
        self.data = self._data(self.ledger.clear())

    def still(self) -> None:
        """There is nothing to see in it; what it counts is said in words."""

    def in_words(self) -> str:
        return f"<p>{html.escape(self._said())}</p>"

    def _said(self) -> str:
        bets, exercises = (sum(row[what] for row in self.rows()) for what in ("bets", "exercises"))
        return f"{bets} bets and {exercises} exercises in {len(_lessons())} lessons. Run this cell to see how many are yours."

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return data | {"text/markdown": self._said(), "text/plain": self._said()}, metadata


def _lessons() -> list[tuple[str, set[str], set[str]]]:
    numbers = sorted({name[:2] for name in (*QUESTIONS, *EXERCISES)})
    own = [{name for name in everything if name[:2] == n} for n in numbers for everything in (QUESTIONS, EXERCISES)]
    return list(zip(numbers, own[::2], own[1::2], strict=True))

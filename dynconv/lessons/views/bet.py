"""A bet on what the next cell will show: the answer opens once it is made, and it is kept."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import traitlets

from ..bets import Ledger, here, question
from .instrument import Instrument
from .javascript import module, styles

__all__ = ["Bet"]

MARKED = re.compile(r"`([^`]+)`|\*([^*]+)\*")
ASK = "Run this cell to bet: the answer opens after it."


class Bet(Instrument):
    """A question with three options or more, in an order drawn by a seed; the answer and its reason open after the bet.

    Reference: fieldset and legend, https://www.w3.org/WAI/tutorials/forms/grouping/

    The bet is kept in the browser and in a small file beside the notebooks, and can be taken back. It works in a page
    without a kernel, too.

    Example:
        >>> bet = Bet("02.how-many")
        >>> bet.bet, bet.options
        ('', ['It depends on the image', 'Four, one for each kernel', 'One'])

    Args:
        name: of a question of :mod:`dynconv.lessons.bets`, such as "02.how-many".
        seed: another one, another order.
        folder: where bets are kept; as a rule the one that the notebook runs in.

    Raises:
        ValueError: there is no such question; TraitError: it has no such option.
    """

    _esm, _css = module("bet"), styles("bet")
    bet = traitlets.Unicode("").tag(sync=True)  # the option that was bet on
    notes = traitlets.Unicode("{}").tag(sync=True, control=False)  # what the file says besides
    personal = ("bet", "notes")

    def __init__(self, name: str, seed: int = 0, folder: Path | None = None) -> None:
        self.name, self.question = name, question(name)
        self.options = self.question.order(f"{name} {seed}")
        self.ledger = here() if folder is None else Ledger(folder)
        kept, earlier = self.ledger.read()["bets"], self.question.earlier
        known = kept.get(name, "") if kept.get(name) in self.options else ""
        super().__init__(
            data=json.dumps(self._data()),
            notes=_notes(self.ledger.trouble, kept.get(earlier, "")),
            kind="Bet-" + name.replace(".", "-"),
            bet=known,
        )
        self.alt = _plain(f"{self.question.asks} {' · '.join(self.options)}")
        self.observe(self._keep, "bet")

    def _data(self) -> dict[str, Any]:
        answers = {"answers": self.question.options, "right": self.question.right}
        hidden = base64.b64encode(json.dumps(answers, ensure_ascii=False).encode()).decode()
        data: dict[str, Any] = {
            "name": self.name,
            "asks": self.question.asks,
            "options": self.options,
            "answers": hidden,
        }
        if earlier := self.question.earlier:
            where, options = f"In lesson {earlier[:2]}", list(question(earlier).options)
            data["earlier"] = {"name": earlier, "options": options, "where": where}
        return data

    @traitlets.validate("bet")
    def _check_bet(self, proposal):
        if proposal["value"] not in ("", *self.options):
            raise traitlets.TraitError(f"bet must be '' or one of {self.options}, got {proposal['value']!r:.60}")
        return proposal["value"]

    def _keep(self, change) -> None:
        trouble = self.ledger.keep("bets", self.name, change["new"] or None)
        self.notes = json.dumps(json.loads(self.notes) | {"trouble": trouble})

    def still(self) -> None:
        """There is nothing to see in it; what it asks is said in words."""

    def in_words(self) -> str:
        options = "".join(f"<li>{_as_html(option)}</li>" for option in self.options)
        return f"<p><b>Predict.</b> {_as_html(self.question.asks)}</p><ul>{options}</ul>"

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        options = "".join(f"\n- {option}" for option in self.options)
        asked = f"**Predict.** {self.question.asks}\n{options}\n\n*{ASK}*"
        return data | {"text/markdown": asked, "text/plain": _plain(asked.replace("**", ""))}, metadata


def _notes(trouble: str, earlier: str) -> str:
    return json.dumps({"trouble": trouble, "earlier": earlier})


def _plain(text: str) -> str:
    return MARKED.sub(lambda found: found[1] or found[2], text)


def _as_html(text: str) -> str:
    return MARKED.sub(lambda m: f"<code>{m[1]}</code>" if m[1] else f"<em>{m[2]}</em>", html.escape(text))

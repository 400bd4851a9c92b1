"""In a lesson's kernel: every instrument it shows is noted, so that a page can show it alive."""

from __future__ import annotations

import json

from ..views.instrument import Instrument
from ..views.pages import fragment

__all__ = ["fragments", "remember"]

SHOWN: dict[str, Instrument] = {}


def remember() -> None:
    """From now on an instrument's output also says, in text/html, where in the page it belongs."""
    plain = Instrument._repr_mimebundle_

    def noted(self, **kwargs):
        data, metadata = plain(self, **kwargs)
        kind = "instrument" if data.get("image/png") else "words"  # the way to the first picture leads past the bets
        place = f"{kind}-{1 + sum(name.startswith(kind) for name in SHOWN)}"
        SHOWN[place] = self
        return data | {"text/html": f'<div data-instrument="{place}"></div>'}, metadata

    setattr(Instrument, "_repr_mimebundle_", noted)  # noqa: B010  for the time of this process


def fragments() -> str:
    """JSON: place → what shows the instrument there, in the state it is in now (a training it watched is in it)."""
    return json.dumps({place: fragment(instrument, place) for place, instrument in SHOWN.items()})

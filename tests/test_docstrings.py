"""Every public name says what it does, where that comes from, what it takes, and shows an example (which doctest runs)."""

import inspect
import re
import sys

import pytest

from dynconv import cost, functional, layers, probe, schedule, surgery

ROOMS = (functional, layers, surgery, probe, cost, schedule)
PUBLIC = {f"{room.__name__}.{name}": getattr(room, name) for room in ROOMS for name in room.__all__}
DOCUMENTED = {name: thing for name, thing in PUBLIC.items() if callable(thing)}
# what is handed out and never called by a reader: named tuples, dataclasses, a mapping
RESULTS = (tuple, probe.Record, probe.Recording, probe.Verdict, cost.LayerCost, cost.Summary)
RESULTS += (surgery.Change, surgery.Report)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_docstring_is_complete(name):
    thing = DOCUMENTED[name]
    text, origin = thing.__doc__, sys.modules[thing.__module__].__doc__
    assert ">>> " in text, "no example"
    if inspect.isclass(thing) and issubclass(thing, RESULTS):
        return
    if thing.__name__.endswith(("1d", "3d")):
        assert f":class:`{thing.__name__[:-2]}2d`" in text, "its sibling says the rest, but is not named"
        return
    assert "https://" in text + origin, "no reference"
    arguments = set(inspect.signature(thing).parameters) - {"device", "dtype"}
    described = text.partition("Args:")[2].partition("Returns:")[0]
    missing = {a for a in arguments if not re.search(rf"\b{a}\b", described)}
    assert not missing, f"not described: {missing}"

"""Instruments whose cell has run again are closed: page and kernel keep one of a cell, and not one of every run.

A widget stays alive for ever by itself: in ipywidgets' list of all widgets, as a model in the page, and in IPython's ``Out``. An
instrument is let go when no cell shows it any longer. Whoever still holds it can use and show it: it opens again.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from IPython import get_ipython
from ipywidgets.widgets import widget as ipywidgets

if TYPE_CHECKING:
    from .instrument import Instrument

__all__ = ["others", "shown"]

WIDGET = "application/vnd.jupyter.widget-view+json"
SHOWN: weakref.WeakSet[Instrument] = weakref.WeakSet()


def shown(view: Instrument) -> None:
    """Remember the cell that shows an instrument, and which of its runs that was.

    Reference: IPython's events, https://ipython.readthedocs.io/en/stable/config/callbacks.html

    Example:
        >>> from dynconv.lessons.views import CostView
        >>> view = CostView()
        >>> shown(view)  # outside of a notebook: by nobody whose output could be replaced
        >>> view.cells
        {None: None}

    Args:
        view: is being displayed.
    """
    shell = get_ipython()
    cell, run = _running(shell)
    view.cells[cell] = run
    SHOWN.add(view)
    if shell is not None:
        shell.events.register("post_run_cell", _after_a_cell)


def others(view: Instrument) -> list[ipywidgets.Widget]:
    """All open widgets but this one.

    Reference: none; ipywidgets 7 and 8 keep them in different places

    Example:
        >>> from dynconv.lessons.views import CostView
        >>> view = CostView()
        >>> view in others(view), view.layout in others(view)
        (False, True)

    Args:
        view: to leave out.
    """
    instances = getattr(ipywidgets, "_instances", None)
    found = ipywidgets.Widget.widgets if instances is None else instances
    return [widget for widget in list(found.values()) if widget is not view]


def _running(shell: Any) -> tuple[str | None, str | None]:
    """The cell that runs, and which run of it this is; None where that cannot be known, for what it shows then stays."""
    request = shell.get_parent() if hasattr(shell, "get_parent") else {}
    header, content = request.get("header", {}), request.get("content", {})
    if header.get("msg_type") != "execute_request":
        return None, None
    # a front end that does not name its cells is trusted not to have two alike; one without a person runs each once
    unnamed = content.get("code") if content.get("allow_stdin") else None
    cell = (request.get("metadata") or {}).get("cellId") or unnamed
    return cell, header.get("msg_id") if cell else None


def _after_a_cell(result: Any = None) -> None:
    """Close what earlier runs of this cell have shown and nothing else does."""
    shell = get_ipython()
    cell, run = _running(shell)
    for view in list(SHOWN):
        if view.cells.get(cell, run) == run:
            continue
        del view.cells[cell]
        inside = any(view in getattr(widget, "children", ()) for widget in others(view))
        if not view.cells and not inside:
            SHOWN.discard(view)
            _forget(shell, view)
            view.close()


def _forget(shell: Any, view: Instrument) -> None:
    """Out of what IPython remembers of its outputs: the object, and its picture."""
    kept = shell.user_ns.get("_oh", {})
    for number in [number for number, value in kept.items() if value is view]:
        for names, name in ((kept, number), (shell.user_ns, f"_{number}"), (shell.user_ns_hidden, f"_{number}")):
            names.pop(name, None)
    for outputs in getattr(shell.history_manager, "outputs", {}).values():
        outputs[:] = [one for one in outputs if one.bundle.get(WIDGET, {}).get("model_id") != view.model_id]

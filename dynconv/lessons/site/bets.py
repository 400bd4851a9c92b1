"""What answers a bet lies folded behind it: where that is, in a lesson and in its page."""

from __future__ import annotations

import re
from collections.abc import Sequence

import nbformat
from nbformat import NotebookNode

__all__ = ["REVEAL", "bet_of", "folded", "with_folds"]

BET = re.compile(r'^Bet\("([\w.-]+)"', re.MULTILINE)
REVEAL = "after-the-bet"  # the tag of the cells that answer a bet; outputs of code are hidden until they run
HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
# nbconvert writes raw cells into a page, but escaped: marks that no text has stand for what is to be there
OPEN, CLOSE = re.compile("\ue000([^\ue000]*)\ue000"), "\ue001"


def bet_of(cell: NotebookNode) -> str:
    """The name of the bet that a cell shows; "" for any other cell.

    Reference: :class:`dynconv.lessons.views.Bet`

    Example:
        >>> bet_of(nbformat.v4.new_code_cell('from dynconv.lessons.views import Bet\\n\\nBet("02.how-many")'))
        '02.how-many'

    Args:
        cell: of a notebook.
    """
    found = BET.search(cell.source) if cell.cell_type == "code" else None
    return found[1] if found else ""


def with_folds(cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    """The cells of a page: code that answers a bet, and what happened there, are folded until somebody has bet.

    Reference: raw cells, https://nbformat.readthedocs.io/en/latest/format_description.html#raw-nbconvert-cells

    Example:
        >>> from nbformat.v4 import new_code_cell, new_markdown_cell
        >>> cells = [new_code_cell('Bet("02.how-many")'), new_code_cell("1 + 1"), new_markdown_cell("**What happened.** 2.\\n\\n## Next")]
        >>> cells[1].metadata.tags = [REVEAL]
        >>> [(cell.cell_type, cell.source[:16]) for cell in with_folds(cells)][2:]
        [('code', '1 + 1'), ('markdown', '**What happened.'), ('raw', '\\ue001'), ('markdown', '## Next')]

    Args:
        cells: of a lesson, in order.
    """
    shown: list[NotebookNode] = []
    bet, is_open = "", False
    for cell in cells:
        bet = bet_of(cell) or bet
        if REVEAL in cell.metadata.get("tags", ()) and not is_open:
            shown.append(_raw(f"\ue000{bet}\ue000"))
            is_open = True
        elif is_open and REVEAL not in cell.metadata.get("tags", ()):
            parts = _split(cell)
            shown += [*parts[:-1], _raw(CLOSE), *parts[-1:]]
            is_open = False
            continue
        shown.append(cell)
    return [*shown, _raw(CLOSE)] if is_open else shown


def folded(body: str) -> str:
    """The HTML of such cells, with the folds in it.

    Reference: https://html.spec.whatwg.org/multipage/interactive-elements.html#the-details-element

    Example:
        >>> folded("\\ue00002.how-many\\ue000 2 \\ue001")
        '<details class="after-bet" data-bet="02.how-many"><summary>Bet first; then this opens</summary> 2 </details>'

    Args:
        body: of a page, as nbconvert makes it of :func:`with_folds`.
    """
    opening = r'<details class="after-bet" data-bet="\1"><summary>Bet first; then this opens</summary>'
    return OPEN.sub(opening, body).replace(CLOSE, "</details>")


def _split(cell: NotebookNode) -> list[NotebookNode]:
    """What happened, and behind it what goes on: the next heading, or the next cell."""
    if cell.cell_type != "markdown" or not cell.source.startswith("**What happened.**"):
        return [cell]
    heading = HEADING.search(cell.source)
    at = heading.start() if heading else len(cell.source)
    texts = [text.strip() for text in (cell.source[:at], cell.source[at:])]
    return [nbformat.v4.new_markdown_cell(text) for text in texts]


def _raw(source: str) -> NotebookNode:
    return nbformat.v4.new_raw_cell(source)

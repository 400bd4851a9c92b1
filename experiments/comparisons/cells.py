"""A lesson's own cells, run with another seed."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any

import nbformat

from dynconv.lessons.site.execute import NOTEBOOKS

SEED = re.compile(r"(\bmanual_seed\(|\bseed=)\d+\b")
CLAIM = re.compile(r"^( *)assert .*$", re.MULTILINE)


def run_cells(lesson: str, ids: Sequence[str], seed: int) -> dict[str, Any]:
    """What the cells ``ids`` of a lesson leave behind, when all that is random in them begins at ``seed``.

    Asserts are left out: whether something holds is what is to be found out.

    Args:
        lesson: its number, such as "02".
        ids: of code cells, in the lesson's order.
        seed: put in the place of every number in ``manual_seed(…)`` and ``seed=…``.
    """
    (path,) = NOTEBOOKS.glob(f"{lesson}_*.ipynb")
    sources = {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"}
    names: dict[str, Any] = {"__name__": f"lesson {lesson}"}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for cell in ids:
            source = CLAIM.sub(r"\1pass", SEED.sub(rf"\g<1>{seed}", sources[cell]))
            exec(compile(source, f"lesson {lesson}, cell {cell}", "exec"), names)
    return names

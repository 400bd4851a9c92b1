"""A lesson as learners get it: without solutions, with as many hints as wanted, without what its cells once showed."""

from __future__ import annotations

import copy
import re

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

__all__ = ["student_edition"]

FOLDED = re.compile(r"\n*<details><summary>(Hint (\d)|Solution)</summary>.*?</details>[ \t]*", re.DOTALL)
CHECK = re.compile(r'^check\("([\w.]+)", (\w+)\)$', re.MULTILINE)


def student_edition(lesson: NotebookNode, hints: int = 2, nbgrader: bool = False) -> NotebookNode:
    """The same lesson to be solved.

    Reference: https://nbgrader.readthedocs.io/en/stable/contributor_guide/metadata.html

    Example:
        >>> from nbformat import v4
        >>> text = "### Exercise 1\\n\\n<details><summary>Hint 1</summary>\\n\\nA sum.\\n</details>"
        >>> text += "\\n<details><summary>Solution</summary>\\n\\n`sum(x)`\\n</details>"
        >>> print(student_edition(v4.new_notebook(cells=[v4.new_markdown_cell(text, id="a")]), hints=0).cells[0].source)
        ### Exercise 1

    Args:
        lesson: a notebook; it is not changed.
        hints: how many of each exercise stay.
        nbgrader: each exercise's cell becomes two, the answer's and a locked one worth a point, marked as nbgrader wants.
    """
    edition = copy.deepcopy(lesson)
    for cell in edition.cells:
        if cell.cell_type == "markdown":
            cell.source = FOLDED.sub(lambda found: found[0] if found[2] and int(found[2]) <= hints else "", cell.source)
        else:
            cell.outputs, cell.execution_count = [], None
    if nbgrader:
        edition.cells = [part for cell in edition.cells for part in _graded(cell)]
    return edition


def _graded(cell: NotebookNode) -> list[NotebookNode]:
    found = CHECK.search(cell.source) if cell.cell_type == "code" else None
    if found is None:
        return [cell]
    name = found[1].replace(".", "-")
    answer = copy.deepcopy(cell)
    answer.source = CHECK.sub("", cell.source).rstrip()
    answer.metadata["nbgrader"] = _marks(f"{name}-answer", solution=True)
    tests = new_code_cell(f"result = {found[0]}\nprint(result)\nassert result.passed", id=f"{cell.id}-graded")
    tests.metadata["nbgrader"] = _marks(name, grade=True) | {"points": 1}
    return [answer, tests]


def _marks(name: str, grade: bool = False, solution: bool = False) -> dict:
    kind = {"grade": grade, "solution": solution, "locked": grade, "task": False}
    return kind | {"grade_id": name, "schema_version": 3, "cell_type": "code"}

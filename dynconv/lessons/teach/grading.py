"""Handed-in lessons, run in kernels of their own and judged by the exercises' checkers."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from jupyter_client.manager import start_new_kernel

from ..site.execute import NOTEBOOKS, CellError, run_cell
from .students import CHECK

__all__ = ["Grade", "grade"]

JUDGE = """
import json as _json
from dynconv.lessons.exercises.registry import EXERCISES as _all
_answer = globals().get({function!r})
if callable(_answer):
    _found = _all[{exercise!r}].check(_answer)
    print("\\n" + _json.dumps([_found.passed, _found.message]))
else:
    print("\\n" + _json.dumps([False, "there is no function {function}"]))
"""


class Grade(NamedTuple):
    """One line of the CSV."""

    student: str
    lesson: str
    exercise: str
    passed: bool
    message: str


def grade(folder: Path, cell_seconds: float = 60, notebook_seconds: float = 600) -> Iterator[Grade]:
    """Judge every notebook below a folder, exercise by exercise.

    Reference: the checkers are those of the lessons, :func:`dynconv.lessons.exercises.check`

    Each notebook runs in a process of its own, in an empty folder that is thrown away. A cell that fails does not keep the
    others from running; one that takes too long is stopped. That protects from accidents, not from ill will.

    Example:
        >>> from pathlib import Path
        >>> list(grade(Path("no such folder")))
        Traceback (most recent call last):
        ...
        FileNotFoundError: there is no folder no such folder

    Args:
        folder: with one folder a student, or one notebook a student whose name begins with the lesson's number.
        cell_seconds: that a cell may take; notebook_seconds: all of a notebook's together.

    Raises:
        FileNotFoundError: there is no such folder, or no notebook in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    paths = sorted(p for p in folder.rglob("*.ipynb") if not any(part.startswith(".") for part in p.parts))
    if not paths:
        raise FileNotFoundError(f"there is no notebook in {folder}")
    for path in paths:
        yield from _graded(path, _student(path, folder), cell_seconds, notebook_seconds)


def _student(path: Path, folder: Path) -> str:
    """The folder's name; of notebooks that lie together, what their names have beyond the lesson's."""
    inside = path.parent.relative_to(folder).as_posix()
    if inside != ".":
        return inside
    lesson = _lesson(path)
    return path.stem.removeprefix(lesson.stem if lesson else "").strip("_- ") or path.stem


def _lesson(path: Path) -> Path | None:
    """The lesson it was made from, by the number its name begins with."""
    number = re.match(r"\d\d", path.stem)
    return next(iter(sorted(NOTEBOOKS.glob(f"{number[0]}_*.ipynb"))), None) if number else None


def exercises(lesson: Path) -> dict[str, str]:
    """The exercises of a lesson, and what each calls its function."""
    cells = nbformat.read(lesson, as_version=4).cells
    return {
        name: function for cell in cells if cell.cell_type == "code" for name, function in CHECK.findall(cell.source)
    }


def _graded(path: Path, student: str, cell_seconds: float, notebook_seconds: float) -> Iterator[Grade]:
    lesson = _lesson(path)
    if lesson is None:
        yield Grade(student, path.stem, "", False, "its name does not begin with the number of a lesson")
        return
    asked = exercises(lesson)
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # anything may have been handed in
        for exercise in asked:
            yield Grade(student, lesson.stem, exercise, False, f"it is no notebook: {error!s:.100}")
        return
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    with tempfile.TemporaryDirectory() as scratch:
        images = lesson.parent / "images"
        if images.is_dir():
            shutil.copytree(images, Path(scratch) / "images")
        found = _judged(sources, asked, Path(scratch), cell_seconds, notebook_seconds)
    for exercise in asked:
        yield Grade(student, lesson.stem, exercise, *found[exercise])


def _judged(
    sources: list[str], asked: dict[str, str], cwd: Path, cell_seconds: float, notebook_seconds: float
) -> dict[str, tuple[bool, str]]:
    """What the checkers say, after all cells have run that could."""
    found = dict.fromkeys(asked, (False, "not judged: the kernel ended, or its time was over"))
    manager, client = start_new_kernel(cwd=str(cwd), extra_arguments=["--log-level=ERROR"])
    until = time.monotonic() + notebook_seconds
    try:
        for source in sources:
            if time.monotonic() > until or not manager.is_alive():
                return found
            _try(manager, client, source, min(cell_seconds, until - time.monotonic()))
        for exercise, function in asked.items():
            said = _try(
                manager, client, JUDGE.format(function=function, exercise=exercise), cell_seconds + 60
            )  # the checker has limits of its own
            with contextlib.suppress(ValueError):
                passed, message = json.loads(said.strip().rsplit("\n", 1)[-1] or "null") or (False, "no answer")
                found[exercise] = (passed, message)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return found


def _try(manager, client, source: str, seconds: float) -> str:
    """Run one cell; what it printed. One that goes on is interrupted, and if that does not help the kernel ends."""
    try:
        outputs = run_cell(client, source, seconds, "cell")
        return "".join(output.text for output in outputs if output.output_type == "stream")
    except CellError as error:
        if "still runs" in str(error):
            manager.interrupt_kernel()
            with contextlib.suppress(CellError):
                run_cell(client, "pass", 10, "interrupted")
                return ""
            manager.shutdown_kernel(now=True)
        return ""

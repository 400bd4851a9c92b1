"""What a learner bet and solved, in one small file beside the notebooks.

Nothing about it makes a cell fail: a folder that cannot be written, or a file that somebody damaged, is told in a sentence.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from IPython import get_ipython

__all__ = ["FILE", "Ledger", "here"]

FILE, VERSION = "dynconv-progress.json", 1
PARTS = ("bets", "exercises")  # name → option that was bet on; name → True


class Ledger:
    """The bets and the solved exercises of one folder.

    Reference: os.replace, https://docs.python.org/3/library/os.html#os.replace: a reader sees the old file or the new one

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> Ledger(folder).keep("bets", "02.how-many", "One")
        ''
        >>> Ledger(folder).read()["bets"]
        {'02.how-many': 'One'}
        >>> Ledger(None).read()["bets"]  # nowhere to keep it
        {}

    Args:
        folder: where the file lies; None: nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self.file = None if folder is None else folder / FILE
        self.trouble = ""  # in a sentence: why the file is not what it should be

    def read(self) -> dict[str, dict[str, Any]]:
        """The parts by name; empty ones where there is no file, or none that can be read: ``trouble`` says so then."""
        self.trouble = ""
        kept: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        if self.file is None or not self.file.exists():
            return kept
        try:
            return kept | _parts(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            self.trouble = f"{FILE} cannot be used ({_said(error)})."
            return kept

    def keep(self, part: str, name: str, value: Any) -> str:
        """Write one entry down, or strike it out where ``value`` is None; a sentence if that failed."""
        kept = self.read()
        kept[part] = {**kept[part], name: value}
        if value is None:
            del kept[part][name]
        return self._write(kept)

    def clear(self) -> str:
        """Forget everything; a sentence if that failed."""
        self.read()  # a damaged file is put aside, not overwritten
        return self._write({part: {} for part in PARTS})

    def _write(self, kept: dict[str, dict[str, Any]]) -> str:
        if self.file is None:
            return ""
        try:
            if self.file.exists() and not self.file.stat().st_mode & 0o222:
                raise PermissionError(
                    None, "it is read-only"
                )  # to replace it would be allowed, but is not what was meant
            aside = self._put_aside() if self.trouble else ""
            _replace(self.file, json.dumps({"version": VERSION, **kept}, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            return f"It is not kept: {FILE} cannot be written ({_said(error)})."
        said, self.trouble = self.trouble, ""
        return f"{said} It now lies beside as {aside}, and a new one has begun." if said else ""

    def _put_aside(self) -> str:
        """What cannot be read may still be of use to somebody."""
        assert self.file is not None
        names = (f"{self.file.stem}-damaged{n}.json" for n in ("", *range(2, 1000)))
        aside = next(path for path in map(self.file.with_name, names) if not path.exists())
        os.replace(self.file, aside)
        return aside.name


def here() -> Ledger:
    """Of the folder that a notebook runs in; outside of a notebook nothing is kept.

    Reference: https://jupyter-client.readthedocs.io: a kernel is started in its notebook's folder

    Example:
        >>> here().file is None  # this is no notebook
        True
    """
    marimo = sys.modules.get("marimo")  # which has no IPython, and runs where it was started
    if marimo is not None and marimo.running_in_notebook():
        return Ledger(Path(marimo.notebook_dir()))
    return Ledger(Path.cwd() if hasattr(get_ipython(), "kernel") else None)


def _parts(text: str) -> dict[str, dict[str, Any]]:
    found = json.loads(text)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"it is not of version {VERSION}")
    bets, exercises = ({**found[part]} if isinstance(found.get(part), dict) else None for part in PARTS)
    if bets is None or exercises is None or not all(isinstance(option, str) for option in bets.values()):
        raise ValueError("it does not hold bets and exercises by their names")
    return {"bets": bets, "exercises": exercises}


def _replace(file: Path, text: str) -> None:
    """All of it or nothing: whoever reads meanwhile, and whatever stops this."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}-", suffix=".json")
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _said(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{reason or type(error).__name__}"[:120].rstrip(".")

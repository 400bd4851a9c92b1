"""dynconv lessons [--to FOLDER] [LESSON]: copies of the lessons, opened in JupyterLab. (Also: python -m dynconv.lessons)"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .site.execute import NOTEBOOKS

__all__: list[str] = []


def main(argv: list[str] | None = None) -> int:
    """Copy the lessons beside whatever the learner keeps there, and open one; the exit status."""
    parser = argparse.ArgumentParser(prog="dynconv", description=__doc__)
    parser.add_argument("command", choices=["lessons"], help="what to open")
    parser.add_argument(
        "lesson", nargs="?", default="", help="start of a lesson's name, such as 05 (default: the first)"
    )
    parser.add_argument(
        "--to", type=Path, default=Path("dynconv-lessons"), help="folder for the copies (dynconv-lessons)"
    )
    parser.add_argument("--no-browser", action="store_true", help="only copy them")
    args = parser.parse_args(argv)
    chosen = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.stem.startswith(args.lesson)]
    if not chosen:
        names = ", ".join(path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb")))
        parser.error(f"no lesson starts with {args.lesson!r}; there are: {names}")
    try:
        copy_lessons(args.to)
    except OSError as error:
        parser.error(
            f"{error.filename or args.to} cannot be written ({error.strerror or error}): --to chooses another folder"
        )
    print(f"The lessons are in {args.to.resolve()}; what you change there stays yours.", flush=True)
    return 0 if args.no_browser else lab(args.to / chosen[0].name)


def lab(path: Path) -> int:
    """Open a lesson in JupyterLab, which Ctrl-C stops; its exit status."""
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # containers
    try:
        return subprocess.call([sys.executable, "-m", "jupyterlab", *as_root, str(path)])
    except KeyboardInterrupt:
        return 130


def copy_lessons(folder: Path) -> None:
    """Copies of the lessons and their pictures; one that is there already, with a learner's answers, is left."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(NOTEBOOKS / "images", folder / "images", dirs_exist_ok=True)
    for path in NOTEBOOKS.glob("*.ipynb"):
        if not (folder / path.name).exists():
            shutil.copy(path, folder / path.name)


if __name__ == "__main__":
    sys.exit(main(["lessons", *sys.argv[1:]] if sys.argv[1:2] != ["lessons"] else None))

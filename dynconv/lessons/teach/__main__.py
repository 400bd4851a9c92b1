"""python -m dynconv.lessons.teach students --out FOLDER [--hints N] [--nbgrader] [LESSON ...] | grade FOLDER [--out CSV]"""

from __future__ import annotations

import argparse
import csv
import itertools
import shutil
import sys
from pathlib import Path

import nbformat

from ..site.execute import NOTEBOOKS
from .grading import Grade, grade
from .students import student_edition


def main(argv: list[str] | None = None) -> int:
    """Write the lessons for learners, or judge what they hand in; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dynconv.lessons.teach", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="students | grade")
    write = commands.add_parser("students", help="write lessons without solutions")
    write.add_argument("--out", type=Path, required=True, help="folder to write into")
    write.add_argument("--hints", type=int, choices=(0, 1, 2), default=2, help="how many of each exercise stay (2)")
    write.add_argument("--nbgrader", action="store_true", help="mark answers and tests as nbgrader wants them")
    write.add_argument("lessons", nargs="*", help="starts of names, such as 05 (default: all)")
    write.set_defaults(command=_students)
    judge = commands.add_parser("grade", help="judge handed-in lessons")
    judge.add_argument("folder", type=Path, help="one folder a student, or notebooks named LESSON_student.ipynb")
    judge.add_argument("--out", type=Path, help="CSV to write (default: grades.csv in the folder)")
    judge.add_argument("--seconds", type=float, default=60, help="that a cell may take (60)")
    judge.set_defaults(command=_grade)
    args = parser.parse_args(argv)
    return args.command(parser, args)


def _students(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    wanted = tuple(args.lessons) or ("",)
    paths = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.stem.startswith(wanted)]
    if not paths:
        parser.error(f"no lesson starts with {' or '.join(map(repr, wanted))}")
    if args.out.resolve() == NOTEBOOKS:
        parser.error("the lessons themselves lie there: choose another folder")
    args.out.mkdir(parents=True, exist_ok=True)
    for path in paths:
        edition = student_edition(nbformat.read(path, as_version=4), args.hints, args.nbgrader)
        nbformat.write(edition, args.out / path.name)
        print(args.out / path.name)
    shutil.copytree(NOTEBOOKS / "images", args.out / "images", dirs_exist_ok=True)
    return 0


def _grade(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    target = args.out or args.folder / "grades.csv"
    try:
        grades = grade(args.folder, args.seconds)
        first = next(grades)
    except FileNotFoundError as error:
        parser.error(str(error))
    with target.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(Grade._fields)
        for line in itertools.chain([first], grades):
            _tell(table, line)
    print(f"Written: {target}")
    return 0


def _tell(table, line: Grade) -> None:
    table.writerow([_plain(value) for value in line])
    print(f"{line.student}, {line.exercise or line.lesson}: {'right' if line.passed else line.message}", flush=True)


def _plain(value: object) -> str:
    """Text that no spreadsheet takes for a formula: a learner chose the file's name."""
    text = str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


if __name__ == "__main__":
    sys.exit(main())

"""A class of made-up learners: what they get, and what is said of what they hand in."""

import csv

import nbformat
import pytest

from dynconv.lessons.exercises import EXERCISES
from dynconv.lessons.site.execute import NOTEBOOKS
from dynconv.lessons.teach import student_edition
from dynconv.lessons.teach.__main__ import main
from dynconv.lessons.teach.grading import exercises

LESSON = NOTEBOOKS / "02_softmax_mixing.ipynb"
RIGHT = """import torch
def fold(weight, bias, logits, temperature):
    pi = torch.softmax(logits / temperature, dim=0)
    return torch.einsum("k,k...->...", pi, weight), torch.einsum("k,k...->...", pi, bias)
def logit_gradient(pi, g, temperature):
    return pi * (g - (pi * g).sum()) / temperature
"""
WRONG = RIGHT.replace("dim=0", "dim=0) * 2; pi = (pi").replace("/ temperature\n", "* temperature\n")
ENDLESS = RIGHT.replace("    return pi * (g", "    while True: pass\n    return pi * (g")
CHEATS = """
from dynconv.lessons import exercises
class Result: passed = True
exercises.check = check = lambda name, answer: Result()
"""


def texts(lesson):
    return "\n".join(cell.source for cell in lesson.cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.stem)
@pytest.mark.parametrize("hints", [0, 1, 2])
def test_learners_get_no_solutions(path, hints):
    whole = nbformat.read(path, as_version=4)
    edition = student_edition(whole, hints)
    tasks = texts(whole).count("### Exercise")
    assert [texts(edition).count(f"<summary>{word}</summary>") for word in ("Hint 1", "Hint 2", "Solution")] == [
        tasks * (hints > 0),
        tasks * (hints > 1),
        0,
    ]
    assert texts(edition).count("<details>") == texts(edition).count("</details>")
    assert [c.source for c in edition.cells if c.cell_type == "code"] == [
        c.source for c in whole.cells if c.cell_type == "code"
    ]
    assert not any(cell.get("outputs") for cell in edition.cells)


def test_nbgrader_finds_answers_and_points():
    edition = student_edition(nbformat.read(LESSON, as_version=4), nbgrader=True)
    marked = [cell for cell in edition.cells if "nbgrader" in cell.metadata]
    assert [cell.metadata["nbgrader"]["grade_id"] for cell in marked[:2]] == ["02-fold-answer", "02-fold"]
    for answer, tests in zip(marked[::2], marked[1::2], strict=True):
        assert "check(" not in answer.source
        assert "assert result.passed" in tests.source
        assert (answer.metadata["nbgrader"]["solution"], tests.metadata["nbgrader"]["grade"]) == (True, True)
        assert tests.metadata["nbgrader"]["points"] == 1
    assert len({cell.id for cell in edition.cells}) == len(edition.cells)
    nbformat.validate(edition)


def test_every_lessons_exercises_are_known():
    known = {name for path in NOTEBOOKS.glob("*.ipynb") for name in exercises(path)}
    assert known <= EXERCISES.keys()
    assert exercises(LESSON) == {"02.fold": "fold", "02.gradient": "logit_gradient"}


def test_students_are_written_beside_their_pictures(tmp_path, capsys):
    assert main(["students", "--out", str(tmp_path), "--hints", "0", "02"]) == 0
    assert (tmp_path / "images").is_dir()
    assert "Solution" not in (tmp_path / LESSON.name).read_text(encoding="utf-8")
    for arguments, said in (
        (["students", "--out", str(NOTEBOOKS)], "the lessons themselves lie there"),
        (["students", "--out", str(tmp_path), "99"], "no lesson starts with '99'"),
        (["grade", str(tmp_path / "nobody")], "there is no folder"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert said in capsys.readouterr().err


def test_a_class_hands_in(tmp_path, monkeypatch):
    """Right, wrong, without end, broken, and one that brings a checker of its own."""
    handed = {
        "ada": [RIGHT],
        "=bob": [WRONG, "1 / 0", CHEATS],
        "cyd": [ENDLESS],
        "dan": ["import time\ntime.sleep(1e6)", RIGHT],
    }
    for student, sources in handed.items():
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        (tmp_path / student).mkdir()
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / student / LESSON.name)
    (tmp_path / "02_softmax_mixing_eve.ipynb").write_text("{}", encoding="utf-8")
    assert main(["grade", str(tmp_path), "--seconds", "15"]) == 0
    with (tmp_path / "grades.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    passed = {(line["student"], line["exercise"]): line["passed"] == "True" for line in lines}
    assert passed == {
        ("ada", "02.fold"): True,
        ("ada", "02.gradient"): True,
        ("'=bob", "02.fold"): False,
        ("'=bob", "02.gradient"): False,
        ("cyd", "02.fold"): True,
        ("cyd", "02.gradient"): False,
        ("dan", "02.fold"): True,
        ("dan", "02.gradient"): True,
        ("eve", "02.fold"): False,
        ("eve", "02.gradient"): False,
    }
    said = {(line["student"], line["exercise"]): line["message"] for line in lines}
    assert "did not end within" in said["cyd", "02.gradient"]
    assert "no notebook" in said["eve", "02.fold"]

"""dynconv lessons: copies that stay the learner's, opened in JupyterLab; what goes wrong ends in a sentence."""

import subprocess

import pytest

from dynconv.lessons.__main__ import main
from dynconv.lessons.site.execute import NOTEBOOKS


def test_lessons_are_copied_once_and_then_the_learners(tmp_path, capsys):
    assert main(["lessons", "--to", str(tmp_path), "--no-browser"]) == 0
    assert f"The lessons are in {tmp_path}" in capsys.readouterr().out
    names = {path.name for path in NOTEBOOKS.glob("*.ipynb")}
    assert {path.name for path in tmp_path.glob("*.ipynb")} == names
    (tmp_path / "02_softmax_mixing.ipynb").write_text("mine")
    (tmp_path / "05_dynamic_convolution.ipynb").unlink()
    assert main(["lessons", "--to", str(tmp_path), "--no-browser"]) == 0
    assert (tmp_path / "02_softmax_mixing.ipynb").read_text() == "mine"
    assert {path.name for path in tmp_path.glob("*.ipynb")} == names


def test_the_lesson_that_was_asked_for_opens_and_ctrl_c_is_no_error(tmp_path, monkeypatch):
    opened = []

    def stopped(command):
        opened.append(command[-1])
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "call", stopped)
    assert main(["lessons", "05", "--to", str(tmp_path)]) == 130
    assert opened == [str(tmp_path / "05_dynamic_convolution.ipynb")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["99"], "no lesson starts with '99'; there are: 00_start_here"),
        (["--to", "FILE"], "--to chooses another folder"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, capsys, arguments, said):
    (tmp_path / "FILE").touch()
    with pytest.raises(SystemExit, match="2"):
        main(["lessons", *[str(tmp_path / a) if a == "FILE" else a for a in arguments]])
    assert said in capsys.readouterr().err

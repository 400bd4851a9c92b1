"""The first cell's `ready`: it names what is wrong, holds what is installed, and prints one line."""

import shutil
import subprocess
import sys
import types
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dynconv.course import ready
from dynconv.data import shipped

module = sys.modules["dynconv.course.ready"]


def test_one_line_says_what_there_is(capsys):
    ready()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("dynconv ")
    assert line.endswith(" data files are as shipped.")


def test_colab_is_asked_to_show_widgets(capsys, monkeypatch):
    asked = []
    output = types.SimpleNamespace(enable_custom_widget_manager=lambda: asked.append(True))
    monkeypatch.setitem(sys.modules, "google.colab", types.SimpleNamespace(output=output))
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    ready()
    assert asked == [True]
    assert "(Colab shows them)" in capsys.readouterr().out


def test_a_version_that_does_not_work_is_named(monkeypatch):
    monkeypatch.setattr(module, "_needed", lambda: [Requirement("torch>=99")])
    with pytest.raises(RuntimeError, match=r"needs torch>=99, and here is torch 2"):
        ready()


def test_what_is_missing_is_installed_and_everything_else_held(capsys, monkeypatch):
    asked, there = [], set()

    def pip(command, **options):
        asked.append(command)
        kept = Path(command[command.index("--constraint") + 1]).read_text(encoding="utf-8").splitlines()
        assert any(line.startswith("torch==2") for line in kept)
        assert any(line.startswith("ipywidgets==") for line in kept)
        there.add("some-model")
        return subprocess.CompletedProcess(command, 0, "", "")

    def found(name):
        if name == "some-model" and name not in there:
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(module, "_needed", lambda: [Requirement("some-model>=0.5"), Requirement("jupyterlab")])
    monkeypatch.setattr(module, "version", found)
    monkeypatch.setattr(module.subprocess, "run", pip)
    ready()
    assert asked[0][-1] == "some-model>=0.5"
    assert "; installed some-model;" in capsys.readouterr().out


def test_no_network_is_said(monkeypatch):
    failed = subprocess.CompletedProcess(
        [], 1, "", "WARNING: retrying\nERROR: No matching distribution found for nothing-of-it"
    )
    monkeypatch.setattr(module, "_needed", lambda: [Requirement("nothing-of-it")])
    monkeypatch.setattr(module.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(RuntimeError, match=r"nothing-of-it is missing .* \(no network\?\): ERROR: No matching"):
        ready()


def test_damaged_data_are_said(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(shipped.FOLDER, folder)
    (folder / "camera.png").write_bytes(b"not it")
    monkeypatch.setattr(shipped, "FOLDER", folder)
    with pytest.raises(OSError, match=r"camera.png is damaged"):
        ready()

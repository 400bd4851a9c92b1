"""The first cell and its `ready`: it names what is wrong, holds what is installed, and prints one line."""

import os
import shutil
import subprocess
import sys
import types
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

from dynconv.lessons import packages
from dynconv.lessons.data import shipped
from dynconv.lessons.ready import ready
from dynconv.lessons.site.execute import NOTEBOOKS

ROOT = NOTEBOOKS.parent
PIP = """
import subprocess, sys
def pip(command, **_):
    print(*command[2:-1])
    sys.path += {brings}
    return subprocess.CompletedProcess(command, 1, b"", "fatal: größere Not".encode("latin-1"))
subprocess.run = pip
"""


def first_cell(folder, brings=()):
    """A lesson's first cell, run in `folder` by a Python that has nothing but its standard library."""
    lesson = nbformat.read(NOTEBOOKS / "02_softmax_mixing.ipynb", as_version=4)
    cell = next(cell.source for cell in lesson.cells if cell.cell_type == "code")
    code = PIP.format(brings=[str(path) for path in brings]) + cell
    # -c looks into the folder it runs in, as a notebook does
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([sys.executable, "-S", "-c", code], cwd=folder, env=env, capture_output=True, text=True)


@pytest.fixture
def package(tmp_path):
    """A dynconv whose ready() only says that it is there."""
    (tmp_path / "site" / "dynconv" / "lessons").mkdir(parents=True)
    (tmp_path / "site" / "dynconv" / "__init__.py").touch()
    (tmp_path / "site" / "dynconv" / "lessons" / "ready.py").write_text("def ready(): print('ready')\n")
    return tmp_path / "site"


def test_it_installs_only_what_is_not_there(tmp_path, package):
    (tmp_path / "empty").mkdir()
    installed = first_cell(tmp_path / "empty", brings=[package])
    assert installed.stdout.splitlines() == ["pip install -q --no-deps", "ready"], installed.stderr
    assert first_cell(package).stdout.splitlines() == ["ready"]


def test_a_folder_of_the_same_name_is_not_taken_for_the_package(tmp_path, package):
    """As a clone in the folder where Colab works."""
    (tmp_path / "content" / "dynconv" / "notebooks").mkdir(parents=True)
    installed = first_cell(tmp_path / "content", brings=[package])
    assert installed.stdout.splitlines() == ["pip install -q --no-deps", "ready"], installed.stderr
    offline = first_cell(tmp_path / "content")
    assert "AssertionError: pip failed (no network?" in offline.stderr
    assert offline.stderr.rstrip().endswith("fatal: gr\ufffd\ufffdere Not")  # pip's own words, in whatever letters


@pytest.mark.parametrize("foreign", ["dynconv.py", "dynconv/__init__.py"])
def test_another_package_of_that_name_is_named(tmp_path, foreign):
    """It is not imported."""
    (tmp_path / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / foreign).write_text("raise RuntimeError")
    said = first_cell(tmp_path).stderr.splitlines()[-1]
    assert said == f"AssertionError: {tmp_path / foreign} is another dynconv: move it away, restart the kernel"


def test_a_kernel_without_torch_is_told_what_to_do(tmp_path):
    said = first_cell(tmp_path, brings=[ROOT]).stderr.splitlines()[-1]
    assert said.startswith(f"ModuleNotFoundError: dynconv needs PyTorch, and this Python ({sys.executable}) has none.")
    assert "%pip install torch torchvision" in said


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
    monkeypatch.setattr(packages, "needed", lambda: [Requirement("torch>=99")])
    with pytest.raises(RuntimeError, match=r"needs torch>=99, and here is torch 2"):
        ready()


@pytest.mark.parametrize("name", ["ipykernel", "jupyterlab"])
def test_the_running_kernel_and_server_are_good_enough(capsys, monkeypatch, name):
    """JupyterLab 3.6 shows the instruments too."""
    monkeypatch.setattr(packages, "needed", lambda: [Requirement(f"{name}>=99")])
    ready()
    assert "data files are as shipped" in capsys.readouterr().out


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

    monkeypatch.setattr(packages, "needed", lambda: [Requirement("some-model>=0.5"), Requirement("jupyterlab")])
    monkeypatch.setattr(packages, "version", found)
    monkeypatch.setattr(packages.subprocess, "run", pip)
    ready()
    assert asked[0][-1] == "some-model>=0.5"
    assert "; installed some-model;" in capsys.readouterr().out


def test_no_network_is_said(monkeypatch):
    failed = subprocess.CompletedProcess(
        [], 1, "", "WARNING: retrying\nERROR: No matching distribution found for nothing-of-it"
    )
    monkeypatch.setattr(packages, "needed", lambda: [Requirement("nothing-of-it")])
    monkeypatch.setattr(packages.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(RuntimeError, match=r"nothing-of-it is missing .* \(no network\?\): ERROR: No matching"):
        ready()


def test_damaged_data_are_said(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(shipped.FOLDER, folder)
    (folder / "camera.png").write_bytes(b"not it")
    monkeypatch.setattr(shipped, "FOLDER", folder)
    with pytest.raises(OSError, match=r"camera.png is damaged"):
        ready()

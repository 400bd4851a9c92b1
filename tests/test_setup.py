"""What a newcomer relies on: one list of dependencies, two commands, a wheel with the data, a clean style."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from hatchling.build import build_wheel

ROOT = Path(__file__).resolve().parents[1]


def run(*command, **options):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", **options)


def test_conda_brings_python_and_pip_and_pip_brings_the_checkout(project):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == [f"python{project['project']['requires-python']}", "pip"]
    assert pip == {"pip": ["-e ."]}
    assert environment["name"] == project["project"]["name"]


def test_dependencies_are_ranges_that_colab_can_meet(project):
    required = project["project"]["dependencies"]
    assert {"torch", "torchvision", "jupyterlab", "matplotlib", "numpy"} <= {re.split("[<>=]", r)[0] for r in required}
    assert "ipywidgets>=7.7.1,<9" in required
    assert "anywidget>=0.9.21" in required
    assert not [r for r in required if "==" in r]


def test_everything_imported_is_declared(project):
    names = {
        "PIL": "pillow",
        "nbformat": "nbformat",
        "jupyter_client": "jupyter-client",
        "axe_playwright_python": "axe-playwright-python",
        "yaml": "pyyaml",
        "tomllib": "tomli",
        "xdist": "pytest-xdist",
    }
    extras = project["project"]["optional-dependencies"]
    declared = {re.split("[<>=]", r)[0] for r in project["project"]["dependencies"]}
    optional = {re.split("[<>=]", r)[0] for name in ("train", "evidence", "site") for r in extras[name]}
    for folder, allowed in (
        ("dynconv", declared | optional),
        ("tests", declared | {re.split("[<>=]", r)[0] for r in extras["test"]}),
    ):
        local = {"dynconv", *(p.stem for p in (ROOT / "tests").rglob("*.py"))}
        for path in (ROOT / folder).rglob("*.py"):
            modules = set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
            foreign = modules - set(sys.stdlib_module_names) - local
            unknown = {
                m for m in foreign if names.get(m, m) not in allowed | {"traitlets", "IPython", "google"}
            }  # the first two are ipywidgets' own, the third Colab's
            assert not unknown, f"{path.relative_to(ROOT)} imports {unknown}"


def test_run_alone_lists_its_commands():
    shown = run(sys.executable, "run.py").stdout
    for command in (
        "lab",
        "test",
        "notebooks",
        "site",
        "evidence",
        "bench",
        "bench-views",
        "colab",
        "pictures",
        "links",
    ):
        assert re.search(rf"^\s+{command}\s", shown, re.MULTILINE), shown


def test_run_refuses_what_it_does_not_know():
    assert run(sys.executable, "run.py", "lab", "--prot", "1").returncode == 2
    wrong = run(sys.executable, "run.py", "lab", "99")
    assert wrong.returncode == 1
    assert "No lesson starts with '99'. There are: 00_start_here" in wrong.stderr
    assert "owner/name" in run(sys.executable, "run.py", "links", "nonsense").stderr


def test_wheel_holds_the_package_and_the_data(tmp_path):
    here = os.getcwd()
    os.chdir(ROOT)
    try:
        wheel = build_wheel(str(tmp_path))
    finally:
        os.chdir(here)
    names = set(zipfile.ZipFile(tmp_path / wheel).namelist())
    files = [p for folder in ("dynconv", "data") for p in (ROOT / folder).rglob("*") if p.is_file()]
    paths = [p.relative_to(ROOT).as_posix() for p in files if "__pycache__" not in p.parts]
    assert "data/digits.npz" in paths
    for path in paths:
        inside = path if path.startswith("dynconv/") else path.replace("data/", "dynconv/data/files/", 1)
        assert inside in names


@pytest.mark.skipif(not shutil.which("git"), reason="Git is not here")
def test_git_on_windows_keeps_the_bytes_that_checksums_are_of(tmp_path):
    """There it ends lines with two signs, unless .gitattributes says otherwise."""
    for folder in ("data", ".binder"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    for command in ("init --quiet", "config core.autocrlf true", "add .", "checkout-index --all --prefix=windows/"):
        assert run("git", "-C", str(tmp_path), *command.split()).returncode == 0
    lists = sorted((tmp_path / "windows" / "data").rglob("SHA256SUMS"))
    assert len(lists) == 2
    for path in lists:
        for digest, name in (line.split() for line in path.read_text(encoding="utf-8").splitlines()):
            assert hashlib.sha256((path.parent / name).read_bytes()).hexdigest() == digest, name
    assert b"\r" not in (tmp_path / "windows" / ".binder" / "postBuild").read_bytes()


def test_import_is_light():
    code = "import sys, dynconv; print([m for m in ('matplotlib', 'anywidget', 'torchvision') if m in sys.modules])"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


@pytest.mark.parametrize("command", [("check", "."), ("format", "--check", ".")], ids=["check", "format"])
def test_ruff_has_nothing_to_say(command):
    result = run(sys.executable, "-m", "ruff", *command)
    assert result.returncode == 0, result.stdout + result.stderr


def test_spelling(tmp_path):
    for path in (ROOT / "notebooks").glob("*.ipynb"):  # their words, without the pictures
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        words = "\n".join("".join(cell["source"]) for cell in cells)
        (tmp_path / f"{path.stem}.md").write_text(words, encoding="utf-8")
    result = run(sys.executable, "-m", "codespell_lib", ".", str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr


def test_hosted_environments_install_this_checkout():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["postCreateCommand"] == "pip install -e ."
    script = (ROOT / ".binder" / "postBuild").read_text(encoding="utf-8")
    assert script.rstrip().endswith("pip install --no-cache-dir -e .")
    assert os.name == "nt" or run("bash", "-n", ".binder/postBuild").returncode == 0


def test_the_changelog_knows_this_version(project):
    assert f"version: {project['project']['version']}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {project['project']['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

"""What a newcomer relies on: one list of dependencies, two commands, a wheel with the data, a clean style."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hatchling.build import build_wheel
from packaging.requirements import Requirement

from tests.browser.lab import free_port

ROOT = Path(__file__).resolve().parents[2]


def run(*command, **options):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", **options)


def asked(monkeypatch, *arguments):
    """The command that run.py would call once everything is set up."""
    spec = importlib.util.spec_from_file_location("run_py", ROOT / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    said = []
    monkeypatch.setattr(module, "set_up", lambda *_: None)
    monkeypatch.setattr(module, "call", said.extend)
    module.main(list(arguments))
    return [str(word) for word in said]


def test_conda_brings_python_and_pip_and_pip_brings_the_checkout(project):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == [f"python{project['project']['requires-python']}", "pip"]
    assert pip == {"pip": ["-e .[lessons]"]}
    assert environment["name"] == project["project"]["name"]


def test_dependencies_are_ranges_that_colab_can_meet(project):
    assert [Requirement(r).name for r in project["project"]["dependencies"]] == ["torch", "numpy"]
    required = project["project"]["optional-dependencies"]["lessons"]
    assert {"torchvision", "jupyterlab", "matplotlib"} <= {Requirement(r).name for r in required}
    assert "ipywidgets>=7.7.1,<9" in required
    assert "anywidget>=0.9.21" in required
    assert not [r for r in required if "==" in r]


def test_no_kernel_that_loses_messages(project):
    """ipykernel 7.0 to 7.3 forget to say that a cell has ended, one of some hundred: the next one then waits for ever."""
    lessons = project["project"]["optional-dependencies"]["lessons"]
    (kernel,) = [Requirement(r) for r in lessons if r.startswith("ipykernel")]
    assert list(kernel.specifier.filter(("6.17.1", "6.31.0", "7.0.1", "7.1.0", "7.2.0", "7.3.0", "7.4.0"))) == [
        "6.17.1",  # Colab's
        "6.31.0",
        "7.4.0",
    ]


def test_everything_imported_is_declared(project):
    names = {
        "PIL": "pillow",
        "nbformat": "nbformat",
        "jupyter_client": "jupyter-client",
        "axe_playwright_python": "axe-playwright-python",
        "yaml": "pyyaml",
        "tomllib": "tomli",
        "xdist": "pytest-xdist",
        "pytorch_grad_cam": "grad-cam",
        "marionette_driver": "marionette-driver",
    }
    extras = {name: _names(listed) for name, listed in project["project"]["optional-dependencies"].items()}
    core = _names(project["project"]["dependencies"]) | {"typing_extensions", "triton"}  # torch's own
    lessons = (
        core | extras["lessons"] | {"traitlets", "IPython", "google", "pip"}
    )  # ipywidgets' own two; Colab's; every environment's
    rooms = {
        "dynconv": core,
        "dynconv/lessons": lessons | extras["train"] | extras["site"] | {"docutils"},
    }  # the last is Sphinx's own
    rooms |= {
        "experiments": lessons | extras["test"] | extras["evidence"],
        "tests": lessons | extras["test"] | extras["engines"],
    }
    for path in sorted(path for room in ("dynconv", "experiments", "tests") for path in (ROOT / room).rglob("*.py")):
        room = max((r for r in rooms if path.is_relative_to(ROOT / r)), key=len)
        modules = set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        foreign = modules - set(sys.stdlib_module_names) - {"dynconv", "experiments", "tests"}
        unknown = {m for m in foreign if names.get(m, m) not in rooms[room]}
        assert not unknown, f"{path.relative_to(ROOT)} imports {unknown}"


def _names(requirements):
    return {Requirement(r).name for r in requirements}


def test_run_alone_lists_its_commands():
    shown = run(sys.executable, "run.py").stdout
    assert re.findall(r"^    (\w+) ", shown, re.MULTILINE) == ["lab", "test", "site", "publish"]


@pytest.mark.parametrize(
    "tool", ["experiments.evidence", "experiments.questions", "experiments.bench", "experiments.bench_views"]
)
def test_the_authors_commands_say_how_they_are_used(tool):
    shown = run(sys.executable, "-m", tool, "--help")
    assert shown.returncode == 0, shown.stderr
    assert tool in shown.stdout


def test_run_refuses_what_it_does_not_know():
    assert run(sys.executable, "run.py", "lab", "--prot", "1").returncode == 2
    wrong = run(sys.executable, "run.py", "lab", "99")
    assert wrong.returncode == 1
    assert "No lesson starts with '99'. There are: 00_start_here" in wrong.stderr
    assert "owner/name" in run(sys.executable, "run.py", "publish", "nonsense").stderr


def test_the_lab_listens_on_this_machine_only_and_asks_for_its_key(monkeypatch):
    """The command of `run.py lab` for real, without the set-up."""
    said = asked(monkeypatch, "lab", "05", "--no-browser", "--port", str(free_port()))
    command = [sys.executable, *said[1:]]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, encoding="utf-8") as server:
        try:
            address = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+token=\w+", line)))
            host, key = address.partition("/lab/tree/notebooks/05_dynamic_convolution.ipynb?token=")[::2]
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", host)
            assert len(key) > 30
            while True:  # it tells of its address just before it listens
                with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", host.rpartition(":")[2])):
                    break
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(f"{host}/api/contents", timeout=20)
            urllib.request.urlopen(f"{host}/api/contents?token={key}", timeout=20).close()
        finally:
            server.kill()


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
        inside = path if path.startswith("dynconv/") else path.replace("data/", "dynconv/lessons/data/files/", 1)
        assert inside in names


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone")
def test_the_source_distribution_holds_what_the_repository_does(tmp_path):
    """Whoever packages it further has the tests, and all that they look at."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    assert run(*command).returncode == 0
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    kept = run("git", "ls-files", "-z").stdout.split("\0")
    assert {name for name in kept if name and (ROOT / name).exists()} <= inside
    assert not [name for name in inside if name.startswith((".venv", "node_modules", "artifacts"))]


@pytest.mark.skipif(not shutil.which("git"), reason="Git is not here")
def test_git_on_windows_keeps_the_bytes_that_checksums_are_of(tmp_path):
    """There it ends lines with two signs, unless .gitattributes says otherwise."""
    for folder in ("data", ".binder"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    for command in ("init --quiet", "config core.autocrlf true", "add .", "checkout-index --all --prefix=windows/"):
        assert run("git", "-C", str(tmp_path), *command.split()).returncode == 0
    lists = sorted((tmp_path / "windows" / "data").rglob("SHA256SUMS"))
    assert len(lists) == 3
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
    assert container["postCreateCommand"] == "pip install -e '.[lessons]'"
    script = (ROOT / ".binder" / "postBuild").read_text(encoding="utf-8")
    assert script.rstrip().endswith("pip install --no-cache-dir -e '.[lessons]'")
    assert os.name == "nt" or run("bash", "-n", ".binder/postBuild").returncode == 0


def test_the_changelog_knows_this_version(project):
    assert f"version: {project['project']['version']}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {project['project']['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_an_index_shows_the_readme_with_whole_links(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    wheel = build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode()
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    assert len(links) > 60
    assert not [link for link in links if not link.startswith(("https://", "#"))]
    assert "raw.githubusercontent.com/" in text

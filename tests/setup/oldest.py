"""The tests, but those in a browser, on the oldest versions that pyproject.toml admits: python -m tests.setup.oldest [PYTEST ARGUMENT ...]

An environment of its own in .venv-oldest: every lower bound of the dependencies becomes a pin. The tools of the tests are
today's. Made once, and anew when the bounds have changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from packaging.requirements import Requirement

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-oldest"
PYTHON = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = FOLDER / "pins.txt"
SHOWN = ("torch", "torchvision", "numpy", "matplotlib", "pillow", "ipywidgets", "anywidget", "timm")


def oldest(requirement: str) -> str:
    """torch>=2.8 → torch==2.8.*: the newest repair of the oldest version, as a person who never upgrades has it."""
    parsed = Requirement(requirement)
    (bound,) = [s.version for s in parsed.specifier if s.operator == ">="]
    return f"{parsed.name}=={bound}{'.*' if bound.count('.') < 2 else ''}"


def main(arguments: list[str]) -> int:
    """Make the environment, run the tests in it; pytest's exit status."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lessons = project["optional-dependencies"]["lessons"]
    pins = [oldest(requirement) for requirement in (*project["dependencies"], *lessons)]
    if not STAMP.exists() or STAMP.read_text(encoding="utf-8") != " ".join(pins):
        shutil.rmtree(FOLDER, ignore_errors=True)
        print(f"Making {FOLDER.name}: {' '.join(pins)}", flush=True)
        venv.create(FOLDER, with_pip=True)
        pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *pins, "-e", f"{ROOT}[test]"], check=True)
        STAMP.write_text(" ".join(pins), encoding="utf-8")
    versions = f"from importlib.metadata import version; print(*(f'{{n}} {{version(n)}}' for n in {SHOWN}), sep=', ')"
    subprocess.run([str(PYTHON), "-c", versions], check=True)
    return subprocess.call(
        [str(PYTHON), "-m", "pytest", "-m", "not browser", "-n", "2", "--dist", "loadscope", *arguments], cwd=ROOT
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

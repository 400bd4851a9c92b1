"""What the extra `lessons` names, what of it this Python lacks, and pip held to what is there. Needs torch alone."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib import invalidate_caches
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__: list[str] = []

THERE = {"jupyterlab", "ipykernel"}  # a notebook that runs has its server and its kernel; Colab's is not JupyterLab
UPDATE = (
    "make a new environment for it (python run.py lab in a copy of the repository), or update it and restart the kernel"
)


def check_installed() -> None:
    """Outside of a kernel, say what to install if the extra is not there; in one, the lesson's first cell brings it.

    Raises:
        ModuleNotFoundError: packages of the extra are missing; it names them and the command.
    """
    if "ipykernel" in sys.modules:
        return
    missing = [name for name in _names_of_extra() if not found(name)]
    if missing:
        raise ModuleNotFoundError(
            f"dynconv.lessons needs {', '.join(missing)}: pip install 'dynconv[lessons]'. "
            "The layers, dynconv and its other modules, work without",
            name="dynconv.lessons",
        )


def needed() -> list[Requirement]:
    """What dynconv and its extra `lessons` ask for."""
    from packaging.requirements import Requirement

    listed = [Requirement(line) for line in _requires()]
    return [r for r in listed if not r.marker or any(r.marker.evaluate({"extra": e}) for e in ("", "lessons"))]


def found(name: str) -> str | None:
    """The installed version, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_version(requirement: Requirement) -> None:
    """Raise RuntimeError if what is installed does not do."""
    here = found(requirement.name)
    if here is not None and not requirement.specifier.contains(here, prereleases=True):
        raise RuntimeError(f"dynconv needs {requirement}, and here is {requirement.name} {here}: {UPDATE}")


def install(missing: list[Requirement]) -> None:
    """pip install, held to the versions of everything that is installed."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "constraints.txt"
        kept.write_text("\n".join(sorted(_pins())), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--constraint", str(kept), *(f"{r.name}{r.specifier}" for r in missing)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
        names = ", ".join(r.name for r in missing)
        raise RuntimeError(f"{names} is missing and could not be installed (no network?): {lines[-1]}")
    invalidate_caches()


def _requires() -> list[str]:
    try:
        return requires("dynconv") or []
    except PackageNotFoundError:  # a clone that a notebook found beside itself
        return _of_the_clone()


def _of_the_clone() -> list[str]:
    """The same lines out of its pyproject.toml."""
    from pip._vendor import tomli  # Python 3.10 has no reader of its own

    path = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not path.exists():
        return []
    project = tomli.loads(path.read_text(encoding="utf-8"))["project"]
    extra = project["optional-dependencies"]["lessons"]
    return [*project["dependencies"], *(f'{line} ; extra == "lessons"' for line in extra)]


def _names_of_extra() -> list[str]:
    """Without `packaging`, which is of the extra itself."""
    lines = [line for line in _requires() if re.search(r"extra == ['\"]lessons['\"]", line)]
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines]


def _pins() -> set[str]:
    """name==version of all that is installed; what has no proper version cannot be held and is left out."""
    all_found = ((d.metadata["Name"], d.version) for d in distributions())
    return {f"{name}=={number}" for name, number in all_found if name and re.fullmatch(r"[\w.!+-]+", number or "")}

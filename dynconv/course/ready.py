"""What the first cell of every lesson asks for: packages, widgets and data, in one line, without changing what is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib import invalidate_caches
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path

import torch
from packaging.requirements import Requirement

from .. import __version__
from ..data import shipped

__all__ = ["ready"]

THERE = {"jupyterlab", "ipykernel"}  # a notebook that runs has its server and its kernel; Colab's is not JupyterLab
UPDATE = (
    "make a new environment for it (python run.py lab in a copy of the repository), or update it and restart the kernel"
)


def ready() -> None:
    """See to it that a lesson can run, and print one line that says what there is.

    Reference: https://pip.pypa.io/en/stable/user_guide/#constraints-files; Colab's ``google.colab.output``

    What dynconv needs and this Python lacks is installed; what is installed already stays exactly as it is: every
    version here is a constraint for pip. Colab's notebooks are allowed to show instruments. The shipped data are compared
    with their checksums.

    Example:
        >>> ready()
        dynconv ... with torch ... on ..., ipywidgets ...; ... data files are as shipped.

    Raises:
        RuntimeError: a package is missing and cannot be installed, or is of a version that does not work; it says which.
        OSError: a data file is missing or damaged, and how to restore it.
    """
    needed = _needed()
    missing = [r for r in needed if not _found(r.name) and r.name not in THERE]
    if missing:
        _install(missing)
    for requirement in needed:
        # the kernel that speaks here cannot be another; a new environment gets a good one
        if requirement.name != "ipykernel":
            _check_version(requirement)
    widgets = _allow_widgets()
    files = [f"{folder}{name}" for folder in ("", "recordings/") for name in shipped.checksums(folder.rstrip("/"))]
    for name in files:
        shipped.read(name)
    added = f"; installed {_names(missing)}" if missing else ""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    print(
        f"dynconv {__version__} with torch {torch.__version__} on {device}, ipywidgets {version('ipywidgets')}"
        f"{widgets}{added}; {len(files)} data files are as shipped."
    )


def _needed() -> list[Requirement]:
    try:
        listed = [Requirement(line) for line in requires("dynconv") or []]
    except PackageNotFoundError:  # run from a folder, without being installed
        return []
    return [r for r in listed if not r.marker or r.marker.evaluate({"extra": ""})]


def _found(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _check_version(requirement: Requirement) -> None:
    found = _found(requirement.name)
    if found is not None and not requirement.specifier.contains(found, prereleases=True):
        raise RuntimeError(f"dynconv needs {requirement}, and here is {requirement.name} {found}: {UPDATE}")


def _names(requirements: list[Requirement]) -> str:
    return ", ".join(r.name for r in requirements)


def _install(missing: list[Requirement]) -> None:
    """pip install, held to the versions of everything that is installed."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "constraints.txt"
        kept.write_text("\n".join(sorted(_pins())), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--constraint", str(kept), *map(str, missing)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
        raise RuntimeError(f"{_names(missing)} is missing and could not be installed (no network?): {lines[-1]}")
    invalidate_caches()


def _pins() -> set[str]:
    """name==version of all that is installed; what has no proper version cannot be held and is left out."""
    found = ((d.metadata["Name"], d.version) for d in distributions())
    return {f"{name}=={number}" for name, number in found if name and re.fullmatch(r"[\w.!+-]+", number or "")}


def _allow_widgets() -> str:
    """Colab shows widgets that are not its own only when asked."""
    if "google.colab" not in sys.modules:
        return ""
    from google.colab import output

    output.enable_custom_widget_manager()
    return " (Colab shows them)"

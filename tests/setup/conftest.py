"""What is built once for the tests of the set-up: the wheel, and an environment that holds little beside it."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, files, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(sysconfig.get_path("purelib"))


class Environment:
    """A virtual environment in ``folder`` with the unpacked wheel; what else there is to import lies in ``others``."""

    def __init__(self, folder: Path, wheel: Path, others: Path) -> None:
        venv.create(folder, with_pip=False)
        self.python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.site = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        with zipfile.ZipFile(wheel) as archive:  # all that installing a wheel of pure Python does
            archive.extractall(self.site)
        (self.site / "others.pth").write_text(f"{others}\n", encoding="utf-8")

    def run(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        words = {"capture_output": True, "text": True, "encoding": "utf-8", "env": environment}
        return subprocess.run([str(self.python), *arguments], cwd=self.python.parent, **words, **options)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def torch_alone(tmp_path_factory, wheel) -> Environment:
    """The wheel with torch, numpy and what these two need, borrowed by links, and nothing else."""
    folder = tmp_path_factory.mktemp("torch_alone")
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    tops = {path.parts[0] for name in needed("torch", "numpy") for path in files(name) or ()}
    for entry in (SITE / top for top in tops):
        if entry.exists() and entry.name not in ("..", "__pycache__"):
            (borrowed / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    return Environment(folder / "venv", wheel, borrowed)


@pytest.fixture(scope="session")
def installed(tmp_path_factory, wheel) -> Environment:
    """The wheel in front of everything that is installed here."""
    return Environment(tmp_path_factory.mktemp("installed"), wheel, SITE)


def needed(*names: str) -> set[str]:
    """Distributions that these ask for and that are here, themselves included."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            listed = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:  # an option of another platform
            continue
        found.add(name)
        waiting += [r.name for r in listed if not r.marker or r.marker.evaluate({"extra": ""})]
    return found

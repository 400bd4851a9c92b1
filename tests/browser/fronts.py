"""Lessons in other front ends, each slider moved and each bet made: python -m tests.browser.fronts [FRONT ...] [--lesson NN ...]

Notebook 7, and Voila alone and inside Jupyter's server, are those of this environment. JupyterLab 3.6, Notebook 6.5 (both with the
page side of ipywidgets 7.7) and marimo get an environment of their own in .venv-FRONT, which borrows torch and the rest from this
one. Prints, for each front end and lesson, how many sliders moved the picture, of how many there are, and how many bets opened
their answer and reached the kernel, which keeps them.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from playwright.sync_api import Error, Page, sync_playwright

from dynconv.lessons.bets import FILE, Ledger
from dynconv.lessons.site.bets import bet_of
from tests.browser.lab import CHROMIUM_FLAGS, FINGERPRINT, ROOT, find_chromium, free_port

OLD = ("ipywidgets==7.7.1", "anywidget==0.9.21", "ipykernel==6.29.5")
LESSONS = ("02", "05", "08")
PATIENCE = 480_000  # milliseconds until a lesson has run

# what each says when all cells have run
KNOWS_WIDGETS = "() => window.Jupyter?.notebook?.kernel?.comm_manager?.targets['jupyter.widget']"
RAN_6 = """() => Jupyter.notebook.get_cells().filter((c) => c.cell_type === 'code')
  .every((c) => Number.isInteger(c.input_prompt_number))"""
RAN_7 = """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].every((e) => /\\d/.test(e.innerText))"""


Ended = Callable[[], bool]  # whether the last cell has said its word, on the page or to the server


def run_notebook_6(tab: Page, _: Ended) -> None:
    """Once the page knows widgets, and has asked the kernel for those of before: an output that comes earlier stays empty."""
    tab.wait_for_function(KNOWS_WIDGETS, timeout=PATIENCE)
    tab.wait_for_timeout(6000)
    tab.evaluate("() => { Jupyter.notebook.execute_all_cells(); }")
    tab.wait_for_function(RAN_6, timeout=PATIENCE, polling=500)


def run_by_menu(tab: Page, _: Ended) -> None:
    """JupyterLab and Notebook 7: Run, Run All Cells; again where it was still starting, and did not hear or asks for a kernel."""
    tab.locator(".jp-CodeCell").first.wait_for(timeout=PATIENCE)
    asks = tab.locator(".jp-Dialog .jp-mod-accept")
    for _ in range(12):
        if asks.count():
            asks.first.click()
        else:
            with suppress(Error):  # it begins to ask just now
                tab.locator(".lm-MenuBar-itemLabel, .p-MenuBar-itemLabel").get_by_text("Run", exact=True).click(
                    timeout=5000
                )
                tab.locator(".lm-Menu-itemLabel, .p-Menu-itemLabel").get_by_text("Run All Cells", exact=True).click(
                    timeout=5000
                )
        tab.wait_for_timeout(3000)
        if any(text.strip("[]: \n") for text in tab.locator(".jp-CodeCell .jp-InputArea-prompt").all_inner_texts()):
            break
    tab.wait_for_function(RAN_7, timeout=PATIENCE, polling=500)


def runs_by_itself(tab: Page, ended: Ended) -> None:
    until(tab, ended, "the lesson did not run to its end")


def until(tab: Page, true: Callable[[], bool], otherwise: str, milliseconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + milliseconds / 1000
    while not true():
        if time.monotonic() > deadline:
            raise Error(otherwise)
        tab.wait_for_timeout(500)


class Front(NamedTuple):
    """A front end: what it needs beside this environment, its command, a lesson's address, and what runs the cells."""

    needs: tuple[str, ...]
    command: tuple[str, ...]
    address: str
    run: Callable[[Page, Ended], None]


SERVER = (
    "--no-browser",
    "--ServerApp.port={port}",
    "--IdentityProvider.token={token}",
    "--ServerApp.root_dir={folder}",
)
SERVER_1 = (*SERVER[:2], "--ServerApp.token={token}", SERVER[3])
ROOT_USER = ("--allow-root",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
FRONTS = {
    "notebook7": Front(
        (), ("notebook", *SERVER, *ROOT_USER), "notebooks/notebooks/{lesson}?token={token}", run_by_menu
    ),
    "voila": Front(
        (),
        ("voila", "{folder}/notebooks", "--no-browser", "--port={port}"),
        "voila/render/{lesson}",
        runs_by_itself,
    ),
    "voila-server": Front(
        (), ("jupyterlab", *SERVER, *ROOT_USER), "voila/render/notebooks/{lesson}?token={token}", runs_by_itself
    ),
    "lab3": Front(
        (*OLD, "jupyterlab==3.6.8", "notebook==6.5.7"),
        ("jupyterlab", *SERVER_1, *ROOT_USER),
        "lab/tree/notebooks/{lesson}?token={token}",
        run_by_menu,
    ),
    "notebook6": Front(
        (*OLD, "notebook==6.5.7"),
        (
            *("notebook", "--no-browser", "--port={port}", "--NotebookApp.token={token}"),
            *("--notebook-dir={folder}", *ROOT_USER),
        ),
        "notebooks/notebooks/{lesson}?token={token}",
        run_notebook_6,
    ),
    "marimo": Front(
        ("marimo",),
        ("marimo", "run", "{script}", "--headless", "--port={port}", "--no-token"),
        "",
        runs_by_itself,
    ),
}


def python_of(name: str, needs: tuple[str, ...]) -> Path:
    """This Python, or that of the front end's own environment, made where it is not there; what it lacks is borrowed from here."""
    if not needs:
        return Path(sys.executable)
    folder = ROOT / f".venv-{name}"
    python, stamp = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"), folder / "needs.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != " ".join(needs):
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *needs], check=True)
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        ours, theirs = (
            Path(subprocess.run([one, "-c", where], check=True, capture_output=True, text=True).stdout.strip())
            for one in (sys.executable, python)
        )
        (theirs / "borrowed.pth").write_text(f"{ours}\n{ROOT}\n", encoding="utf-8")  # its own come first
        stamp.write_text(" ".join(needs), encoding="utf-8")
    return python


@contextmanager
def served(name: str, python: Path, folder: Path, lesson: str) -> Iterator[str]:
    """The front end at work over a copy of the lessons; gives the lesson's address."""
    front, script = FRONTS[name], folder / "notebooks" / lesson.replace(".ipynb", ".py")
    words: dict[str, Any] = {"port": free_port(), "token": secrets.token_hex(8), "folder": folder, "script": script}
    words["lesson"] = lesson
    if name == "marimo":
        subprocess.run([python, "-m", "marimo", "convert", script.with_suffix(".ipynb"), "-o", script], check=True)
    private = {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    private |= {
        "JUPYTER_PREFER_ENV_PATH": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    settings = folder / "lab" / "user-settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))  # all cells are there
    private["JUPYTERLAB_SETTINGS_DIR"] = str(folder / "lab" / "user-settings")
    command = [str(python), "-m", *(part.format(**words) for part in front.command)]
    log = (folder / "log.txt").open("wb")
    process = subprocess.Popen(
        command, cwd=folder / "notebooks", env={**os.environ, **private}, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        base = f"http://127.0.0.1:{words['port']}/"
        wait_for(base, process, folder / "log.txt")
        yield base + front.address.format(**words)
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except urllib.error.HTTPError:  # it answers, though it wants a token
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"the front end did not start:\n{log.read_text(errors='replace')[-2000:]}")


def sliders_moved(tab: Page) -> tuple[int, int]:
    """How many sliders show another picture or sentence at their two ends, of all there are."""
    moved = there = 0
    for root in tab.locator(".dynconv").all():
        root.scroll_into_view_if_needed()
        for slider in root.locator("input[type=range]:not(:disabled)").all():
            seen = []
            for key in ("Home", "End"):
                slider.press(key)
                tab.wait_for_timeout(150)
                said = root.locator(".dc-summary").inner_text()
                seen.append((slider.input_value(), (root.evaluate(FINGERPRINT), said)))
            moved += all(len(set(column)) == 2 for column in zip(*seen, strict=True))
            there += 1
    return moved, there


def bets_opened(tab: Page) -> int:
    """How many bets open their answer, and not before somebody has bet."""
    opened = 0
    for card in tab.locator(".dc-bet-card").all():
        said = card.locator(".dc-summary")
        before = said.inner_text()
        card.get_by_role("radio").first.check()
        card.get_by_role("button", name="Bet", exact=True).click()
        card.get_by_role("button", name="Bet again").wait_for(timeout=10_000)
        opened += "You bet:" not in before and "You bet:" in said.inner_text()
    return opened


class Seen(NamedTuple):
    """What moved and opened in one lesson, of what there is; ``trouble``: what stopped it."""

    moved: int = 0
    sliders: int = 0
    opened: int = 0
    kept: int = 0
    bets: int = 0
    trouble: str = ""

    @property
    def good(self) -> bool:
        return not self.trouble and self.moved == self.sliders > 0 and self.opened == self.kept == self.bets

    def __str__(self) -> str:
        words = f"{self.moved} of {self.sliders} sliders, {self.opened} of {self.bets} bets ({self.kept} reached the kernel)"
        return f"stopped: {self.trouble}" if self.trouble else words


def look(name: str, python: Path, lesson: Path, artifacts: Path) -> Seen:
    """One lesson in one front end."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = Path(place).resolve()
        shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(FILE))
        sandbox = not ROOT_USER  # as root (containers) Chromium refuses to start in its own sandbox
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=CHROMIUM_FLAGS, chromium_sandbox=sandbox
        )
        tab = browser.new_context(viewport={"width": 1300, "height": 1200}, reduced_motion="reduce").new_page()
        with served(name, python, folder, lesson.name) as address:
            try:
                tab.goto(address, timeout=PATIENCE)
                seen = used(tab, FRONTS[name], lesson, folder)
            except Error as error:
                seen = Seen(trouble=error.message.splitlines()[0])
            tab.screenshot(path=artifacts / f"{name}-{lesson.stem[:2]}.png")
        browser.close()
    return seen


def used(tab: Page, front: Front, lesson: Path, folder: Path) -> Seen:
    """Run the lesson, make every bet, move every slider."""
    cells = [cell for cell in nbformat.read(lesson, as_version=4).cells if cell.cell_type == "code"]
    closing = cells[-1].outputs[-1].text.strip()
    told = folder / "log.txt"  # marimo shows there what cells print
    front.run(tab, lambda: closing in tab.locator("body").inner_text() or closing in told.read_text(errors="replace"))
    names, cards = {bet_of(cell) for cell in cells} - {""}, tab.locator(".dc-bet-card .dc-summary")
    until(tab, lambda: cards.count() >= len(names), f"{cards.count()} of {len(names)} bets are there", 60_000)
    opened, (moved, sliders) = bets_opened(tab), sliders_moved(tab)
    kept = names & Ledger(folder / "notebooks").read()["bets"].keys()
    return Seen(moved, sliders, opened, len(kept), len(names))


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 0 when every slider moved and every bet opened."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.fronts", description=__doc__)
    parser.add_argument("fronts", nargs="*", metavar="FRONT", help=f"of {', '.join(FRONTS)}; all if left out")
    parser.add_argument("--lesson", action="append", metavar="NN", help=f"its number; {', '.join(LESSONS)} if left out")
    given = parser.parse_args(arguments)
    if unknown := set(given.fronts) - set(FRONTS):
        parser.error(f"front must be one of {', '.join(FRONTS)}, got {', '.join(sorted(unknown))}")
    artifacts, good = ROOT / "artifacts", True
    artifacts.mkdir(exist_ok=True)
    for name in given.fronts or FRONTS:
        python = python_of(name, FRONTS[name].needs)
        for number in given.lesson or LESSONS:
            (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
            seen = look(name, python, path, artifacts)
            good &= seen.good
            print(f"{name:13} {path.stem:28} {seen}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

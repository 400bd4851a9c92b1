"""What re-running a cell leaves behind, in JupyterLab: python -m experiments.bench_reruns [--of CELL] [--runs N] [--every N]

A cell that makes and shows a DynamicView is run again and again, as a learner does. Every few runs both sides are asked what
they hold, after collecting their garbage: the page its JavaScript heap and the widget models of its manager, the kernel its
resident memory and its open widgets. The last line is what one re-run adds: the mean from the first measurement to the last.
Beside it, with `--of`, what JupyterLab keeps of any widget: ipywidgets' own slider, and an anywidget that shows one word.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import sync_playwright

from tests.browser.lab import CHROMIUM_FLAGS, Lab, Lesson, find_chromium

SETUP = """
import ipywidgets, torch
from dynconv import DynamicConv2d
from dynconv.lessons.views import DynamicView

layer, images = DynamicConv2d(1, 1, 5), {name: torch.rand(1, 96, 96) for name in "abcdefgh"}
"""
WORD = """
import anywidget, traitlets

class Word(anywidget.AnyWidget):
    _esm = "export default { render({ el }) { el.innerHTML = '<b class=word>one word</b>'; } }"
"""
CELLS = {  # what is run again and again, and what is there once it has run
    "DynamicView": ("view = DynamicView(layer, images)\nview", ".dynconv .dc-summary"),
    "slider": ("slider = ipywidgets.FloatSlider()\nslider", ".widget-slider"),
    "word": ("word = Word()\nword", ".word"),
}
HELD = """
import gc, json, ipywidgets
_ = gc.collect()
_instances = getattr(ipywidgets.widgets.widget, "_instances", None) or ipywidgets.Widget.widgets
_pages = int(open("/proc/self/statm").read().split()[1])
print(json.dumps({"kernel_MB": _pages * 4096 / 1e6, "widgets": len(_instances)}))
"""
NAME = "reruns.ipynb"
COLUMNS = {"page_MB": "page MB", "models": "models", "nodes": "nodes", "kernel_MB": "kernel MB", "widgets": "widgets"}


def run_cell(lesson: Lesson, index: int, there: str) -> None:
    """As Ctrl-Enter does."""
    lesson.page.evaluate(
        """async (i) => { const panel = window.jupyterapp.shell.currentWidget;
        panel.content.activeCellIndex = i; await window.jupyterapp.commands.execute('notebook:run-cell'); }""",
        index,
    )
    lesson.page.locator(there).first.wait_for(state="attached", timeout=60_000)


def held(lesson: Lesson, tools) -> dict[str, float]:
    """What the page and the kernel hold once their garbage is collected."""
    for _ in range(3):  # what a finaliser lets go is only collected the next time
        tools.send("HeapProfiler.collectGarbage")
    heap = tools.send("Runtime.getHeapUsage")["usedSize"]
    counts = tools.send("Memory.getDOMCounters")
    models = lesson.page.evaluate(
        """async () => { const { context } = window.jupyterapp.shell.currentWidget; const kernel =
        context.sessionContext.session.kernel; return [...(kernel._comms?.keys() ?? [])].length; }"""
    )
    page = {"page_MB": heap / 1e6, "models": models, "nodes": counts["nodes"]}
    return page | json.loads(lesson.kernel(HELD))


def measure(lesson: Lesson, there: str, runs: int, every: int) -> list[tuple[int, dict[str, float]]]:
    tools = lesson.context.new_cdp_session(lesson.page)
    lesson.kernel(SETUP + WORD)
    rows = []
    for run in range(1, runs + every + 1):  # the first measurement is after a few runs: caches fill once
        run_cell(lesson, 0, there)
        if run % every == 0:
            rows.append((run, held(lesson, tools)))
            print(f"{run:5} " + " ".join(f"{rows[-1][1][name]:11,.1f}" for name in COLUMNS), flush=True)
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench_reruns", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=100, help="between the first measurement and the last (100)")
    parser.add_argument("--every", type=int, default=10, help="runs from one measurement to the next (10)")
    parser.add_argument("--of", choices=CELLS, default="DynamicView", metavar="CELL", help=f"of {', '.join(CELLS)}")
    args = parser.parse_args(argv)
    cell, there = CELLS[args.of]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)], metadata=kernel)
        nbformat.write(notebook, lab.served / "notebooks" / NAME)
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=CHROMIUM_FLAGS, chromium_sandbox=False
        )
        try:
            print("  run " + " ".join(f"{title:>11}" for title in COLUMNS.values()))
            rows = measure(Lesson(browser, lab, NAME), there, args.runs, args.every)
        finally:
            browser.close()
            lab.close()
    (first, before), (last, after) = rows[0], rows[-1]
    each = " ".join(f"{(after[name] - before[name]) / (last - first):11.3f}" for name in COLUMNS)
    print(f" each {each}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Execute lessons in fresh kernels; as a command, store the outputs: python -m dynconv.lessons.site.execute [LESSON ...]

Cells run one by one with a time-out each, over a plain client that polls: the usual runners wait for ever on some
widget-heavy cells. What is stored is what a reader without a kernel can see: pictures and text, no widget state.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from queue import Empty
from typing import NamedTuple

import nbformat
from jupyter_client.manager import start_new_kernel

__all__ = ["NOTEBOOKS", "WIDGET", "CellError", "Executed", "execute"]

_LESSONS = Path(__file__).resolve().parents[1]
# an installed package carries the lessons inside itself; a checkout has them at its top
NOTEBOOKS = _LESSONS / "notebooks" if (_LESSONS / "notebooks").is_dir() else _LESSONS.parents[1] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"


class CellError(AssertionError):
    """A cell raised, or took longer than allowed."""


class Executed(NamedTuple):
    """``notebook`` with its new outputs, the ``seconds`` from start to end, and ``fragments``: place → live instrument."""

    notebook: nbformat.NotebookNode
    seconds: float
    fragments: dict[str, str]


def execute(path: Path, cell_timeout: float = 120, live: bool = False, kernel_name: str = "python3") -> Executed:
    """Run every cell of a lesson in a kernel of its own.

    Reference: https://jupyter-client.readthedocs.io

    Example:
        >>> execute(NOTEBOOKS / "no lesson.ipynb")
        Traceback (most recent call last):
        ...
        FileNotFoundError: ...

    Args:
        path: of the notebook; it is read, not written.
        cell_timeout: seconds a cell may take.
        live: also bring the instruments that the lesson shows, for a page in which they are alive.
        kernel_name: of a Jupyter kernel; ``jupyter kernelspec list`` shows them.

    Raises:
        CellError: a cell raised, took too long, or ended the kernel; the message shows it.
    """
    notebook = nbformat.read(path, as_version=4)
    began = time.monotonic()
    manager, client = start_new_kernel(
        kernel_name=kernel_name, cwd=str(path.parent), extra_arguments=["--log-level=ERROR"]
    )
    fragments = {}
    try:
        if live:
            run_cell(
                client,
                "import dynconv.lessons.site.live; dynconv.lessons.site.live.remember()",
                cell_timeout,
                "instruments",
            )
        code = [(number, cell) for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
        for count, (number, cell) in enumerate(code, 1):
            cell.outputs = run_cell(client, cell.source, cell_timeout, f"{path.name}, cell {number}")
            cell.execution_count = count
        seconds = time.monotonic() - began
        if live:
            (said,) = run_cell(client, "print(dynconv.lessons.site.live.fragments())", cell_timeout, "instruments")
            fragments = json.loads(said.text)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return Executed(notebook, seconds, fragments)


def run_cell(client, source: str, timeout: float, where: str) -> list:
    """Run one cell and return its outputs, as they are stored; CellError if it raises or takes too long."""
    outputs: list = []
    message, deadline = client.execute(source), time.monotonic() + timeout
    while True:
        if time.monotonic() > deadline:
            raise CellError(f"{where} still runs after {timeout:.0f} s:\n{source}")
        try:
            reply = client.get_iopub_msg(timeout=1)
        except Empty:
            if not client.is_alive():
                raise CellError(f"{where}: the kernel died:\n{source}") from None
            continue
        if reply["parent_header"].get("msg_id") != message:
            continue
        kind, content = reply["msg_type"], reply["content"]
        if kind == "status" and content["execution_state"] == "idle":
            return _stored(outputs)
        if kind == "error":
            raise CellError(f"{where} raised {content['ename']}: {content['evalue']}\n{source}")
        if kind in ("stream", "display_data", "execute_result"):
            outputs.append(nbformat.v4.output_from_msg(reply))


def _stored(outputs: list) -> list:
    """Without widget views (a view without its model opens as an error) and with each stream in one piece."""
    kept: list = []
    for output in outputs:
        if output.output_type == "stream":
            if kept and kept[-1].output_type == "stream" and kept[-1].name == output.name:
                kept[-1].text += output.text
                continue
        elif WIDGET in output.data:
            del output.data[WIDGET]
            output.metadata.pop(WIDGET, None)
            if set(output.data) <= {"text/plain"}:  # nothing but the view: a progress bar
                continue
        kept.append(output)
    return kept


def main(names: list[str]) -> None:
    paths = [p for p in sorted(NOTEBOOKS.glob("*.ipynb")) if not names or any(n in p.stem for n in names)]
    for path in paths:
        notebook, seconds, _ = execute(path)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.execution_count = None  # the same lesson stores the same file, run after run
                for output in cell.outputs:
                    if "execution_count" in output:
                        output.execution_count = None
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        nbformat.write(notebook, path)
        print(
            f"{path.name}: {len(notebook.cells)} cells in {seconds:.1f} s, {path.stat().st_size / 1e3:.0f} kB",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])

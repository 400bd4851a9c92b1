"""Running a cell again leaves one instrument of it in page and kernel; a cell is what the front end says it is."""

import gc
import itertools
import subprocess
import sys
import textwrap
import weakref

import ipywidgets
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets import TraitError
from traitlets.config import Config

from dynconv.lessons.views import CostView
from dynconv.lessons.views.reruns import SHOWN, WIDGET, others


class Notebook:
    """IPython as a kernel has it, and the requests that a front end sends."""

    numbers = itertools.count()

    def __init__(self, view):
        config = Config()
        config.HistoryManager.enabled = False
        self.shell, self.made = InteractiveShell(config=config), weakref.WeakSet()
        self.shell.user_ns |= {"View": view, "ipywidgets": ipywidgets}
        self.request = {}
        self.shell.get_parent = lambda: self.request

    def run(self, code, metadata, person=True):
        self.request = {
            "header": {"msg_type": "execute_request", "msg_id": f"run {next(self.numbers)}"},
            "metadata": metadata,
            "content": {"code": code, "allow_stdin": person},
        }
        return self.shell.run_cell(code, store_history=True).success

    def cell(self, code, name):
        return self.run(code, {"cellId": name})

    def __getitem__(self, name):
        return self.shell.user_ns[name]

    def pictures(self):
        outputs = getattr(self.shell.history_manager, "outputs", {}).values()
        return sum(WIDGET in output.bundle for group in outputs for output in group)


@pytest.fixture
def notebook(monkeypatch, capsys):
    class View(CostView):
        def __init__(self):
            super().__init__()
            notebook.made.add(self)

        def still(self):
            """No time for pictures."""

    SHOWN.clear()  # other tests show instruments too
    notebook = Notebook(View)
    monkeypatch.setattr(InteractiveShell, "_instance", notebook.shell)
    before = set(others(None))
    notebook.open = lambda: len([widget for widget in others(None) if widget not in before])
    yield notebook
    for widget in set(others(None)) - before:
        widget.close()
    SHOWN.clear()


CELLS = "View()", "view = View()\nview", "view = View()\ndisplay(view)", "[display(View()) for _ in range(1)];"


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_that_runs_a_hundred_times_leaves_one(notebook, cell):
    pictures = notebook.pictures()
    for _ in range(100):
        assert notebook.cell(cell, "one")
    gc.collect()
    assert notebook.open() == 2  # it and its layout
    assert len(SHOWN) == 1
    assert len(notebook.made) <= 4  # the last three are _, __ and ___
    assert notebook.pictures() - pictures <= 1


def test_a_front_end_that_does_not_name_its_cells(notebook):
    for _ in range(5):
        notebook.run("View()", {})
    notebook.run("View() ", {})
    assert notebook.open() == 4


def test_without_a_person_nothing_is_closed(notebook):
    """As in Voila, where each cell runs once and two may be alike; and where a button's callback shows something."""
    for _ in range(2):
        notebook.run("View()", {}, person=False)
    notebook.request = {"header": {"msg_type": "comm_msg"}}
    notebook.shell.display_formatter.format(notebook["View"]())
    notebook.run("View()", {}, person=False)
    assert notebook.open() == 8


def test_a_cell_that_fails_or_shows_nothing_any_longer(notebook):
    for code in ("1 / 0", "pass"):
        notebook.cell("View()", "one")
        assert notebook.open() == 2
        assert notebook.cell(code, "one") == (code == "pass")
        assert notebook.open() == 0


def test_what_another_cell_shows_stays(notebook):
    notebook.cell("view = View()\nview", "one")
    notebook.cell("view", "two")
    notebook.cell("view = View()\nview", "one")
    assert notebook.open() == 4
    notebook.cell("view", "two")
    assert notebook.open() == 2


def test_what_another_widget_holds_stays(notebook):
    notebook.cell("view = View()\nview", "one")
    notebook.cell("box = ipywidgets.VBox([view])", "two")
    notebook.cell("view = View()\nview", "one")
    assert notebook["box"].children[0].comm is not None


def test_what_is_shown_again_opens_again(notebook):
    notebook.cell("view = View()\nview.channels = 100\nview", "one")
    notebook.cell("pass", "one")
    view = notebook["view"]
    assert view.comm is view.layout.comm is None
    assert "_oh" in notebook.shell.user_ns
    assert view not in notebook["_oh"].values()
    view.size = 20  # it is as useful as any object
    notebook.cell("view", "two")
    assert notebook.open() == 2
    assert view.get_state()["channels"] == 100
    assert view.get_state()["layout"] == f"IPY_MODEL_{view.layout.model_id}"
    assert view in notebook["_oh"].values()


def test_a_shared_layout_stays(notebook):
    notebook.cell("view, other = View(), View()\nother.layout = view.layout\nview", "one")
    notebook.cell("other", "two")
    notebook.cell("pass", "one")
    assert notebook["view"].comm is None
    assert notebook["other"].layout.comm is not None


def test_an_instrument_that_could_not_be_made_leaves_nothing(notebook):
    for _ in range(3):
        with pytest.raises(TraitError):
            CostView(channels=-1)
    gc.collect()
    assert notebook.open() == 0


def test_in_a_kernel():
    """What a cell has shown is known by the kernel's own request; its comms are the kernel's."""
    code = """
        from jupyter_client.manager import start_new_kernel
        manager, client = start_new_kernel(kernel_name="python3")
        said = []
        def run(code):
            hook = lambda message: said.append(message["content"].get("text", message["content"].get("evalue", "")))
            client.execute_interactive(code, output_hook=hook, timeout=120)
        try:
            run("from dynconv.lessons.views import CostView; from dynconv.lessons.views.reruns import others")
            for _ in range(4):
                run("view = CostView(); view")
            run("print(len(others(None)), len(get_ipython().kernel.comm_manager.comms))")
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
        print("".join(said))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "2 2", (done.stdout, done.stderr)

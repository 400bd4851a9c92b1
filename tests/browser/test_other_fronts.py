"""The same instruments in Notebook 7 and in Voila, which the lab's server serves as well once they are installed."""

import re

import nbformat
import pytest

from tests.browser.lab import FINGERPRINT

pytestmark = pytest.mark.browser
CELL = """import torch
from dynconv.lessons.views import Mixer
torch.manual_seed(0)
mixer = Mixer(torch.rand(32, 32), {"copy": torch.eye(5), "blur": torch.ones(5, 5) / 25, "noise": torch.rand(5, 5)}, logits=[2.0, 1.0, 0.0])
mixer"""


@pytest.fixture
def tab(chromium, lab):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.served / "fronts.ipynb")
    context = chromium.new_context(viewport={"width": 1200, "height": 1000})
    tab = context.new_page()
    tab.said = []
    tab.on("pageerror", lambda e: tab.said.append(str(e)))
    yield tab
    context.close()
    assert tab.said == []


def moves(tab):
    """Both ends of the temperature, by keyboard: another picture and another sentence."""
    root = tab.locator(".dynconv")
    root.wait_for(timeout=90_000)
    slider, seen = root.get_by_label("temperature T"), []
    for key in ("Home", "End"):
        slider.press(key)
        tab.evaluate("() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")
        seen.append((slider.input_value(), root.evaluate(FINGERPRINT), root.locator(".dc-summary").inner_text()))
    return all(len(set(column)) == 2 for column in zip(*seen, strict=True))


def test_notebook_7(tab, lab):
    tab.goto(f"http://127.0.0.1:{lab.port}/notebooks/fronts.ipynb?token={lab.token}")
    tab.locator(".jp-CodeCell .cm-content").first.click(timeout=60_000)
    tab.get_by_text("Python 3", exact=False).first.wait_for()
    tab.said.clear()  # Notebook 7.6 stumbles over a setting of its own while it starts, before anything of ours is there
    prompt = tab.locator(".jp-CodeCell .jp-InputArea-prompt").first
    for _ in range(12):  # while Notebook 7 is still starting it may not hear the keys: a reader presses them again
        tab.locator(".jp-CodeCell .cm-content").first.click()
        tab.keyboard.press("Control+Enter")
        tab.wait_for_timeout(2000)
        if re.search(r"[*\d]", prompt.inner_text()):
            break
    assert moves(tab)


def test_voila(tab, lab):
    tab.goto(f"http://127.0.0.1:{lab.port}/voila/render/fronts.ipynb?token={lab.token}", timeout=90_000)
    assert moves(tab)

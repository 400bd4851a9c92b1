"""Where an instrument cannot run: a picture with words, or a sentence, never an error box and never nothing."""

import base64
import json

import nbformat
import pytest
import torch

from dynconv.lessons.views import Mixer
from dynconv.lessons.views.pages import page
from tests.browser.instruments import opened

pytestmark = pytest.mark.browser
WIDGET = "application/vnd.jupyter.widget-view+json"


def a_mixer():
    return Mixer(torch.rand(16, 16), {"one": torch.eye(3), "two": torch.rand(3, 3)})


def shown(chromium, text, tmp_path, **options):
    """The page, offline, and a place to look for errors."""
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    context = chromium.new_context(offline=True, **options)
    tab = context.new_page()
    tab.goto(path.as_uri())
    return context, tab


def is_the_still(image, view):
    assert image.get_attribute("alt") == view.still().alt
    shows_the_still(image, view)


def shows_the_still(image, view):
    assert base64.b64decode(image.get_attribute("src").partition(",")[2]) == view.still().png
    assert image.evaluate("async (e) => { await e.decode(); return e.naturalWidth > 100 && e.clientWidth > 100; }")


def test_a_notebook_without_a_widget_manager_shows_the_still(chromium, tmp_path):
    nbconvert = pytest.importorskip("nbconvert")
    view = a_mixer()
    data, metadata = view._repr_mimebundle_()
    data = {kind: value for kind, value in data.items() if kind != WIDGET}  # as lessons are committed
    output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("mixer", outputs=[output])])
    context, tab = shown(chromium, nbconvert.HTMLExporter().from_notebook_node(notebook)[0], tmp_path)
    image = tab.locator(".jp-OutputArea img")
    assert image.count() == 1
    shows_the_still(image, view)
    assert metadata["image/png"]["alt"] == view.still().alt  # nbconvert 7 does not hand it on
    assert "rror" not in tab.locator(".jp-OutputArea").inner_text()
    context.close()


def test_a_page_without_scripts_shows_the_still(chromium, tmp_path):
    view = a_mixer()
    context, tab = shown(chromium, page(view, "still"), tmp_path, java_script_enabled=False)
    image = tab.get_by_role("img")
    assert image.get_attribute("alt") == view.still().alt
    assert image.bounding_box()["width"] > 100
    context.close()


@pytest.mark.parametrize(
    ("policy", "pictures"),
    [("default-src 'none'", False), ("default-src 'self'", False), ("script-src 'none'; img-src data:", True)],
)
def test_a_page_whose_server_forbids_scripts_shows_the_still_or_its_words(chromium, tmp_path, policy, pictures):
    view = a_mixer()
    text = page(view, "still").replace(
        "<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{policy}">'
    )
    context, tab = shown(chromium, text, tmp_path)
    image = tab.get_by_role("img")
    assert image.get_attribute("alt") == view.still().alt
    assert image.evaluate("e => e.naturalWidth > 100") == pictures
    assert "needs scripts" in tab.locator("figcaption").inner_text()
    assert tab.locator(".dynconv").count() == 0
    context.close()


@pytest.mark.parametrize("broken", ["throw new Error('no such thing');\n", "const = syntax;\n"])
def test_a_page_whose_script_fails_shows_the_still(chromium, tmp_path, broken):
    view = a_mixer()
    text = page(view, "still").replace('<script type="module">\n', f'<script type="module">\n{broken}', 1)
    context, tab = shown(chromium, text, tmp_path)
    assert tab.get_by_role("img").count() == 1
    is_the_still(tab.get_by_role("img"), view)
    context.close()


def test_a_page_that_works_does_not_show_the_still(chromium, tmp_path):
    with opened(chromium, tmp_path, a_mixer()) as (tab, _):
        assert tab.locator("img").count() == 0
        tab.evaluate("dispatchEvent(new ErrorEvent('error'))")  # somebody else's error
        assert tab.locator("img").count() == 0


def test_data_that_cannot_be_drawn_becomes_a_sentence(chromium, tmp_path):
    view = a_mixer()
    view.data = json.dumps({"photo": "?"})
    context, tab = shown(chromium, page(view, "broken"), tmp_path)
    said = tab.get_by_role("alert").inner_text()
    assert said.startswith("This instrument stopped (")
    assert view.still().alt in said
    context.close()


def test_an_error_while_a_control_moves_becomes_a_sentence(chromium, tmp_path):
    view = a_mixer()
    context, tab = shown(chromium, page(view, "broken"), tmp_path)
    said = tab.locator(".dc-summary")
    before = said.inner_text()
    tab.evaluate("CanvasRenderingContext2D.prototype.putImageData = () => { throw new Error('out of memory'); }; 0")
    tab.get_by_label("temperature T").press("End")
    assert said.inner_text().startswith("This instrument stopped (Error: out of memory)")
    assert view.still().alt in said.inner_text()
    tab.reload()
    assert said.inner_text() == before
    context.close()

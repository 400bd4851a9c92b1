"""Instruments as pages of their own: opened from a file, with no kernel and no network, they answer as in JupyterLab."""

import nbformat
import pytest
import torch

from dynconv.lessons.site.build import lesson_page
from dynconv.lessons.views import Mixer
from dynconv.lessons.views.pages import page
from tests.browser.instruments import check_everyday_use, opened, seen
from tests.browser.lab import FINGERPRINT

pytestmark = pytest.mark.browser


def test_a_page_from_a_file_is_alive(chromium, tmp_path):
    mixer = Mixer(torch.rand(24, 24), {"</script>": torch.rand(3, 3), "copy": torch.eye(3)}, temperature=0.5)
    path = tmp_path / "mixer.html"
    path.write_text(page(mixer, "Mixer"), encoding="utf-8")
    context = chromium.new_context(offline=True)
    tab = context.new_page()
    errors = []
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.goto(path.as_uri())
    root = tab.locator(".dynconv")
    before = root.evaluate(FINGERPRINT)
    tab.get_by_label("logit 2").press("End")
    assert root.evaluate(FINGERPRINT) != before
    tab.get_by_role("button", name="Reset").click()
    assert root.evaluate(FINGERPRINT) == before
    assert tab.evaluate("model.get('temperature')") == 0.5
    assert not errors
    context.close()


def test_a_finger_has_room(chromium, tmp_path):
    mixer = Mixer(torch.rand(24, 24), {"copy": torch.eye(3), "other": torch.ones(3, 3)})
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(chromium, tmp_path, mixer, **phone) as (tab, root):
        controls = root.locator("input, select, button")
        assert min(controls.evaluate_all("all => all.map((e) => e.getBoundingClientRect().height)")) >= 24  # WCAG 2.5.8
        slider = root.get_by_label("temperature T")
        before, box = seen(root), slider.bounding_box()
        tab.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + 2)  # near its upper edge
        assert seen(root) != before


def test_printed_sentences_wrap_on_a_phone_and_tables_scroll(chromium, tmp_path):
    sentence, table = "a long printed line " * 5, "\n".join(["name      one      two" + 9 * "      more"] * 3)
    cells = [nbformat.v4.new_markdown_cell("# 42 · A lesson\n\n`" + 60 * "long" + "`", id="a")]
    for number, text in enumerate((sentence, table)):
        cells.append(
            nbformat.v4.new_code_cell("print", outputs=[nbformat.v4.new_output("stream", text=text)], id=f"c{number}")
        )
    path = tmp_path / "lesson.html"
    path.write_text(lesson_page(nbformat.v4.new_notebook(cells=cells), {}, tmp_path), encoding="utf-8")
    context = chromium.new_context(offline=True, viewport={"width": 390, "height": 844})
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    scrolls = "[...document.querySelectorAll('.output pre')].map((e) => e.scrollWidth > e.clientWidth)"
    assert tab.evaluate(scrolls) == [False, True]
    context.close()


@pytest.mark.parametrize("width", [340, 390, 1000])
def test_nothing_in_the_mixer_jumps(chromium, tmp_path, width):
    torch.manual_seed(0)
    kernels = {f"horizontal edges {i}": torch.randn(5, 5) for i in range(4)}
    mixer = Mixer(torch.rand(24, 24), kernels, logits=[2.0, 1.0, 0.0, -1.0])
    with opened(chromium, tmp_path, mixer, viewport={"width": width, "height": 900}) as (tab, root):
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check_everyday_use(tab, root)

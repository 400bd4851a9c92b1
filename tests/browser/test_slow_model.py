"""A model that takes 0.2 s: sliders do not wait for it, nothing queues up behind it, and the newest picture wins."""

import io

import nbformat
import pytest
from PIL import Image

from tests.browser.lab import Lesson

pytestmark = pytest.mark.browser
CELL = """import time
import torch
from dynconv import DynamicConv2d
from dynconv.lessons.views import DynamicView
torch.manual_seed(0)
layer = DynamicConv2d(1, 2, 5, num_kernels=4, reduction=1, temperature=1.0)
calls = []

def wait(*_):
    calls.append(0)
    time.sleep(0.2)

layer.attention.register_forward_pre_hook(wait)
view = DynamicView(layer, {"first": torch.rand(1, 32, 32), "second": torch.rand(1, 32, 32)})
calls.clear()
view"""
# When pictures were drawn, and how many messages went to the kernel.
WATCH = """root => {
  window.__drawn = [];
  window.__sent = 0;
  const plain = CanvasRenderingContext2D.prototype.putImageData;
  CanvasRenderingContext2D.prototype.putImageData = function (...given) {
    if (root.contains(this.canvas)) window.__drawn.push(performance.now());
    return plain.apply(this, given);
  };
  window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.anyMessage.connect((_, { direction, msg }) => {
    if (direction === 'send' && msg.header.msg_type === 'comm_msg') window.__sent++;
  });
}"""


@pytest.fixture
def lesson(chromium, lab):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.served / "notebooks" / "slow_model.ipynb")
    opened = Lesson(chromium, lab, "slow_model.ipynb")
    opened.run_all()
    yield opened
    opened.close()
    assert not opened.errors


def a_file(name, shade):
    file = io.BytesIO()
    Image.new("L", (40, 30), shade).save(file, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": file.getvalue()}


def test_a_drag_does_not_wait_for_the_model(lesson):
    (root,) = lesson.instruments()
    page, slider = lesson.page, root.get_by_label("temperature T")
    slider.scroll_into_view_if_needed()
    root.evaluate(WATCH)
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.5 * box["width"], middle)
    page.mouse.down()
    for share in (0.1, 0.9, 0.1, 0.9):
        page.mouse.move(box["x"] + share * box["width"], middle, steps=20)
    page.mouse.up()
    released, value = page.evaluate("performance.now()"), float(slider.input_value())
    page.wait_for_timeout(1500)
    drawn, sent = page.evaluate("[window.__drawn, window.__sent]")
    assert len([t for t in drawn if t <= released]) >= 40  # it followed the hand
    assert max([0, *(t - released for t in drawn)]) <= 150  # and was still when the hand had let go
    assert 1 <= sent <= 2  # one value, that where the hand let go; no queue
    heard = lesson.kernel("import math; print(math.log10(view.temperature), len(calls))").split()
    assert float(heard[0]) == pytest.approx(value, abs=1e-6)
    assert heard[1] == "0"  # the model was not asked at all: softmax and mixing are done in the page


def test_the_newest_of_three_uploads_wins(lesson):
    (root,) = lesson.instruments()
    root.locator(".dc-status").get_by_text("At most 5 MB").wait_for()
    field, slider = root.get_by_label("your own image"), root.get_by_label("temperature T")
    for name, shade in (("old.png", 10), ("middle.png", 100), ("new.png", 200)):
        field.set_input_files(a_file(name, shade))
    said = root.locator(".dc-summary").inner_text()
    slider.press("Home")  # the page answers while the model is at work
    assert root.locator(".dc-summary").inner_text() != said
    root.locator(".dc-status").get_by_text("new.png is shown").wait_for()
    lesson.page.wait_for_timeout(1000)
    assert "new.png is shown" in root.locator(".dc-status").inner_text()  # no older answer came after it
    assert root.get_by_role("radio", name="new.png").is_checked()

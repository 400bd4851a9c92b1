"""SimplexMap in the page: torch's numbers; sliders, arrow keys and dragging move the dot and what hangs on it."""

import pytest
import torch
from test_cam_view import check_tab_order, in_page, opened, seen

from dynconv import DynamicConv2d
from dynconv.views.instrument import encode
from dynconv.views.simplex import SimplexMap, simplex_state

pytestmark = pytest.mark.browser


def a_view(**changes):
    torch.manual_seed(1)
    layer = DynamicConv2d(2, 1, 5, num_kernels=3, temperature=0.05)
    images = {name: (1 + 3 * i) * torch.randn(2, 12, 16) for i, name in enumerate(("first", "second"))}
    return SimplexMap(layer, images, **{"temperature": 1.0, **changes})


@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("free", [[], [0.2, 0.3, 0.5]])
def test_everything_it_shows(chromium, temperature, free):
    shown = {"logits": torch.randn(2, 3), "kernels": torch.randn(3, 3, 3), "maps": torch.randn(2, 3, 4, 5)}
    body = """
      const data = {logits: decode(d.logits), kernels: decode(d.kernels), maps: decode(d.maps), kernelArea: 9, area: 20, count: 2};
      const s = m.simplexState(data, d.state);
      return {attention: s.attention.flat(), kernel: Array.from(s.kernel), map: Array.from(s.map),
        back: s.attention.map((w) => m.weightsAt(...m.place(w))).flat(), outside: m.weightsAt(-50, 400)};"""
    state = {"image": 1, "temperature": temperature, "free": free}
    got = in_page(chromium, "simplex", body, {k: encode(v) for k, v in shown.items()} | {"state": state})
    expected = simplex_state(shown, 1, temperature, torch.tensor(free) if free else None)
    for name, value in (*expected.items(), ("back", expected["attention"])):
        torch.testing.assert_close(torch.tensor(got[name]).reshape(value.shape), value, atol=5e-7, rtol=0, msg=name)
    assert got["outside"] == [1, 0, 0]  # the nearest corner


def test_controls_dragging_and_reset(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (tab, root):
        first, hand = seen(root), root.get_by_role("slider", name="attention of")
        check_tab_order(tab, root)
        temperature, shown = root.get_by_label("temperature T"), set()
        for key in ("Home", "End", "ArrowLeft"):
            temperature.press(key)
            shown.add(seen(root))
        assert len(shown) == 3
        root.get_by_role("combobox").select_option("second")
        assert "second has kernel 1" in root.locator(".dc-summary").inner_text()
        for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"):
            before = seen(root)
            hand.press(key)
            assert seen(root) != before, key
        assert "You gave second kernel 1" in root.locator(".dc-summary").inner_text()
        free = tab.evaluate("model.get('free')")
        assert sum(free) == pytest.approx(1)
        temperature.press("Home")  # the layer's own attention again
        assert tab.evaluate("model.get('free')") == []
        root.get_by_role("button", name="Reset").click()
        assert seen(root) == first


def test_dragging_with_mouse_and_beyond_the_edge(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (tab, root):
        box, triangle = root.locator(".dc-hand").bounding_box(), root.locator(".dc-edge").bounding_box()
        kernel = "e => e.toDataURL()"
        mixed = root.get_by_role("img", name="its mixed kernel")
        before = mixed.evaluate(kernel)
        tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        tab.mouse.down()
        tab.mouse.move(triangle["x"] - 40, triangle["y"] + triangle["height"] + 5, steps=4)  # past corner 1
        tab.mouse.up()
        assert tab.evaluate("model.get('free')") == [1, 0, 0]
        assert "kernel 1 100 %" in root.locator(".dc-summary").inner_text()
        assert mixed.evaluate(kernel) != before
        assert mixed.evaluate(kernel) == root.get_by_role("img", name="kernel 1", exact=True).evaluate(kernel)
        tab.mouse.move(0, 0)
        assert tab.evaluate("model.get('free')") == [1, 0, 0]  # let go is let go


def test_nothing_jumps_on_a_phone(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view(), viewport={"width": 380, "height": 900}) as (tab, root):
        box = root.bounding_box()
        for key in ("Home", "End"):
            root.get_by_label("temperature T").press(key)
            assert root.bounding_box() == box
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")

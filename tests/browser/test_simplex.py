"""SimplexMap in the page: torch's numbers; sliders, arrow keys and dragging move the dot and what hangs on it."""

import pytest
import torch

from dynconv import DynamicConv2d
from dynconv.lessons.views.dynamic import dynamic_state
from dynconv.lessons.views.instrument import encode
from dynconv.lessons.views.simplex import SimplexMap, simplex_state
from tests.browser.instruments import PLACES, check_tab_order, from_kernel, in_page, opened, seen

pytestmark = pytest.mark.browser


def layer_and_images():
    torch.manual_seed(1)
    layer = DynamicConv2d(2, 1, 5, num_kernels=3, temperature=0.05)
    return layer, {name: (1 + 3 * i) * torch.randn(2, 12, 16) for i, name in enumerate(("first", "second"))}


def a_view(**changes):
    return SimplexMap(*layer_and_images(), **{"temperature": 1.0, **changes})


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


def test_controls_keys_and_reset(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (tab, root):
        first, hand, words = seen(root), root.get_by_role("slider", name="attention of"), root.locator(".dc-summary")
        check_tab_order(tab, root)
        temperature, shown = root.get_by_label("temperature T"), set()
        for key in ("Home", "End", "ArrowLeft"):
            temperature.press(key)
            shown.add(seen(root))
        assert len(shown) == 3
        root.get_by_role("radio", name="a first").press("ArrowDown")
        assert "second mixes" in words.inner_text()
        assert tab.evaluate("model.get('image')") == "second"
        for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"):
            before = seen(root)
            hand.press(key)
            assert seen(root) != before, key
        assert words.inner_text().startswith("You gave second")
        assert sum(tab.evaluate("model.get('free')")) == pytest.approx(1)
        temperature.press("Home")  # the layer's own attention again
        assert tab.evaluate("model.get('free')") == []
        root.get_by_role("button", name="Reset").click()
        assert seen(root) == first


def test_an_arrow_key_moves_two_hundredths(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (tab, root):
        from_kernel(tab, "model.set('free', [0.5, 0.3, 0.2])")
        assert "50 % kernel 1, 30 % kernel 2, 20 % kernel 3" in root.locator(".dc-summary").inner_text()
        hand = root.get_by_role("slider", name="attention of first")
        for key, expected in (("ArrowRight", [0.48, 0.32, 0.2]), ("ArrowUp", [0.47, 0.31, 0.22])):
            hand.press(key)
            assert tab.evaluate("model.get('free')") == pytest.approx(expected)
        for _ in range(60):  # against the edge, and no further
            hand.press("ArrowDown")
        assert min(tab.evaluate("model.get('free')")) == 0
        assert sum(tab.evaluate("model.get('free')")) == pytest.approx(1)


def middle(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_dragging_with_mouse_and_beyond_the_edge(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (tab, root):
        triangle, kernel = root.locator(".dc-edge").bounding_box(), "e => e.toDataURL()"
        mixed = root.get_by_role("img", name="its mixed kernel")
        before = mixed.evaluate(kernel)
        tab.mouse.move(*middle(root.locator(".dc-hand")))
        tab.mouse.down()
        tab.mouse.move(triangle["x"] - 40, triangle["y"] + triangle["height"] + 5, steps=4)  # past corner 1
        assert mixed.evaluate(kernel) != before  # at once, not when it is let go
        tab.mouse.up()
        assert tab.evaluate("model.get('free')") == [1, 0, 0]
        assert "100 % kernel 1" in root.locator(".dc-summary").inner_text()
        assert mixed.evaluate(kernel) == root.get_by_role("img", name="kernel 1", exact=True).locator(
            "canvas"
        ).evaluate(kernel)
        tab.mouse.move(0, 0)
        assert tab.evaluate("model.get('free')") == [1, 0, 0]  # let go is let go


def drag_a_finger(tab, start, end):
    touch = tab.context.new_cdp_session(tab)
    for i in range(9):
        point = {axis: s + (e - s) * i / 8 for axis, s, e in zip("xy", start, end, strict=True)}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove" if i else "touchStart", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    tab.wait_for_timeout(200)


def test_dragging_with_a_finger(chromium, tmp_path):
    phone = {"has_touch": True, "viewport": {"width": 380, "height": 500}}
    with opened(chromium, tmp_path, a_view(), **phone) as (tab, root):
        hand = root.locator(".dc-hand")
        # well inside: focus at the very edge scrolls by a pixel
        hand.evaluate("e => e.scrollIntoView({ block: 'center' })")
        triangle, scrolled = root.locator(".dc-edge").bounding_box(), tab.evaluate("scrollY")
        top = triangle["x"] + triangle["width"] / 2, triangle["y"] - 5
        drag_a_finger(tab, middle(hand), top)
        assert tab.evaluate("model.get('free')") == pytest.approx([0, 0, 1])
        assert tab.evaluate("scrollY") == scrolled  # the page stayed where it was
        drag_a_finger(tab, (triangle["x"] + 40, triangle["y"] + 200), (triangle["x"] + 40, triangle["y"] + 100))
        assert tab.evaluate("scrollY") > scrolled  # beside the dot a finger scrolls, as anywhere
        assert tab.evaluate("model.get('free')") == pytest.approx([0, 0, 1])


def test_a_click_on_a_dot_chooses_its_image(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (tab, root):
        from_kernel(tab, "model.set('free', [0, 0, 1])")  # out of the way
        root.locator(".dc-dot", has_text="b").click()
        assert tab.evaluate("model.get('image')") == "second"
        assert root.get_by_role("radio", name="b second").is_checked()


def test_the_sentence_counts_dots_that_lie_together(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (_, root):
        root.get_by_label("temperature T").press("End")  # all in the middle
        assert root.locator(".dc-summary").inner_text().endswith(" The other dot lies within 5 % of it.")


@pytest.mark.parametrize("width", [380, 1000])
def test_nothing_jumps(chromium, tmp_path, width):
    with opened(chromium, tmp_path, a_view(), viewport={"width": width, "height": 900}) as (tab, root):
        places = root.evaluate(PLACES)
        for key in ("Home", "End"):
            root.get_by_label("temperature T").press(key)
            assert root.evaluate(PLACES) == places
        for key in ("ArrowUp", "ArrowLeft"):
            root.locator(".dc-hand").press(key)
            assert root.evaluate(PLACES) == places
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_share_by_hand_cuts_the_wire_that_feeds_it(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (tab, root):
        fed, shares = root.locator(".dc-wire").nth(2), root.locator(".dc-share b")
        divided = root.locator(".dc-bar-cell:not(.dc-share) b")
        assert "dc-live" in fed.get_attribute("class")
        z = [float(text.replace("−", "-")) for text in divided.all_inner_texts()]
        layer, images = layer_and_images()
        logits = dynamic_state(layer, torch.stack(list(images.values())))["logits"][0]
        assert z == pytest.approx(logits.tolist() * 2, abs=0.06)  # z, and z ÷ T at T = 1
        from_kernel(tab, "model.set('free', [0.5, 0.3, 0.2])")
        assert "dc-cut" in fed.get_attribute("class")
        assert shares.all_inner_texts() == ["50 %", "30 %", "20 %"]
        root.get_by_label("temperature T").press("Home")
        assert "dc-live" in fed.get_attribute("class")
        ten = [float(text.replace("−", "-")) for text in divided.all_inner_texts()][3:]
        assert ten == pytest.approx((10 * logits).tolist(), abs=0.6)

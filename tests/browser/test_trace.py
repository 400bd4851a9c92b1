"""Trace in the page: the layer's own numbers, and every pixel by keyboard, pointer and slider."""

import json
import re

import pytest
import torch
from ipywidgets import DOMWidget
from torch import nn

from dynconv import DynamicConv2d
from dynconv.lessons.views.trace import Trace, trace_state
from tests.browser.instruments import PLACES, check_everyday_use, from_kernel, in_page, opened, seen
from tests.browser.test_time_machine import TIMERS, stop_the_clock

pytestmark = pytest.mark.browser
NUMBERS = """
  const raw = d.view, logits = raw.logits && decode(raw.logits);
  const arrays = {padded: m.pad(decode(raw.image), raw.image_shape, raw.padding), weight: decode(raw.weight)};
  const data = {...raw, ...m.tapsOf(raw), ...arrays, bias: decode(raw.bias), logits};
  return d.states.map((at) => {
    const state = m.traceState(data, at);
    return {...state, kernel: Array.from(state.kernel), map: Array.from(m.convolve(data, state.kernel, state.bias)),
      outside: m.reach(data, at.row, at.column).outside};
  });"""
GEOMETRIES = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (1, 4), "stride": (2, 1), "padding": (0, 2)},
    {"kernel_size": 3, "stride": 3, "padding": 5, "dilation": 2},
    {"kernel_size": (4, 3), "padding": "same", "dilation": (1, 2)},
    {"kernel_size": 11, "bias": False},
]


def a_dynamic_view(**changes):
    layer = DynamicConv2d(3, 4, 3, padding=1, **{"num_kernels": 8, **changes})
    nn.init.normal_(layer.attention.fc2.bias)  # so that kernels differ in what they get
    return Trace(layer, torch.rand(3, 12, 16), temperature=0.37)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("kind", [nn.Conv2d, DynamicConv2d])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_everything_it_shows(chromium, kind, geometry):
    layer, image = kind(2, 3, **geometry), torch.randn(2, 13, 14)
    view = Trace(layer, image)
    T = layer.attention.temperature.item() if view.dynamic else None
    places = [(0, 0, 0), (view.row, view.column, 1), (view.shape[0] - 1, view.shape[1] - 1, 2)]
    states = [{"row": r, "column": c, "output_channel": o, "temperature": T} for r, c, o in places]
    got = in_page(chromium, "trace", NUMBERS, {"view": json.loads(view.data), "states": states})
    y = layer(image[None])[0].detach()
    for (row, column, o), page in zip(places, got, strict=True):
        expected = trace_state(layer, image, row, column, o)
        for name, value in expected.items():
            scale = max(1.0, expected["products"].abs().sum().item())
            shown = torch.tensor(page[name], dtype=torch.float32).reshape(value.shape)
            torch.testing.assert_close(shown, value, atol=5e-7 * scale, rtol=0, msg=name)
        assert page["total"] == pytest.approx(y[o, row, column].item(), abs=5e-7 * scale)
        blank = trace_state(layer, torch.ones_like(image), row, column)["patch"][0] == 0  # ones, but for the padding
        assert page["outside"] == blank.flatten().tolist()


def test_sliders_and_reset(chromium, tmp_path):
    view = Trace(nn.Conv2d(1, 5, (5, 4), stride=2, padding=2), torch.rand(1, 12, 16))
    with opened(chromium, tmp_path, view) as (tab, root):
        check_everyday_use(tab, root)


@pytest.mark.parametrize("width", [1000, 380])
def test_sliders_and_reset_of_a_dynamic_layer(chromium, tmp_path, width):
    with opened(chromium, tmp_path, a_dynamic_view(), viewport={"width": width, "height": 700}) as (tab, root):
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        check_everyday_use(tab, root)
        assert tab.evaluate("model.get('temperature')") == 0.37


def test_one_kernel_needs_no_temperature(chromium, tmp_path):
    with opened(chromium, tmp_path, a_dynamic_view(num_kernels=1)) as (_, root):
        said, pixels = (
            root.locator(".dc-summary"),
            "root => [...root.querySelectorAll('canvas')].map((c) => c.toDataURL())",
        )
        before, words = root.evaluate(pixels), said.inner_text()
        root.get_by_label("temperature T").press("End")
        assert root.evaluate(pixels) == before
        assert said.inner_text() == words.replace("T = 0.37", "T = 100")


def test_arrow_keys_on_the_map(chromium, tmp_path):
    view = Trace(nn.Conv2d(2, 1, 3), torch.rand(2, 8, 9), row=0, column=5)
    with opened(chromium, tmp_path, view) as (tab, root):
        first, places, chosen = seen(root), root.evaluate(PLACES), root.get_by_role("button", name="output map")
        chosen.press("ArrowUp")  # there is nothing above row 0
        assert seen(root) == first
        for key, place in (
            ("ArrowDown", [1, 5]),
            ("ArrowRight", [1, 6]),
            ("ArrowRight", [1, 6]),
            ("ArrowLeft", [1, 5]),
        ):
            chosen.press(key)
            assert tab.evaluate("[model.get('row'), model.get('column')]") == place
            assert root.evaluate(PLACES) == places
            value = trace_state(view.layer, view.image, *place)["total"].item()
            assert f"{value:.4f}".replace("-", "−") in root.locator(".dc-summary").inner_text()
            assert root.get_by_label("row").input_value() == str(place[0])
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first


def test_a_tap_and_a_drag_pick_the_pixel_under_them(chromium, tmp_path):
    view = Trace(nn.Conv2d(1, 1, 3, padding=1), torch.rand(1, 10, 20))
    with opened(chromium, tmp_path, view) as (tab, root):
        box = root.get_by_role("img", name="the output map").bounding_box()

        def at(row, column):
            return box["x"] + (column + 0.5) * box["width"] / 20, box["y"] + (row + 0.5) * box["height"] / 10

        tab.mouse.click(*at(2, 17))
        assert tab.evaluate("[model.get('row'), model.get('column')]") == [2, 17]
        tab.mouse.move(*at(8, 1))  # without a button held down nothing happens
        assert "row 2, column 17" in root.locator(".dc-summary").inner_text()
        tab.mouse.down()
        tab.mouse.move(*at(9, 4))
        assert "row 9, column 4" in root.locator(".dc-summary").inner_text()
        assert tab.evaluate("[model.get('row'), model.get('column')]") == [2, 17]  # the kernel hears of it at the end
        tab.mouse.move(box["x"] + 2 * box["width"], box["y"] - 50)
        tab.mouse.up()
        assert tab.evaluate("[model.get('row'), model.get('column')]") == [0, 19]


def test_the_frame_is_where_the_patch_is(chromium, tmp_path):
    view = Trace(nn.Conv2d(1, 1, 3, stride=2, padding=3, dilation=2), torch.rand(1, 10, 12), row=2, column=1)
    with opened(chromium, tmp_path, view) as (_, root):
        image = root.get_by_role("img", name="the image").bounding_box()
        frame = root.locator(".dc-frame-bright").first.evaluate("e => e.getBoundingClientRect().toJSON()")
        pixel = image["width"] / 12
        assert frame["left"] - image["x"] == pytest.approx((1 * 2 - 3) * pixel, abs=2.5)  # the line itself has a width
        assert frame["top"] - image["y"] == pytest.approx((2 * 2 - 3) * pixel, abs=2.5)
        assert frame["width"] == pytest.approx(5 * pixel, abs=4.5)
        assert len(re.findall("M", root.locator(".dc-taps").first.get_attribute("d"))) == 9


@pytest.mark.parametrize(("size", "numbers"), [(5, True), (7, False)])
def test_numbers_while_there_is_room(chromium, tmp_path, size, numbers):
    view = Trace(nn.Conv2d(1, 1, size), torch.full((1, 9, 9), 0.25))
    with opened(chromium, tmp_path, view) as (_, root):
        cells = root.locator(".dc-cells").first.locator("span").all_inner_texts()
        assert cells == [".25" if numbers else ""] * size**2


@pytest.mark.parametrize("kind", [nn.Conv2d, DynamicConv2d])
def test_many_channels_are_shown_three_at_a_time(chromium, tmp_path, kind):
    """What is shown and the others as one number add up to the layer's own pixel, whichever three they are."""
    layer = kind(7, 4, 3, padding=1)
    view = Trace(layer, torch.rand(7, 8, 9), row=3, column=4, input_channel=2)
    value = layer(view.image[None])[0, 0, 3, 4].item()
    with opened(chromium, tmp_path, view) as (tab, root):
        for first, key in ((2, None), (4, "End"), (0, "Home")):
            if key:
                root.get_by_label("input channels from").press(key)
            assert tab.evaluate("model.get('input_channel')") == first
            shown = root.get_by_role("img", name=re.compile("^products of channel")).all()
            assert [int(one.get_attribute("aria-label")[-1]) for one in shown] == [first, first + 1, first + 2]
            said = root.locator(".dc-equation").inner_text().replace("−", "-").replace("- ", "-").replace("+ ", "")
            whole, *addends = (float(number) for number in re.findall(r"-?\d+\.\d+", said))
            assert whole == pytest.approx(value, abs=6e-5)
            assert sum(addends) == pytest.approx(value, abs=3e-3)
            sums = trace_state(layer, view.image, 3, 4)["sums"].tolist()
            others = sum(sums[:first] + sums[first + 3 :])
            assert addends == pytest.approx([*sums[first : first + 3], others, addends[-1]], abs=6e-4)
            assert "(the other 4 channels)" in said
            assert f"from channel {first + 2}" in root.locator(".dc-summary").inner_text()
        root.get_by_role("button", name="Reset").press("Enter")
        check_everyday_use(tab, root)


def test_experiments_and_the_kernel(chromium, tmp_path):
    layer = DynamicConv2d(1, 2, 3, padding=1)
    view = Trace(layer, torch.rand(1, 8, 8), experiments={"a cold corner": {"row": 0, "column": 0, "temperature": 0.1}})
    with opened(chromium, tmp_path, view) as (tab, root):
        first, said = seen(root), root.locator(".dc-summary")
        root.get_by_role("button", name="a cold corner").press("Enter")
        assert "row 0, column 0 of output channel 0" in said.inner_text()
        assert "5 of its 9 positions lie outside" in said.inner_text()
        assert "At T = 0.10" in said.inner_text()
        from_kernel(tab, "model.set('row', 7); model.set('output_channel', 1); model.set('temperature', 12)")
        assert "row 7, column 0 of output channel 1" in said.inner_text()
        assert "At T = 12" in said.inner_text()
        from_kernel(tab, "model.set('temperature', null)")  # the layer's own
        assert "At T = 30" in said.inner_text()
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first


EMPTY = """root => { const map = root.querySelector(".dc-picker canvas"), { width, height } = map;
  const copy = Object.assign(document.createElement("canvas"), { width, height });
  const brush = copy.getContext("2d", { willReadFrequently: true });
  brush.drawImage(map, 0, 0);
  const { data } = brush.getImageData(0, 0, width, height);
  return Array.from({ length: width * height }, (_, i) => data[4 * i + 3] === 0).filter(Boolean).length; }"""


def test_the_kernel_slides_and_the_map_fills(chromium, tmp_path):
    view = Trace(nn.Conv2d(1, 1, 3, padding=1), torch.rand(1, 4, 5), row=0, column=3)
    with opened(chromium, tmp_path, view, reduced_motion="no-preference") as (tab, root):
        stop_the_clock(tab)
        first, places = seen(root), root.evaluate(PLACES)
        assert root.evaluate(EMPTY) == 0
        play = root.locator(".dc-play")
        play.press("Enter")
        assert root.evaluate(EMPTY) == 20 - 4
        tab.clock.run_for(320)  # two beats: into the next row
        assert "row 1, column 0" in root.locator(".dc-summary").inner_text()
        assert (root.evaluate(EMPTY), root.evaluate(PLACES)) == (20 - 6, places)
        play.press("Enter")  # it stays, and all is there again
        assert root.evaluate(EMPTY) == 0
        assert tab.evaluate("[model.get('row'), model.get('column')]") == [1, 0]
        play.press("Enter")
        tab.clock.run_for(10_000)
        assert "row 3, column 4" in root.locator(".dc-summary").inner_text()
        assert (root.evaluate(EMPTY), play.inner_text()) == (0, "Play")
        play.press("Enter")  # at the end: once more from the first pixel
        assert root.evaluate(EMPTY) == 20 - 1
        root.get_by_role("button", name="output map").press("ArrowDown")  # a hand stops it
        tab.clock.run_for(1000)
        assert "row 1, column 0" in root.locator(".dc-summary").inner_text()
        play.press("Enter")
        root.get_by_role("button", name="Reset").press("Enter")
        tab.clock.run_for(1000)
        assert seen(root) == first


def test_taken_away_while_it_slides_it_leaves_no_timer(chromium):
    view = a_dynamic_view()
    state = {name: getattr(view, name) for name in view.traits(sync=True) if name not in DOMWidget.class_traits()}
    assert in_page(chromium, "trace", TIMERS, state) == [1, 0]


NUMBER = re.compile(r"[−-]?\d+(?:\.\d+)?")


def printed(text):
    return [float(number.replace("−", "-")) for number in NUMBER.findall(text.replace("− ", "−").replace("+ ", ""))]


@pytest.mark.parametrize("scale", [1.0, 0.001, 40.0])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_what_is_printed_adds_up(chromium, tmp_path, channels, scale):
    layer = nn.Conv2d(channels, 2, 3, padding=1)
    view = Trace(layer, scale * torch.randn(channels, 6, 7))
    with opened(chromium, tmp_path, view) as (tab, root):
        for row, column in ((0, 0), (2, 3), (5, 6)):
            from_kernel(tab, f"model.set('row', {row}); model.set('column', {column})")
            units = root.locator(".dc-products .dc-rows .dc-remark").all_inner_texts()
            unit = float(
                next(text for text in units[::-1] if text.startswith("in ")).removeprefix("in ")
            )  # of the products
            grids = root.locator(".dc-products .dc-cells")
            sums = [printed(text)[0] for text in root.locator(".dc-bar-cell b").all_inner_texts()]
            shown = min(3, channels)
            for c in range(shown):
                cells = grids.nth(2 * shown + c).locator("span").all_inner_texts()
                assert sum(printed(" ".join(cells))) * unit == pytest.approx(sums[c], abs=unit / 100)
                products = trace_state(layer, view.image, row, column)["products"][c].flatten()
                assert printed(" ".join(cells)) == pytest.approx((products / unit).tolist(), abs=1.001)
            whole, *addends = printed(re.sub(r"\(.*?\)", "", root.locator(".dc-equation").inner_text()))
            assert addends[:shown] == sums
            assert sum(addends) == pytest.approx(whole, abs=unit / 100)


def test_a_live_wire_mixes_the_kernel_and_a_grey_one_is_parameters(chromium, tmp_path):
    for view, kind in ((a_dynamic_view(), "dc-live"), (Trace(nn.Conv2d(1, 1, 3), torch.rand(1, 8, 8)), "dc-grey")):
        with opened(chromium, tmp_path, view) as (_, root):
            feeding = root.locator(".dc-products .dc-wire").nth(1)
            assert kind in feeding.get_attribute("class")
            assert root.locator(".dc-ribbon").count() == (8 if kind == "dc-live" else 0)


# what stands out of the diagram at the right, and so out of a notebook's cell
OUTSIDE = """root => { const { right } = root.querySelector('.dc-products').getBoundingClientRect();
  return [...root.querySelectorAll('.dc-products :is(div, span, canvas, button)')].filter((e) => e.clientWidth)
    .filter((e) => e.getBoundingClientRect().right > right + 1).map((e) => e.className); }"""


@pytest.mark.parametrize("width", [1200, 1000, 850, 740, 600, 390])
def test_three_channels_of_25_taps_have_room(chromium, tmp_path, width):
    view = Trace(nn.Conv2d(3, 2, 5, padding=2), torch.rand(3, 12, 12))
    with opened(chromium, tmp_path, view, viewport={"width": width, "height": 900}) as (tab, root):
        assert root.evaluate(OUTSIDE) == []
        assert tab.evaluate("document.documentElement.scrollWidth") == width

"""The grammar of the figures: what its nouns and verbs promise, in three widths and both schemes."""

import pytest
import torch

from dynconv.lessons.views import Mixer
from dynconv.lessons.views.javascript import HERE
from tests.browser.instruments import in_page, opened

pytestmark = pytest.mark.browser
PLACE = "e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; }"


def a_mixer(**changes):
    torch.manual_seed(0)
    kernels = {name: torch.randn(5, 5) for name in ("one", "two", "three")}
    photos = {"a": torch.rand(32, 32), "b": torch.rand(32, 32)}
    return Mixer(**{"photo": photos, "kernels": kernels, "logits": [1.0, 0.0, -1.0], **changes})


def test_ribbons_stack_to_the_side_of_the_mix(chromium):
    body = "return [m.stacked(d.shares, 10, 96), m.stacked([1, 0], 0, 50)];"
    (bands, ends) = in_page(chromium, "wires", body, {"shares": [0.5, 0.3, 0.2]})
    assert sum(width for width, _ in bands) == pytest.approx(96)
    tops, bottoms = [m - w / 2 for w, m in bands], [m + w / 2 for w, m in bands]
    assert tops == pytest.approx([10, *bottoms[:-1]])
    assert ends[1][0] == 0.7  # what has no share is still seen where it would be


def test_values_on_their_way(chromium):
    body = """return [m.onTheWay([0, 2], [1, 4], 0.5), m.onTheWay(undefined, 3, 0.5), m.onTheWay([1], [1, 2], 0.5),
      m.onTheWay([[0], [1]], [[1], [1]], 0.25)];"""
    assert in_page(chromium, "easing", body, {}) == [[0.5, 3], 3, [1, 2], [[0.25], [1]]]


def test_one_scale_that_a_single_tap_does_not_set(chromium):
    body = "const {full, cut} = m.scaleOf(d.map((a) => Float32Array.from(a))); return [full, cut];"
    assert in_page(chromium, "diagram", body, [[0.5] * 30, [-0.5] * 29 + [9]]) == [0.5, True]
    assert in_page(chromium, "diagram", body, [[0, 0], [0, 3]]) == [3, False]


@pytest.mark.parametrize("width", [1200, 850, 390])
def test_the_figure_has_a_form_for_its_width(chromium, tmp_path, width):
    with opened(chromium, tmp_path, a_mixer(), viewport={"width": width, "height": 900}) as (tab, root):
        image, tile, result = (
            root.locator(one).first.evaluate(PLACE) for one in (".dc-main .dc-photo", ".dc-frame", ".dc-results")
        )
        main = root.locator(".dc-main").evaluate(PLACE)
        assert (tile[0] > image[2]) == (width > 390)  # beside the image, or beneath it
        assert (result[1] >= main[3]) == (width < 1000)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        for k in range(3):  # a ribbon begins at its tile
            path = (
                root.locator(".dc-ribbon")
                .nth(k)
                .evaluate("e => e.getBBox().x + e.ownerSVGElement.getBoundingClientRect().x")
            )
            frame = root.locator(".dc-frame").nth(k).evaluate(PLACE)
            assert width == 390 or path == pytest.approx(frame[2], abs=1.5)


COPIED = """root => [...root.querySelectorAll('.dc-glance')].map(one => {
  const pixels = canvas => canvas.toDataURL();
  const results = [...root.querySelectorAll('.dc-results .dc-node:not(.dc-small) canvas')].map(pixels);
  return [...one.querySelectorAll('canvas')].every((copy, i) => pixels(copy) === results[i]);
})"""


@pytest.mark.parametrize("width", [850, 390])
def test_on_a_phone_results_out_of_sight_are_seen_small(chromium, tmp_path, width):
    with opened(chromium, tmp_path, a_mixer(), viewport={"width": width, "height": 500}) as (tab, root):
        small, slider = root.locator(".dc-glance"), root.get_by_label("temperature T")
        slider.scroll_into_view_if_needed()
        tab.wait_for_function("root => root.querySelector('.dc-glance.dc-away')", arg=root.element_handle())
        assert small.is_visible() == (width == 390)
        if width == 390:
            assert small.locator("canvas").count() == 2
            assert small.evaluate(PLACE)[3] <= 500
            assert small.evaluate(PLACE)[2] <= width
            for _ in range(2):  # it follows what is moved
                slider.press("End")
                tab.wait_for_timeout(100)
                assert root.evaluate(COPIED) == [True]
                slider.press("Home")
        root.locator(".dc-results").scroll_into_view_if_needed()
        tab.wait_for_function("root => !root.querySelector('.dc-away')", arg=root.element_handle())
        assert not small.is_visible()


def test_one_kernel_dims_all_others(chromium, tmp_path):
    with opened(chromium, tmp_path, a_mixer(), viewport={"width": 850, "height": 900}) as (_, root):
        root.locator(".dc-frame").nth(1).focus()
        dim = root.locator(".dc-diagram [data-k]").evaluate_all(
            "all => all.map((e) => [e.dataset.k, getComputedStyle(e).opacity])"
        )
        assert {k for k, opacity in dim if float(opacity) < 0.3} == {"0", "2"}
        assert all(float(opacity) > 0.8 for k, opacity in dim if k == "1")
        root.get_by_label("temperature T").focus()
        assert root.locator(".dc-hot").count() == 0


def test_another_photo_moves_nothing_but_photos(chromium, tmp_path):
    with opened(chromium, tmp_path, a_mixer(), viewport={"width": 850, "height": 900}) as (tab, root):
        still = "root => [...root.querySelectorAll('.dc-tile, .dc-mixed')].map((c) => c.toDataURL()).concat([...root.querySelectorAll('.dc-cell, .dc-ribbon')].map((e) => e.outerHTML)).join()"
        first, image = root.evaluate(still), root.locator(".dc-main .dc-photo").evaluate("c => c.toDataURL()")
        root.get_by_role("radio", name="b").check()
        assert tab.evaluate("model.get('photo')") == "b"
        assert root.evaluate(still) == first
        assert root.locator(".dc-main .dc-photo").evaluate("c => c.toDataURL()") != image


def test_dark_and_light_follow_the_text(chromium, tmp_path):
    with opened(chromium, tmp_path, a_mixer(), color_scheme="dark") as (tab, root):
        assert root.locator(".dc-night").count() == 1
        tab.emulate_media(color_scheme="light")
        root.locator(".dc-diagram:not(.dc-night)").wait_for()


def test_the_palettes_are_the_style_sheets():
    css, palettes = (HERE / "diagram.css").read_text(), (HERE / "palettes.js").read_text()
    tokens = [
        line.split(": ")[1].rstrip(";")
        for line in css.splitlines()
        if line.strip().startswith(("--dc-neg", "--dc-zero", "--dc-pos"))
    ]
    assert len(tokens) == 6
    assert list(tokens) == [
        part for line in palettes.splitlines() if '= diverging("' in line for part in line.split('"')[1::2]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_bars_and_scales_keep_their_colours_where_a_system_forces_its_own(chromium, tmp_path, scheme):
    with opened(chromium, tmp_path, a_mixer(), forced_colors="active", color_scheme=scheme) as (_, root):
        for part in (".dc-fill", ".dc-signed-fill", ".dc-frame", ".dc-scale i"):
            drawn = root.locator(part).evaluate_all("all => all.map((e) => getComputedStyle(e).backgroundImage)")
            assert drawn, part
            assert all("gradient" in image for image in drawn), (part, drawn)

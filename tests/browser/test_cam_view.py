"""CAMView in the page: torch's numbers, and every control by keyboard."""

import pytest
import torch
import torch.nn.functional as F

from dynconv.lessons.views.cam import CAMView, cam_state
from dynconv.lessons.views.feature_attention import FeatureAttentionView
from dynconv.lessons.views.instrument import encode
from tests.browser.instruments import check_everyday_use, from_kernel, in_page, opened, seen

pytestmark = pytest.mark.browser


def a_view(**changes):
    features, weight, bias = torch.rand(40, 4, 6), torch.randn(24, 40), torch.randn(24)
    names = [f"class {k}" for k in range(24)]
    return CAMView(torch.rand(3, 16, 24), features, weight, bias, names, **changes)


def several(**changes):
    photos, features = (
        {name: torch.rand(3, 16, 24) for name in ("one", "two", "three", "four")},
        torch.rand(4, 40, 4, 6),
    )
    names = [f"class {k}" for k in range(24)]
    return CAMView(photos, features, torch.randn(24, 40), torch.randn(24), names, **changes)


def test_everything_it_shows(chromium):
    # small enough that float32 itself is finer than 5e-7
    features, weight, bias = torch.rand(40, 4, 6), torch.randn(24, 40) / 20, torch.randn(24) / 20
    body = """
      const features = decode(d.features), means = m.meansOf(features, 40, 24);
      const data = {features, weight: decode(d.weight), bias: decode(d.bias), means, channels: 40, area: 24};
      return [0, 5, 23].map((k) => { const s = m.camState(data, k);
        return {...s, map: Array.from(s.map), large: Array.from(m.enlarge(s.map, [4, 6], [31, 20]))}; });"""
    data = {"features": encode(features), "weight": encode(weight), "bias": encode(bias)}
    for k, got in zip((0, 5, 23), in_page(chromium, "cam", body, data), strict=True):
        expected = cam_state(features, weight, bias, k)
        assert got["half"] == expected["half"]
        assert got["strongest"] == expected["strongest"].tolist()
        assert abs(got["mean"] + bias[k] - expected["logit"]) < 5e-7
        expected["large"] = F.interpolate(expected["map"][None, None], (31, 20), mode="bilinear")[0, 0]
        for name in ("map", "contributions", "logit", "large"):
            value = torch.tensor(got[name]).reshape(expected[name].shape)
            torch.testing.assert_close(value, expected[name], atol=5e-7, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("contributions", "bias", "half"), [([3, 3, 3, 3], 0, 2), ([-3, -3, 1, -3], 0, 2), ([1, 0.5, 0, 0], 9, 0)]
)
def test_channels_for_half(chromium, contributions, bias, half):
    logit = sum(contributions) + bias
    body = "return m.channelsForHalf(d[0], d[1])"
    assert in_page(chromium, "cam", body, [contributions, logit]) == half


def test_sliders_and_reset(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (tab, root):
        check_everyday_use(tab, root)


def canvases(root, which):
    return root.locator(which).evaluate_all("all => all.map((c) => c.toDataURL())")


def test_the_overlay_goes_from_the_photo_to_the_map(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (_, root):
        opacity, both = root.get_by_label("opacity"), (".dc-above canvas, .dc-under canvas")
        opacity.press("Home")
        photo, overlay = canvases(root, both)
        assert overlay == photo
        opacity.press("End")
        photo_again, covered = canvases(root, both)
        assert photo_again == photo
        root.get_by_role("combobox", name="class").press("End")
        assert canvases(root, both)[1] not in (photo, covered)


def test_one_set_of_weights_for_all_photos(chromium, tmp_path):
    view = several()
    with opened(chromium, tmp_path, view) as (tab, root):
        weights = "root => [...root.querySelectorAll('.dc-bar-cell, .dc-ribbon')].map((e) => e.outerHTML).join()"
        first, maps = root.evaluate(weights), canvases(root, ".dc-under canvas")
        assert len(set(maps)) == 4
        for b, name in enumerate(view.photos):
            root.get_by_role("combobox", name="photo").select_option(name)
            assert root.evaluate(weights) == first  # another photo, the same weights
            state = cam_state(view.features[b], view.weight, view.bias, view.class_index)
            said = f"on {name}: the mean of the map, {state['map'].mean():.3f}".replace("-", "−")
            assert said in root.locator(".dc-summary").inner_text()
            note = root.locator(".dc-under .dc-remark").nth(b).inner_text()
            assert note == f"logit {state['logit']:.2f}".replace("-", "−")
        root.get_by_role("combobox", name="class").press("End")
        assert root.evaluate(weights) != first
        order = cam_state(view.features[0], view.weight, view.bias, view.classes[-1])["strongest"]
        shown = [float(text.replace("−", "-")) for text in root.locator(".dc-bar-cell b").all_inner_texts()]
        assert shown == pytest.approx(view.weight[view.classes[-1]][order].tolist(), abs=6e-3)
        assert tab.evaluate("model.get('image')") == "four"


@pytest.mark.parametrize("width", [1000, 390])
def test_several_photos_every_day(chromium, tmp_path, width):
    with opened(chromium, tmp_path, several(image="two"), viewport={"width": width, "height": 900}) as (tab, root):
        check_everyday_use(tab, root)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_classes_and_channels_by_keyboard(chromium, tmp_path):
    view = a_view()
    with opened(chromium, tmp_path, view) as (tab, root):
        first, chosen, channels = seen(root), root.get_by_role("combobox"), root.get_by_role("radio")
        assert chosen.locator("option").count() == 20
        chosen.press("End")
        last = seen(root)
        assert last != first
        k = view.classes[-1]
        expected = cam_state(view.features[0], view.weight, view.bias, k)
        assert f"{expected['logit']:.3f}".replace("-", "−") in root.locator(".dc-summary").inner_text()
        assert tab.evaluate("model.get('class_index')") == k
        channels.first.press("ArrowUp")  # radio buttons go round: to the eighth
        assert seen(root) != last
        assert tab.evaluate("model.get('rank')") == 8
        assert f"Channel {expected['strongest'][7]} adds" in root.locator(".dc-summary").inner_text()
        assert root.locator(".dc-picked").evaluate_all("all => all.map((e) => e.dataset.k)") == ["7", "7"]
        chosen.press("Home")
        root.get_by_label("opacity").press("Home")
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first


def test_the_kernel_can_set_it(chromium, tmp_path):
    view = a_view()
    with opened(chromium, tmp_path, view) as (tab, root):
        first = seen(root)
        from_kernel(
            tab, f"model.set('class_index', {view.classes[7]}); model.set('rank', 3); model.set('opacity', 0.25)"
        )
        assert seen(root) != first
        assert root.get_by_role("combobox").input_value() == "7"
        assert root.get_by_role("radio").nth(2).is_checked()
        assert "by 25 %" in root.locator(".dc-summary").inner_text()


def test_few_channels_and_a_narrow_page(chromium, tmp_path):
    view = CAMView(torch.rand(3, 9, 9), torch.rand(2, 3, 3), torch.randn(1, 2), None, ["only"])
    with opened(chromium, tmp_path, view, viewport={"width": 380, "height": 700}) as (tab, root):
        assert root.get_by_role("radio").count() == 2
        assert tab.evaluate("document.documentElement.scrollWidth") == 380
        check_everyday_use(tab, root)


@pytest.mark.parametrize("view", ["cam", "feature attention"])
def test_on_a_phone_one_photo_and_its_map_are_large(chromium, tmp_path, view):
    shown = several() if view == "cam" else several_attended()
    with opened(chromium, tmp_path, shown, viewport={"width": 390, "height": 844}) as (tab, root):
        large = root.locator(".dc-large canvas")
        assert all(box["width"] >= 160 and box["x"] >= 0 for box in (one.bounding_box() for one in large.all()))
        before = large.evaluate_all("all => all.map((c) => c.toDataURL())")
        root.get_by_role("combobox").last.press("End")
        after = large.evaluate_all("all => all.map((c) => c.toDataURL())")
        assert all(a != b for a, b in zip(before, after, strict=True))
        assert tab.evaluate("document.documentElement.scrollWidth") == 390


def several_attended():
    images = {name: torch.rand(3, 16, 24) for name in ("one", "two", "three", "four")}
    return FeatureAttentionView(images, torch.randn(4, 12, 6, 8), torch.randn(12), torch.randn(12))


def test_colour_bars_end_where_the_scales_do(chromium, tmp_path):
    view = several()
    with opened(chromium, tmp_path, view, viewport={"width": 1100, "height": 900}) as (_, root):
        ends = [[float(t.replace("−", "-")) for t in bar.locator("span").all_inner_texts()] for bar in root.locator(".dc-results .dc-scale").all()]  # fmt: skip
        maps = torch.einsum("bchw,kc->bkhw", view.features, view.weight[view.classes])
        most = view.features.abs().max().item()
        assert ends[0] == pytest.approx([-most, most], abs=6e-3)
        assert ends[1] == pytest.approx([maps.min().item(), maps.max().item()], rel=6e-3)  # three digits

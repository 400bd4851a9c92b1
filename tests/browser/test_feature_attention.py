"""FeatureAttentionView in the page: torch's numbers, and every control by keyboard."""

import pytest
import torch

from dynconv.lessons.views.feature_attention import FeatureAttentionView, feature_attention_state
from dynconv.lessons.views.instrument import encode
from tests.browser.instruments import check_everyday_use, from_kernel, in_page, opened, seen

pytestmark = pytest.mark.browser


def a_view(**changes):
    images = {name: torch.rand(3, 9, 12) for name in ("first", "second", "third")}
    features = torch.randn(3, 20, 6, 8) * torch.tensor([1.0, 2.0, 4.0])[:, None, None, None]
    weights = {"average": torch.randn(20), "maximum": torch.randn(20)}
    return FeatureAttentionView(images, features, **weights, gamma=torch.randn(3, 20), **changes)


@pytest.mark.parametrize(("blend", "rho"), [(0, 0), (0.3, 0.7), (1, 1)])
def test_everything_it_shows(chromium, blend, rho):
    names = ("features", "average", "maximum", "gamma", "beta")
    shapes = ((3, 20, 6, 8), (20,), (20,), (3, 20), (3, 20))
    arrays = {name: torch.randn(shape) / 4 for name, shape in zip(names, shapes, strict=True)}
    body = """
      const data = {eps: 1e-5, shape: [3, 20, 6, 8]};
      for (const [name, text] of Object.entries(d.arrays)) data[name] = decode(text);
      data.branches = m.branchesOf(data);
      return m.featureAttentionState(data, {blend: d.blend, channel: 11, rho: d.rho}).map((s) =>
        ({logits: s.logits, heatmaps: Array.from(s.heatmap), normalized: Array.from(s.normalized)}));"""
    data = {"arrays": {name: encode(array) for name, array in arrays.items()}, "blend": blend, "rho": rho}
    got = in_page(chromium, "feature_attention", body, data)
    arrays = {name: array.double() for name, array in arrays.items()}  # the exact values
    expected = feature_attention_state(**arrays, blend=blend, channel=11, rho=rho)
    for name in ("logits", "heatmaps", "normalized"):
        value = torch.tensor([image[name] for image in got], dtype=torch.float64).reshape(expected[name].shape)
        torch.testing.assert_close(value, expected[name], atol=5e-7, rtol=0, msg=name)


def test_sliders_and_reset(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (tab, root):
        check_everyday_use(tab, root)


def test_images_and_channels_by_keyboard(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (tab, root):
        first, said = seen(root), root.locator(".dc-summary")
        rows, chosen = root.locator(".dc-which").all_inner_texts(), root.locator(".dc-channel-name").all_inner_texts()
        assert rows == [name.replace("channel", "ch.") for name in chosen]
        assert "its weighted sum goes from" in said.inner_text()
        root.get_by_role("combobox").press("End")
        assert "third: logits" in said.inner_text()
        assert root.locator(".dc-chosen .dc-name").all_inner_texts() == ["third"]
        assert tab.evaluate("model.get('image')") == "third"
        before = seen(root)
        root.get_by_role("radio").first.press("ArrowUp")  # radio buttons go round: to the eighth
        assert seen(root) != before
        assert tab.evaluate("model.get('rank')") == 8
        root.get_by_label("rho").press("Home")
        root.get_by_label("average ↔ maximum").first.press("End")
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first


def test_weights_stay_while_maps_move(chromium, tmp_path):
    view, weights = (
        a_view(),
        "root => [...root.querySelectorAll('.dc-bar-cell, .dc-ribbon')].map((e) => e.outerHTML).join()",
    )
    maps = "root => [...root.querySelectorAll('.dc-under-0 canvas')].map((c) => c.toDataURL())"
    with opened(chromium, tmp_path, view) as (_, root):
        first = root.evaluate(weights)
        assert len(set(root.evaluate(maps))) == 3
        root.get_by_role("combobox").press("End")
        root.get_by_label("rho").press("End")
        assert root.evaluate(weights) == first
        pictures = root.evaluate(maps)
        root.get_by_label("average ↔ maximum").press("End")
        assert root.evaluate(weights) != first  # the other classifier's
        assert root.evaluate(maps) != pictures
        shown = [float(text.replace("−", "-")) for text in root.locator(".dc-bar-cell b").all_inner_texts()]
        strongest = feature_attention_state(**view.arrays, blend=1, channel=0, rho=1)["strongest"]
        assert shown == pytest.approx(view.arrays["maximum"][strongest].tolist(), abs=6e-3)


def test_instance_norm_forgets_how_strong_a_channel_was(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view(rho=1.0, experiments={"layer norm": {"rho": 0.0}})) as (tab, root):
        said = root.locator(".dc-summary")
        assert "with mean +0.00" in said.inner_text().replace("−0.00", "+0.00")
        root.get_by_role("button", name="layer norm").press("Enter")
        assert "At rho = 0.00" in said.inner_text()
        assert tab.evaluate("model.get('rho')") == 0
        from_kernel(tab, "model.set('blend', 0.25); model.set('rank', 4); model.set('image', 'second')")
        assert "25 %" in said.inner_text()
        assert "second: logits" in said.inner_text()
        assert root.get_by_role("radio").nth(3).is_checked()


def test_three_images_on_a_narrow_page(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view(), viewport={"width": 380, "height": 700}) as (tab, root):
        assert tab.evaluate("document.documentElement.scrollWidth") == 380
        check_everyday_use(tab, root)


def test_one_image_on_a_narrow_page(chromium, tmp_path):
    view = FeatureAttentionView(
        {"only": torch.rand(1, 9, 9)}, torch.randn(1, 2, 3, 3), torch.randn(2), torch.randn(2), rho=0.5
    )
    with opened(chromium, tmp_path, view, viewport={"width": 380, "height": 700}) as (tab, root):
        assert root.get_by_role("radio").count() == 2
        assert tab.evaluate("document.documentElement.scrollWidth") == 380
        check_everyday_use(tab, root)

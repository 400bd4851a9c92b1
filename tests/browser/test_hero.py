"""Hero in the page: torch's numbers, nothing told before the bet, and only one side moves."""

import json
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from dynconv.functional import softmax_temperature
from dynconv.lessons.data import restorer
from dynconv.lessons.views.hero import Hero
from tests.browser.instruments import in_page, opened

pytestmark = pytest.mark.browser
STATE = """
  const data = m.read(d.view);
  return d.states.map((at) => m.heroState(data, at).layers
    .map((one) => ({weights: one.weights, kernel: Array.from(one.kernel), map: Array.from(one.map), error: one.error})));"""


def a_hero():
    generator = torch.Generator().manual_seed(0)
    film, clean = (torch.randn(24, 48, generator=generator) for _ in range(2))
    return Hero(restorer("mix"), restorer("dynamic"), film, clean)


def test_both_layers_are_torchs(chromium):
    hero = a_hero()
    states = [{"position": p, "temperature": T} for p, T in product((0, 2, 6), (0.3, 1, 30))]
    got = in_page(chromium, "hero", STATE, {"view": json.loads(hero.data), "states": states})
    for at, page in zip(states, got, strict=True):
        x, T = hero.windows[at["position"]], at["temperature"]
        wanted = hero.clean[:, 4 * at["position"] :][:, :24][4:-4, 4:-4]
        logits = [
            hero.static.attention.logits,
            hero.dynamic.attention[-1].logits(hero.dynamic.attention[:-1](x[None]))[0],
        ]
        for layer, z, one in zip((hero.static, hero.dynamic), logits, page, strict=True):
            pi = softmax_temperature(z, T)
            kernel = torch.einsum("k,koihw->oihw", pi, layer.weight)
            y = F.conv2d(x[None], kernel, pi @ layer.bias)
            torch.testing.assert_close(torch.tensor(one["weights"]), pi, atol=2e-6, rtol=0)
            torch.testing.assert_close(torch.tensor(one["kernel"]), kernel.flatten(), atol=2e-6, rtol=0)
            torch.testing.assert_close(torch.tensor(one["map"]), y.flatten(), atol=2e-5, rtol=0)
            assert one["error"] == pytest.approx(F.mse_loss(y[0, 0], wanted).item(), abs=2e-5)


@pytest.mark.parametrize("width", [1200, 850, 390])
def test_the_wires_come_after_the_bet(chromium, tmp_path, width):
    with opened(chromium, tmp_path, a_hero(), viewport={"width": width, "height": 900}) as (tab, root):
        photo, said = root.get_by_label("slide the photo"), root.locator(".dc-summary")
        assert root.locator(".dc-live path, .dc-plug").count() == 0
        assert "dynamic" not in root.locator(".dc-diagram").inner_text()
        before = root.locator(".dc-share b").all_inner_texts()
        height = root.evaluate("e => e.getBoundingClientRect().height")
        photo.press("End")
        after = root.locator(".dc-share b").all_inner_texts()
        assert before[:4] == after[:4]  # parameters stand still
        assert before[4:] != after[4:]
        photo.press("ArrowLeft")
        assert tab.evaluate("model.get('position')") == 5
        root.get_by_role("button", name="the left one").press("Enter")
        assert tab.evaluate("model.get('bet')") == "left"
        assert said.inner_text().startswith("No. Only at the right does a wire lead from the photo to the weights.")
        assert root.locator(".dc-plug").count() == 1
        assert "yours" not in root.inner_text()  # which of them the question's layer is, is a bet further down
        assert root.locator(".dc-live path").count() == 5  # a stem, and a wire to each of four bars
        root.get_by_role("button", name="the right one").press("Enter")
        assert said.inner_text().startswith("Yes.")
        assert root.evaluate("e => e.getBoundingClientRect().height") == height
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        root.get_by_role("button", name="Reset").press("Enter")
        assert root.locator(".dc-live path, .dc-plug").count() == 0

"""TemperatureBench in the page: torch's numbers, and every control by keyboard."""

import random

import pytest
import torch

from dynconv.lessons.views.temperature import TemperatureBench, temperature_state
from tests.browser.instruments import PLACES, check_tab_order, from_kernel, in_page, opened

pytestmark = pytest.mark.browser
# bars, curves and words, but not the sliders and their numbers
DRAWN = "root => [...root.querySelectorAll('.dc-rows .dc-track, .dc-rows b, .dc-chart, .dc-figures, .dc-summary')].map((e) => e.outerHTML).join()"


@pytest.mark.parametrize(("temperature", "scale"), [(0.1, 0.1), (0.1, 3.0), (1.0, 1.0), (100.0, 0.1), (30.0, 100.0)])
def test_everything_it_shows(chromium, temperature, scale):
    logits, upstream = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    state = {"logits": logits.tolist(), "temperature": temperature, "scale": scale}
    data = {"upstream": upstream.tolist(), "state": state}
    got = in_page(chromium, "temperature", "return m.temperatureState(d, d.state)", data)
    for name, value in temperature_state(logits, temperature, scale, upstream).items():
        torch.testing.assert_close(torch.tensor(got[name], dtype=torch.float64), value, atol=5e-7, rtol=1e-12, msg=name)


def test_the_curves_are_torchs(chromium):
    logits, upstream = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    data = {"upstream": upstream.tolist(), "state": {"logits": logits.tolist(), "scale": 2.0}}
    got = in_page(chromium, "temperature", "return m.overTemperatures(d, d.state)", data)
    for shown, temperature in zip(got, torch.logspace(-1, 2, 61, dtype=torch.float64), strict=True):
        expected = temperature_state(logits, temperature.item(), 2.0, upstream)
        for name in ("weights", "gradient"):
            torch.testing.assert_close(
                torch.tensor(shown[name], dtype=torch.float64), expected[name], atol=5e-7, rtol=0
            )


@pytest.mark.parametrize("count", [1, 4, 8])
def test_every_control_and_reset(chromium, tmp_path, count):
    view = TemperatureBench(torch.linspace(2, -1, count), experiments={"cancel": {"temperature": 30, "scale": 30}})
    with opened(chromium, tmp_path, view) as (tab, root):
        first = root.evaluate(DRAWN)
        assert "cancel" not in root.locator(".dc-summary").inner_text()  # s = 1 and T = 1 are no news
        sliders = root.locator("input[type=range]").all()
        assert len(sliders) == count + 2
        for slider in sliders:
            shown = []
            for key in ("Home", "End", "ArrowLeft"):
                slider.press(key)
                shown.append(root.evaluate(DRAWN))
            assert len(set(shown)) == 3
        root.get_by_role("button", name="Reset").click()
        assert root.evaluate(DRAWN) == first
        root.get_by_role("button", name="cancel").press("Enter")
        assert root.locator(".dc-summary").inner_text().startswith("s and T cancel exactly")
        assert tab.evaluate("model.get('scale')") == 30
        sliders[0].press("ArrowLeft")
        assert "cancel" not in root.locator(".dc-summary").inner_text()
        check_tab_order(tab, root)


def test_any_order_is_finite_and_labelled(chromium, tmp_path):
    view = TemperatureBench([2.0, 1.0, -1.0])
    with opened(chromium, tmp_path, view) as (_, root):
        first, sliders = root.evaluate(DRAWN), root.locator("input[type=range]")
        assert sliders.evaluate_all("all => all.every((e) => e.labels[0]?.innerText)")
        draw = random.Random(0)
        for _ in range(40):
            sliders.nth(draw.randrange(5)).press(draw.choice(("Home", "End", "ArrowRight", "PageUp", "PageDown")))
            drawn = root.evaluate(DRAWN)
            assert "NaN" not in drawn
            assert "Infinity" not in drawn
        root.get_by_role("button", name="Reset").press("Enter")
        assert root.evaluate(DRAWN) == first


def test_what_python_sets_is_shown(chromium, tmp_path):
    with opened(chromium, tmp_path, TemperatureBench([2.0, 0.0], names=["near", "far"])) as (tab, root):
        from_kernel(tab, "model.set('logits', [0, 3]); model.set('temperature', 0.5)")
        weight = torch.softmax(torch.tensor([0.0, 6.0]), 0)[1].item()
        assert f"far gets {100 * weight:.0f} % of the mix" in root.locator(".dc-summary").inner_text()


def test_the_stages_row_by_row_and_no_wire_from_an_image(chromium, tmp_path):
    logits, names = torch.tensor([2.0, 0.5, -1.0]), ["blur", "edge", "corner"]
    with opened(chromium, tmp_path, TemperatureBench(logits.tolist(), names=names, temperature=0.5)) as (_, root):
        kinds = root.locator(".dc-wire").evaluate_all("all => all.map((e) => e.getAttribute('class'))")
        assert kinds == 4 * ["dc-wire dc-grey"]
        between = [root.locator(".dc-wire").nth(i).locator("path").count() for i in (1, 2, 3)]
        assert between == [3, 3, 3]  # one a row, and no stem
        assert root.locator(".dc-plug").count() == 1  # only what would come from an image is unplugged
        rows = [root.locator(f".dc-cell[data-k='{k}'] b").all_inner_texts() for k in range(3)]
        now = temperature_state(logits, 0.5, 1.0, torch.linspace(1, -1, 3))
        expected = torch.stack([now["divided"], 100 * now["powers"], 100 * now["weights"], now["gradient"]], dim=1)
        shown = torch.tensor([[float(text.replace("−", "-").split()[0]) for text in texts] for texts in rows])
        torch.testing.assert_close(shown, expected, atol=0.51, rtol=0)
        torch.testing.assert_close(shown[:, [0, 3]], expected[:, [0, 3]], atol=6e-3, rtol=0)


@pytest.mark.parametrize("width", [380, 1000])
def test_nothing_jumps_and_a_phone_is_wide_enough(chromium, tmp_path, width):
    view = TemperatureBench([2.0, 1.0, 0.0, -1.0], names=["blur", "edge", "corner", "a rather long name for a kernel"])
    with opened(chromium, tmp_path, view, viewport={"width": width, "height": 900}) as (tab, root):
        places = root.evaluate(PLACES)
        for label in ("temperature T", "scale of the logits s", "logit 3", "logit 4"):
            for key in ("Home", "End"):
                root.get_by_label(label).press(key)
                assert root.evaluate(PLACES) == places
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")

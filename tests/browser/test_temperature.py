"""TemperatureBench in the page: torch's numbers, and every control by keyboard."""

import pytest
import torch
from test_cam_view import check_tab_order, in_page, opened, seen

from dynconv.views.temperature import TemperatureBench, temperature_state

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("temperature", "scale"), [(0.1, 0.1), (0.1, 3.0), (1.0, 1.0), (100.0, 0.1), (30.0, 100.0)])
def test_everything_it_shows(chromium, temperature, scale):
    logits, upstream = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    state = {"logits": logits.tolist(), "temperature": temperature, "scale": scale}
    data = {"upstream": upstream.tolist(), "state": state}
    got = in_page(chromium, "temperature", "return m.temperatureState(d, d.state)", data)
    for name, value in temperature_state(logits, temperature, scale, upstream).items():
        torch.testing.assert_close(torch.tensor(got[name], dtype=torch.float64), value, atol=5e-7, rtol=1e-12, msg=name)


@pytest.mark.parametrize("count", [1, 4, 8])
def test_every_control_and_reset(chromium, tmp_path, count):
    view = TemperatureBench(torch.linspace(2, -1, count), experiments={"cancel": {"temperature": 30, "scale": 30}})
    with opened(chromium, tmp_path, view) as (tab, root):
        first = seen(root)
        for slider in root.locator("input[type=range]").all():
            shown = []
            for key in ("Home", "End", "ArrowLeft"):
                slider.press(key)
                shown.append(seen(root))
            assert len(set(shown)) == 3
        root.get_by_role("button", name="Reset").click()
        assert seen(root) == first
        root.get_by_role("button", name="cancel").press("Enter")
        assert root.locator(".dc-summary").inner_text().startswith("Scale and temperature cancel")
        assert tab.evaluate("model.get('scale')") == 30
        check_tab_order(tab, root)


def test_nothing_jumps_and_a_phone_is_wide_enough(chromium, tmp_path):
    view = TemperatureBench([2.0, 1.0, 0.0, -1.0])
    with opened(chromium, tmp_path, view, viewport={"width": 380, "height": 900}) as (tab, root):
        box = root.bounding_box()
        for label in ("temperature T", "scale of the logits s", "logit 3"):
            for key in ("Home", "End"):
                root.get_by_label(label).press(key)
                assert root.bounding_box() == box
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")

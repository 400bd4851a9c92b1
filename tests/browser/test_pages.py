"""Instruments as pages of their own: opened from a file, with no kernel and no network, they answer as in JupyterLab."""

import pytest
import torch
from instruments import check_everyday_use, opened
from lab import FINGERPRINT

from dynconv.views import Mixer
from dynconv.views.page import page

pytestmark = pytest.mark.browser


def test_a_page_from_a_file_is_alive(chromium, tmp_path):
    mixer = Mixer(torch.rand(24, 24), {"</script>": torch.rand(3, 3), "copy": torch.eye(3)}, temperature=0.5)
    path = tmp_path / "mixer.html"
    path.write_text(page(mixer, "Mixer"), encoding="utf-8")
    context = chromium.new_context(offline=True)
    tab = context.new_page()
    errors = []
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.goto(path.as_uri())
    root = tab.locator(".dynconv")
    before = root.evaluate(FINGERPRINT)
    tab.get_by_label("logit 2").press("End")
    assert root.evaluate(FINGERPRINT) != before
    tab.get_by_role("button", name="Reset").click()
    assert root.evaluate(FINGERPRINT) == before
    assert tab.evaluate("model.get('temperature')") == 0.5
    assert not errors
    context.close()


@pytest.mark.parametrize("width", [340, 390, 1000])
def test_nothing_in_the_mixer_jumps(chromium, tmp_path, width):
    torch.manual_seed(0)
    kernels = {f"horizontal edges {i}": torch.randn(5, 5) for i in range(4)}
    mixer = Mixer(torch.rand(24, 24), kernels, logits=[2.0, 1.0, 0.0, -1.0])
    with opened(chromium, tmp_path, mixer, viewport={"width": width, "height": 900}) as (tab, root):
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check_everyday_use(tab, root)

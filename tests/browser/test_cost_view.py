"""CostView in the page: Python's numbers, and every control by keyboard."""

import pytest

from dynconv.lessons.views.cost import CostView, cost_state
from tests.browser.instruments import PLACES, check_tab_order, in_page, opened, seen

pytestmark = pytest.mark.browser
NAMES = ("channels", "size", "kernel_size", "num_kernels", "batch")


@pytest.mark.parametrize("sizes", [(8, 1, 1, 1, 1), (512, 64, 7, 8, 128), (10, 7, 3, 4, 32)])
def test_everything_it_counts(chromium, sizes):
    named = dict(zip(NAMES, sizes, strict=True))
    assert in_page(chromium, "cost", "return m.costState(d);", named) == cost_state(**named)


def test_numbers_in_words(chromium):
    body = "return d.map(m.amount);"
    assert in_page(chromium, "words", body, [0, 7, 999, 1200, 512e6, 3.6e9]) == [
        "0",
        "7",
        "999",
        "1.2 k",
        "512 M",
        "3.6 G",
    ]


@pytest.mark.parametrize(
    "options", [{}, {"viewport": {"width": 390, "height": 800}}, {"color_scheme": "dark"}], ids=str
)
def test_controls_and_experiments(chromium, tmp_path, options):
    view = CostView(experiments={"late layer": {"channels": 512, "size": 7}})
    with opened(chromium, tmp_path, view, **options) as (tab, root):
        first, places = seen(root), root.evaluate(PLACES)
        for slider in root.locator("input[type=range]").all():
            shown = []
            for key in ("Home", "ArrowRight", "End", "ArrowLeft"):
                slider.press(key)
                shown.append(seen(root))
                assert root.evaluate(PLACES) == places
            assert len(set(shown)) == 4
            root.get_by_role("button", name="Reset").press("Enter")
            assert seen(root) == first
        root.get_by_role("button", name="late layer").press("Enter")
        assert tab.evaluate("[model.get('channels'), model.get('size'), model.get('kernel_size')]") == [512, 7, 3]
        assert "mixing adds 8.2 %" in root.locator(".dc-summary").inner_text()
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check_tab_order(tab, root)

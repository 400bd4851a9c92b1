"""BranchesView and RescaleView in the page: torch's numbers, every control by keyboard, nothing jumps."""

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe

from dynconv.lessons.views.branches import SOURCES, BranchesView, branches_state
from dynconv.lessons.views.instrument import encode
from dynconv.lessons.views.rescale import RescaleView, rescale_state
from tests.browser.instruments import PLACES, check_everyday_use, check_tab_order, in_page, opened, seen

pytestmark = pytest.mark.browser


def given():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in ((2, 12, 16), (3, 2, 3, 3), (3, 2, 2), (3,))]


def branches():
    photos, kernels, look, _ = given()
    names = dict(zip(("one", "two", "three"), kernels, strict=True))
    return BranchesView({"a": photos[0], "b": 2 * photos[1]}, names, look, experiments={"SK": {"source": SOURCES[2]}})


def rescale():
    photos, kernels, _, _ = given()
    return RescaleView(photos[0], {"one": kernels[0, 0], "two": kernels[1, 0]}, [0.8, 0.2])


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("activation", [False, True])
def test_the_page_mixes_as_torch_does(chromium, source, activation):
    values = given()
    plain, expected = (branches_state(*values, source, on) for on in (False, activation))
    weights = plain["weights"][1]  # (K, C, H, W)
    few = {SOURCES[2]: weights[:, :, 0, 0], SOURCES[3]: weights[:, 0]}.get(source, weights[:, 0, 0, 0])
    body = """
      const s = m.branchesState({maps: decode(d.maps), weights: decode(d.weights), area: 192, count: 3, activation: d.on});
      return {maps: Array.from(s.branches), mixed: Array.from(s.mixed), shares: s.shares.flat(),
        places: s.places.flatMap((one) => Array.from(one))};"""
    sent = {"maps": encode(plain["maps"][1]), "weights": encode(few), "on": activation}
    got = {name: torch.tensor(value) for name, value in in_page(chromium, "branches", body, sent).items()}
    for name in ("maps", "mixed"):
        torch.testing.assert_close(got[name].view_as(expected[name][1]), expected[name][1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got["places"].view(3, 12, 16), weights[:, 0], atol=5e-7, rtol=0)
    torch.testing.assert_close(got["shares"].view(2, 3), weights.mean((2, 3)).T, atol=5e-7, rtol=0)


@pytest.mark.parametrize("share", [0.02, 0.37, 0.98])
def test_the_page_rescales_as_torch_does(chromium, share):
    kernels, weights = torch.randn(3, 3, 3), [0.5, 0.3, 0.2]
    body = """
      const s = m.rescaleState({kernels: decode(d.kernels), weights: d.weights, size: 3}, 1, d.share);
      return {weights: s.weights, kernels: Array.from(s.kernels), mixed: Array.from(s.mixed)};"""
    got = in_page(chromium, "rescale", body, {"kernels": encode(kernels), "weights": weights, "share": share})
    for name, value in rescale_state(kernels, torch.tensor(weights), 1, share).items():
        torch.testing.assert_close(torch.tensor(got[name]).reshape(value.shape), value, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("width", [390, 850, 1200])
def test_branches_by_keyboard(chromium, tmp_path, width):
    with opened(chromium, tmp_path, branches(), viewport={"width": width, "height": 900}) as (tab, root):
        first, places, said = seen(root), root.evaluate(PLACES), root.locator(".dc-summary")
        assert "Folds into one convolution: yes" in said.inner_text()
        shown = {first}
        for _ in SOURCES[1:]:
            root.locator("input[type=radio]:checked").press("ArrowDown")
            shown.add(seen(root))
        assert tab.evaluate("model.get('source')") == "position"
        assert "The same at every position: no" in said.inner_text()
        root.get_by_role("checkbox").press("Space")
        assert "a ReLU in each branch" in said.inner_text()
        root.get_by_role("combobox").select_option("b")
        shown |= {seen(root)}
        assert len(shown) == 5
        assert root.evaluate(PLACES) == places
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        root.get_by_role("button", name="Reset").click()
        assert seen(root) == first
        check_tab_order(tab, root)


def test_parameters_do_not_hear_of_the_photo(chromium, tmp_path):
    with opened(chromium, tmp_path, branches()) as (tab, root):
        weights = "root => [...root.querySelectorAll('.dc-share b')].map((e) => e.innerText)"
        for source, moves in ((0, False), (1, True), (2, True)):
            root.locator("input[type=radio]").nth(source).check()
            both = []
            for photo in "ab":
                root.get_by_role("combobox").select_option(photo)
                tab.wait_for_timeout(50)
                both.append(root.evaluate(weights))
            assert (both[0] != both[1]) == moves, SOURCES[source]


def test_the_wire_and_what_is_left_over(chromium, tmp_path):
    with opened(chromium, tmp_path, branches(), viewport={"width": 1200, "height": 900}) as (tab, root):
        left = "root => root.querySelector('.dc-results').lastElementChild.querySelector('canvas').toDataURL()"
        for source, kind in enumerate(("grey", "live", "live", "live")):
            root.locator("input[type=radio]").nth(source).check()
            assert root.locator(f".dc-wire.dc-{kind}").count() == 1
            assert root.locator(".dc-wire.dc-live").count() == (source > 0)
            pictures = []
            for activation in (False, True):
                root.get_by_role("checkbox").set_checked(activation)
                tab.wait_for_timeout(50)
                pictures.append(root.evaluate(left))
            assert pictures[0] != pictures[1], SOURCES[source]


def test_rescale_by_keyboard(chromium, tmp_path):
    with opened(chromium, tmp_path, rescale(), viewport={"width": 1200, "height": 900}) as (tab, root):
        check_everyday_use(tab, root)
        output, said = root.get_by_role("img", name="output, with these weights"), root.locator(".dc-summary")
        before = output.evaluate("e => e.toDataURL()")
        root.get_by_label("its weight").press("Home")
        assert "two has the largest weight, 98 %, one the largest part of the output, as before." in said.inner_text()
        assert output.evaluate("e => e.toDataURL()") == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("build", [branches, rescale])
def test_axe_is_content(chromium, tmp_path, build, scheme):
    with opened(chromium, tmp_path, build(), color_scheme=scheme) as (tab, _):
        options = {"runOnly": ["wcag2a", "wcag2aa"], "resultTypes": ["violations"]}
        found = Axe().run(tab, options=options).response["violations"]
        assert not [v["id"] for v in found if v["impact"] in ("serious", "critical")]

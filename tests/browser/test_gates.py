"""GatesView in the page: torch's numbers, and every control by keyboard."""

import pytest
import torch

from dynconv.lessons.views.gates import GatesView, gates_state
from dynconv.lessons.views.instrument import encode
from tests.browser.instruments import check_everyday_use, from_kernel, in_page, opened, seen

pytestmark = pytest.mark.browser


def a_view(**changes):
    images = {name: torch.rand(3, 12, 16) for name in ("first", "second", "third")}
    logits = {"stage 1": torch.randn(3, 12, 16), "stage 2": torch.randn(3, 6, 8)}
    return GatesView(images, logits, {"stage 1": (1000, 1500), "stage 2": (2000, 3000)}, **changes)


@pytest.mark.parametrize("budget", [None, 0, 0.17, 0.5, 1])
@pytest.mark.parametrize("temperature", [0.1, 1.3, 100])
def test_everything_it_shows(chromium, budget, temperature):
    logits = torch.randn(3, 7, 5)
    body = """
      const s = m.gatesState({logits: decode(d.logits), shape: [3, 7, 5], macs: [90, 160]}, d.state);
      return {...s, threshold: Number.isFinite(s.threshold) ? s.threshold : null, gate: Array.from(s.gate),
        soft: Array.from(s.soft), needed: Array.from(s.needed)};"""
    state = {"budget": budget, "temperature": temperature}
    got = in_page(chromium, "gates", body, {"logits": encode(logits), "state": state})
    expected = gates_state(logits, (90, 160), budget, temperature)
    if budget == 0:
        assert got["threshold"] is None  # infinite
        assert expected.pop("threshold") == torch.inf
    for name, value in expected.items():
        exact = {"atol": 5e-7 if name == "soft" else 0, "rtol": 0}
        shown = torch.tensor(got[name], dtype=torch.float32).reshape(value.shape)
        torch.testing.assert_close(shown, value, **exact, msg=name)


def test_sliders_and_reset(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view()) as (tab, root):
        check_everyday_use(tab, root)


def test_sliders_and_reset_from_a_budget(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view(budget=0.3, temperature=0.37)) as (tab, root):
        check_everyday_use(tab, root)
        assert tab.evaluate("[model.get('budget'), model.get('temperature')]") == [0.3, 0.37]


def test_budget_and_as_trained(chromium, tmp_path):
    view = a_view()
    with opened(chromium, tmp_path, view) as (tab, root):
        first, said = seen(root), root.locator(".dc-summary")
        slider, box = root.get_by_label("positions open"), root.get_by_role("checkbox")
        positions = torch.cat([logits.flatten() for logits in view.logits.values()])
        assert box.is_checked()
        assert f"with {100 * (positions >= 0).float().mean():.0f} % of the positions open" in said.inner_text()
        slider.press("Home")
        assert not box.is_checked()
        assert "With 0 % of the positions open" in said.inner_text()
        assert "saves 100 %" in said.inner_text()
        assert tab.evaluate("model.get('budget')") == 0
        slider.press("End")
        assert "100 % for first, 100 % for second, 100 % for third" in said.inner_text()
        box.press("Space")
        assert seen(root) == first
        assert tab.evaluate("model.get('budget')") is None
        box.press("Space")  # what is open as trained becomes the budget
        assert tab.evaluate("model.get('budget')") == pytest.approx((positions >= 0).float().mean().item())
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first


def test_images_and_costs(chromium, tmp_path):
    view = a_view(budget=0.25)
    with opened(chromium, tmp_path, view) as (tab, root):
        first = seen(root)
        root.get_by_role("radio", name="third").check()
        assert seen(root) != first
        assert "Picture “third” saves" in root.locator(".dc-summary").inner_text()
        assert tab.evaluate("model.get('image')") == "third"
        states = [gates_state(view.logits[name], view.macs[name], 0.25, 1.0) for name in view.logits]
        used, total = (
            sum(s[name][2] if s[name].ndim else s[name] for s in states).item() for name in ("used", "total")
        )
        text = root.locator(".dc-cost-text").last.inner_text()
        assert f"{used / 1000:.0f} k of {total / 1000:.0f} k multiply-adds: {100 * used / total:.0f} % spent" in text
        assert f"{100 - 100 * used / total:.0f} % saved" in text


MASK = """root => [...root.querySelectorAll('.dc-tile')].map((c) => {
  const pixels = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer);
  return [c.parentElement.ariaLabel, [...pixels].map((p) => p & 0xffffff)];
})"""


def test_the_live_wire_ends_in_a_mask(chromium, tmp_path):
    view = a_view(budget=0.25, image="second")
    with opened(chromium, tmp_path, view) as (_, root):
        kinds = root.locator(".dc-wire").evaluate_all("all => all.map((e) => e.getAttribute('class'))")
        assert kinds == ["dc-wire dc-live", "dc-wire dc-live", "dc-wire dc-data"]
        shown = dict(root.evaluate(MASK))
        for name, logits in view.logits.items():
            state = gates_state(logits, view.macs[name], 0.25, 1.0)
            for title, level in (("hard gate", state["gate"][1]), ("needed", (state["needed"] + state["gate"])[1])):
                pixels = torch.tensor(shown[f"{title} of {name}"]).reshape(level.shape)
                for value in level.unique():  # one colour for each level, and no other
                    assert len(pixels[level == value].unique()) == 1
                assert len(pixels.unique()) == len(level.unique())


def test_the_temperature_changes_the_soft_gate_only(chromium, tmp_path):
    canvases = "root => [...root.querySelectorAll('canvas')].map((c) => [c.ariaLabel || c.parentElement.ariaLabel, c.toDataURL()])"
    with opened(chromium, tmp_path, a_view()) as (_, root):
        costs, before = root.locator(".dc-cost-text").all_inner_texts(), root.evaluate(canvases)
        for key in ("Home", "End"):
            root.get_by_label("temperature T").press(key)
            changed = [a[0] for a, b in zip(before, root.evaluate(canvases), strict=True) if a[1] != b[1]]
            assert changed == ["soft gate of stage 1", "soft gate of stage 2"]
        assert root.locator(".dc-cost-text").all_inner_texts() == costs
        assert "between 0.1 and 0.9 at 100 %" in root.locator(".dc-summary").inner_text()


def test_experiments_and_the_kernel(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view(experiments={"a quarter": {"budget": 0.25}})) as (tab, root):
        first, said = seen(root), root.locator(".dc-summary")
        root.get_by_role("button", name="a quarter").press("Enter")
        assert "With 25 % of the positions open, the first convolutions compute at" in said.inner_text()
        from_kernel(tab, "model.set('budget', null); model.set('image', 'second'); model.set('temperature', 5)")
        assert said.inner_text().startswith("As trained")
        assert "Picture “second” saves" in said.inner_text()
        assert root.get_by_role("checkbox").is_checked()
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first


def test_a_narrow_page(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view(), viewport={"width": 380, "height": 700}) as (tab, root):
        assert tab.evaluate("document.documentElement.scrollWidth") == 380
        check_everyday_use(tab, root)

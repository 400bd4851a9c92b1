"""InterventionsView in the page: torch's numbers, and every control by keyboard."""

import json
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dynconv import DynamicConv2d, KernelAttention, SqueezeExcitation
from dynconv.lessons.views.interventions import MODES, InterventionsView, interventions_state
from dynconv.probe import intervene
from tests.browser.instruments import PIXELS, check_everyday_use, in_page, opened, seen

pytestmark = pytest.mark.browser
TALL = {"width": 1000, "height": 2000}  # End on a radio button scrolls a page that is longer than its window
NUMBERS = """
  const data = m.prepare(d.view), count = data.names.length;
  return d.states.map((at) => {
    const summary = m.summaryOf(data, at);
    const one = (array, size, run, b) => Array.from(m.blend(array, size, count, run, b, at.strength));
    const of = (array, size) => summary.runs.map((run, b) => one(array, size, run, b));
    return {...summary, correct: m.correctOf(data, summary.runs), output: of(data.outputs, data.size),
      attention: of(data.layers[0].attention, data.layers[0].size)};
  });"""


def a_layer(num_kernels=4):
    attention = KernelAttention(2, num_kernels, hidden_channels=16, temperature=0.1)
    return DynamicConv2d(2, 3, 3, num_kernels=num_kernels, attention=attention)


def a_network():
    return nn.Sequential(
        a_layer(),
        SqueezeExcitation(3),
        nn.ReLU(),
        DynamicConv2d(3, 3, 3, num_kernels=8),
        nn.Flatten(),
        nn.LazyLinear(5),
    ).eval()


def some_images():
    return {name: torch.randn(2, 8, 9) + i for i, name in enumerate(("one", "two", "three"))}


def a_view(**changes):
    return InterventionsView(**{"model": a_layer(), "images": some_images(), "mode": "shuffled", **changes})


def state_of(model, x, mode, pair):
    return interventions_state(model, x, mode, pair)


def test_the_page_interpolates_as_the_layer_does(chromium):
    layer, targets = a_layer(), torch.randn(3, 3, 6, 7)
    view = a_view(model=layer, targets=targets)
    states = [
        {"mode": mode, "pair": pair, "strength": s} for mode, pair, s in product(MODES, ([0, 2], [1, 1]), (0, 0.3, 1))
    ]
    got = in_page(chromium, "interventions", NUMBERS, {"view": json.loads(view.data), "states": states})
    own = state_of(layer, view.images, "as trained", None)
    for at, page in zip(states, got, strict=True):
        other, s = state_of(layer, view.images, at["mode"], at["pair"]), at["strength"]
        weights = (1 - s) * own["attention"]["attention"] + s * other["attention"]["attention"]
        with torch.no_grad(), intervene(layer, "given", attention=weights):
            y = layer(view.images)
        change = (y - own["output"]).flatten(1).norm(dim=1) / own["output"].flatten(1).norm(dim=1)
        expected = {
            "attention": weights,
            "output": y[:, 0].flatten(1),
            "changes": change,
            "change": (y - own["output"]).norm() / own["output"].norm(),
            "loss": (y - targets).square().mean(),
        }
        for name, value in expected.items():
            scale = max(1.0, y.abs().max().item() ** 2)
            shown = torch.tensor(page[name], dtype=torch.float32)
            torch.testing.assert_close(shown, value, atol=5e-7 * scale, rtol=0, msg=f"{name} {at}")
        assert page["correct"] is None


def test_the_page_plays_a_whole_model(chromium):
    model, targets = a_network(), torch.tensor([0, 3, 1])
    view = a_view(model=model, targets=targets)
    states = [{"mode": mode, "pair": pair, "strength": 1} for mode, pair in product(MODES, ([0, 1], [2, 0]))]
    got = in_page(chromium, "interventions", NUMBERS, {"view": json.loads(view.data), "states": states})
    for at, page in zip(states, got, strict=True):
        y = state_of(model, view.images, at["mode"], at["pair"])["output"]
        torch.testing.assert_close(torch.tensor(page["output"]), y, atol=5e-7, rtol=0)
        assert page["loss"] == pytest.approx(F.cross_entropy(y, targets).item(), abs=2e-6)
        assert page["correct"] == (y.argmax(1) == targets).sum()


@pytest.mark.parametrize("num_kernels", [2, 8])
def test_sliders_and_reset(chromium, tmp_path, num_kernels):
    view = a_view(model=a_layer(num_kernels), targets=torch.randn(3, 3, 6, 7), strength=0.37)
    with opened(chromium, tmp_path, view, viewport=TALL) as (tab, root):
        check_everyday_use(tab, root)
        assert tab.evaluate("[model.get('mode'), model.get('strength')]") == ["shuffled", 0.37]


def test_a_narrow_page_of_a_whole_model(chromium, tmp_path):
    view = a_view(model=a_network(), targets=torch.tensor([0, 3, 1]))
    with opened(chromium, tmp_path, view, viewport=TALL | {"width": 380}) as (tab, root):
        assert tab.evaluate("document.documentElement.scrollWidth") == 380
        assert root.locator("input[type=range]").count() == 0
        check_everyday_use(tab, root)


def test_modes_by_keyboard(chromium, tmp_path):
    view = a_view(mode="as trained")
    with opened(chromium, tmp_path, view) as (tab, root):
        first, said, pictures = seen(root), root.locator(".dc-summary"), []
        for mode in MODES[1:-1]:
            root.locator("input:checked").press("ArrowDown")
            assert tab.evaluate("model.get('mode')") == mode
            change = 100 * view.changes()[mode]
            assert f"output changes by {change:.{int(change < 9.95)}f} % of its norm" in said.inner_text()
            pictures.append("".join(root.evaluate(PIXELS)))
        assert len(set(pictures)) == 4
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first
        assert "output changes by 0 % of its norm" in said.inner_text()


def test_choosing_a_pair_swaps_it(chromium, tmp_path):
    view = a_view(mode="as trained")
    with opened(chromium, tmp_path, view) as (tab, root):
        first, said, before = seen(root), root.locator(".dc-summary"), root.evaluate(PIXELS)
        root.get_by_label("with").press("End")
        assert tab.evaluate("[model.get('mode'), model.get('first'), model.get('second')]") == ["swap", "one", "three"]
        assert said.inner_text().startswith("one and three swap their weights.")
        assert "two by 0 %" in said.inner_text()
        changed = [a != b for a, b in zip(before, root.evaluate(PIXELS), strict=True)]
        assert changed == [False, True, False, False, False, True]  # image and map, three times
        assert "those of three" in root.locator(".dc-image-row").first.inner_text()
        root.locator("select").first.press("End")
        assert "three swaps with itself, which changes nothing" in said.inner_text()
        assert root.evaluate(PIXELS) == before
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first


def test_layers_losses_and_classes(chromium, tmp_path):
    model, targets = a_network(), torch.tensor([0, 3, 1])
    view = a_view(model=model, targets=targets, classes=[f"class {c}" for c in "abcde"], mode="uniform")
    with opened(chromium, tmp_path, view) as (tab, root):
        weights, strips = root.locator(".dc-layers"), root.locator(".dc-strip")
        assert weights.first.locator(".dc-bars").count() == 2
        assert not strips.first.is_visible()
        before = seen(root)
        root.get_by_label("show the weights of").press("ArrowDown")
        assert tab.evaluate("model.get('layer')") == "1.gate"
        assert strips.first.is_visible()
        assert seen(root) != before
        own, other = (state_of(model, view.images, mode, None)["output"] for mode in ("as trained", "uniform"))
        loss, right = F.cross_entropy(other, targets), (other.argmax(1) == targets).sum()
        row = root.locator(".dc-mode").nth(2)
        assert f"{loss:.3f}" in row.inner_text()
        assert f"{right} of 3" in row.inner_text()
        assert (
            f"right are {right} of 3, as trained {(own.argmax(1) == targets).sum()}."
            in root.locator(".dc-summary").inner_text()
        )
        assert root.locator(".dc-target").all_inner_texts() == ["▸ class a", "▸ class d", "▸ class b"]
        best = root.locator(".dc-best .dc-class").all_inner_texts()
        assert [text.removeprefix("▸ ") for text in best] == [f"class {'abcde'[k]}" for k in other.argmax(1)]


def test_experiments_and_the_kernel(chromium, tmp_path):
    view = a_view(mode="as trained", experiments={"half frozen": {"mode": "frozen", "strength": 0.5}})
    with opened(chromium, tmp_path, view) as (tab, root):
        first, said = seen(root), root.locator(".dc-summary")
        root.get_by_role("button", name="half frozen").press("Enter")
        assert "mean weights of these images. At strength 50 %" in said.inner_text()
        tab.evaluate(
            "for (const [name, value] of [['mode', 'swap'], ['first', 'two'], ['second', 'three'], ['strength', 1]])"
            "  model.set(name, value)"
        )
        assert said.inner_text().startswith("two and three swap their weights. At strength 100 %")
        assert root.get_by_role("radio", name="swap").is_checked()
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first

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
            root.locator(".dc-modes input:checked").press("ArrowDown")
            assert tab.evaluate("model.get('mode')") == mode
            change = 100 * view.changes()[mode]
            assert f"output changes by {change:.{int(change < 9.95)}f} % of its norm" in said.inner_text()
            pictures.append("".join(root.evaluate(PIXELS)))
        assert len(set(pictures)) == 4
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first
        assert "output changes by 0 % of its norm" in said.inner_text()


def wires(root):
    """Which wires there are that feed the weights: kinds, and whose picture or words stand at the other end."""
    kinds = root.locator(".dc-wire").evaluate_all("all => all.map((e) => e.getAttribute('class').split(' dc-')[1])")
    ends = [root.locator(".dc-instead").nth(i) for i in (0, 1)]
    return {"donor": kinds[1], "box": kinds[2], "own": kinds[3]}, [
        e.inner_text() if e.is_visible() else "" for e in ends
    ]


@pytest.mark.parametrize("T", [0.1, 3])
def test_scissors_on_the_wire(chromium, tmp_path, T):
    layer = DynamicConv2d(2, 3, 3, num_kernels=4, temperature=T)
    view = a_view(model=layer, mode="as trained", second="three", targets=torch.randn(3, 3, 6, 7))
    with opened(chromium, tmp_path, view) as (tab, root):
        live = {"donor": "none", "box": "none", "own": "live"}
        assert wires(root) == (live, ["", ""])
        scissors = root.get_by_role("button", name="✂")
        scissors.press("Enter")
        donor = list(view.names)[json.loads(view.data)["donors"][0]]
        assert wires(root) == ({"donor": "live", "box": "none", "own": "cut"}, [donor, ""])
        assert tab.evaluate("model.get('mode')") == "shuffled"
        shares = root.locator(".dc-share b").all_inner_texts()
        asked = view.attention["attention"][0, list(view.names).index(donor)]
        assert [float(text.split()[0]) / 100 for text in shares] == pytest.approx(asked.tolist(), abs=6e-3)
        for mode, box in (("uniform", "all equal"), ("frozen", "their mean")):
            root.get_by_role("radio", name=mode).check()
            assert wires(root) == ({"donor": "none", "box": "grey", "own": "cut"}, ["", box])
        root.get_by_label("strength").press("ArrowLeft")  # between the ends both feed them
        assert wires(root)[0] == {"donor": "none", "box": "grey", "own": "live"}
        assert "Weights of one: 99 % mean weights, 1.0 % its own." in root.locator(".dc-summary").inner_text()
        root.get_by_role("radio", name="argmax").check()
        assert wires(root) == (live, ["", ""])
        scissors.press("Enter")
        assert tab.evaluate("model.get('mode')") == "as trained"


def test_the_error_of_the_image_that_is_shown(chromium, tmp_path):
    layer, targets = a_layer(), torch.randn(3, 3, 6, 7)
    view = a_view(model=layer, targets=targets, first="two")
    with opened(chromium, tmp_path, view) as (_, root):
        own, other = ((view.outputs[run] - targets).square().mean((1, 2, 3))[1] for run in (0, 3))
        assert root.get_by_role("img", name=f"changed, error {other:.3f}").is_visible()
        assert root.get_by_role("img", name=f"as trained, error {own:.3f}").is_visible()
        assert root.get_by_role("img", name="wanted, two").is_visible()
        change = 100 * ((view.outputs[3] - view.outputs[0])[1].norm() / view.outputs[0][1].norm())
        text = root.locator(".dc-changed").nth(1).inner_text()
        assert float(text.split()[0]) == pytest.approx(change.item(), abs=0.51)


def test_choosing_another_one_swaps(chromium, tmp_path):
    view = a_view(mode="as trained")
    with opened(chromium, tmp_path, view) as (tab, root):
        first, said = seen(root), root.locator(".dc-summary")
        maps = "root => [...root.querySelectorAll('.dc-results canvas')].map((c) => c.toDataURL())"
        trained = root.evaluate(maps)
        root.get_by_label("swap with").press("End")
        assert tab.evaluate("[model.get('mode'), model.get('first'), model.get('second')]") == ["swap", "one", "three"]
        assert said.inner_text().startswith("one and three swap their weights.")
        assert "two by 0 %" in said.inner_text()
        assert "Weights of one: those of three." in said.inner_text()
        changed = root.evaluate(maps)
        assert (changed[0] != trained[0], changed[1]) == (True, trained[1])
        root.get_by_role("radio", name="three").check()
        assert "three swaps with itself, which changes nothing" in said.inner_text()
        assert wires(root)[0]["own"] == "live"
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first


def test_layers_losses_and_classes(chromium, tmp_path):
    model, targets = a_network(), torch.tensor([0, 3, 1])
    view = a_view(model=model, targets=targets, classes=[f"class {c}" for c in "abcde"], mode="uniform")
    with opened(chromium, tmp_path, view) as (tab, root):
        before = seen(root)
        root.get_by_label("show the weights of").press("ArrowDown")
        assert tab.evaluate("model.get('layer')") == "1.gate"
        assert root.locator(".dc-weights .dc-name").inner_text() == "1.gate"
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
        for b, name in enumerate(view.names):
            root.get_by_role("radio", name=name).check()
            assert root.locator(".dc-target").all_inner_texts() == 2 * [f"▸ class {'abcde'[targets[b]]}"]
            best = root.locator(".dc-best .dc-class").all_inner_texts()
            asked = [f"class {'abcde'[run[b].argmax()]}" for run in (other, own)]
            assert [text.removeprefix("▸ ") for text in best] == asked


def test_experiments_and_the_kernel(chromium, tmp_path):
    view = a_view(mode="as trained", experiments={"half frozen": {"mode": "frozen", "strength": 0.5}})
    with opened(chromium, tmp_path, view) as (tab, root):
        first, said = seen(root), root.locator(".dc-summary")
        root.get_by_role("button", name="half frozen").press("Enter")
        assert said.inner_text().startswith("Every image gets the mean weights of these images, 50 % of the way.")
        tab.evaluate(
            "for (const [name, value] of [['mode', 'swap'], ['first', 'two'], ['second', 'three'], ['strength', 1]])"
            "  model.set(name, value)"
        )
        assert said.inner_text().startswith("two and three swap their weights. The output")
        assert root.get_by_role("radio", name="swap").is_checked()
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first


def a_gated_model():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), SqueezeExcitation(4, reduction=1), nn.Conv2d(4, 1, 1)).eval()


@pytest.mark.parametrize("width", [1200, 380])
def test_ribbons_into_channels_are_as_wide_as_their_gates(chromium, tmp_path, width):
    view = a_view(model=a_gated_model(), mode="as trained")
    side, sideways = ("height", True) if width == 1200 else ("width", False)
    with opened(chromium, tmp_path, view, viewport=TALL | {"width": width}) as (tab, root):
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        for mode in ("as trained", "shuffled", "frozen"):
            root.get_by_role("radio", name=mode).check()
            gates = view.attention["2.gate"][MODES.index(mode), 0]
            sizes = root.locator(".dc-ribbon").evaluate_all(f"all => all.map((e) => e.getBBox().{side})")
            assert sizes == pytest.approx((26 * gates).tolist(), abs=0.1), sideways
            assert [float(t) for t in root.locator(".dc-share b").all_inner_texts()] == pytest.approx(
                gates.tolist(), abs=6e-3
            )
            assert root.locator(".dc-constant").count() == (mode == "frozen")
        assert root.get_by_role("img", name="gated channel 3").is_visible()
        root.get_by_role("button", name="Reset").press("Enter")
        check_everyday_use(tab, root)


def test_what_gates_let_through(chromium):
    view = a_view(model=a_gated_model())
    body = "const g = m.gatedOf({channels: decode(d.channels), channel_shape: [6, 7]}, 1, d.gates);\n"
    body += "return [g.channel, g['let through']].map((all) => all.map((map) => Array.from(map)));"
    gates = [0.5, 0.0, 1.0, 0.25]
    own, gated = in_page(
        chromium, "gated_channels", body, {"channels": json.loads(view.data)["channels"], "gates": gates}
    )
    torch.testing.assert_close(torch.tensor(own), view.channels[1].flatten(1))
    torch.testing.assert_close(torch.tensor(gated), view.channels[1].flatten(1) * torch.tensor(gates)[:, None])

"""GatesView's Python side: mask and cost are SparseBlock's own, budgets are kept, arguments are checked."""

import base64
import io
import json

import pytest
import torch
import traitlets
from PIL import Image

from dynconv import SparseBlock
from dynconv.functional.sparse import gumbel_sigmoid
from dynconv.lessons.views.gates import GatesView, gates_state

WIDGET = "application/vnd.jupyter.widget-view+json"


def a_view(**changes):
    images = {"a": torch.rand(3, 9, 12), "b": torch.rand(1, 9, 12)}
    arrays = {"logits": {"one": torch.randn(2, 9, 12), "two": torch.randn(2, 1, 5, 6)}}
    return GatesView(**{"images": images, "macs": {"one": (90, 90), "two": (90, 160)}, **arrays, **changes})


def a_block(stride):
    block = SparseBlock(4, 6, stride=stride).eval()
    return block, torch.randn(3, 4, 11, 9), (block.conv1.weight.numel(), block.conv2.weight.numel())


@pytest.mark.parametrize("stride", [1, 2])
def test_mask_and_cost_are_the_blocks_own(stride):
    block, x, macs = a_block(stride)
    shown = gates_state(block.gate.logits(x)[:, 0], macs, None, 1.0)
    gate = block.gate(x)
    assert 0 < gate.mean() < 1
    assert torch.equal(shown["gate"], gate[:, 0])
    _, cost = block(x, return_cost=True)
    assert shown["used"].sum() == cost.used
    assert shown["total"] * len(x) == cost.total


@pytest.mark.parametrize("budget", [0.1, 0.5, 0.9])
def test_a_budget_is_another_bias_of_the_gate(budget):
    block, x, macs = a_block(1)
    with torch.no_grad():
        logits = block.gate.logits(x)
        shown = gates_state(logits[:, 0], macs, budget, 1.0)
        block.gate.fc.bias -= shown["threshold"] - 1e-5  # so that rounding does not close the last one
        assert torch.equal(block.gate(x)[:, 0], shown["gate"])
        assert block(x, return_cost=True)[1].used == shown["used"].sum()
    assert shown["gate"].sum() == int(budget * logits.numel() + 0.5)


def test_nothing_the_block_computes_at_skipped_positions_matters():
    block, x, macs = a_block(1)
    shown = gates_state(block.gate.logits(x)[:, 0], macs, None, 1.0)
    hidden = torch.relu(block.bn1(block.conv1(x)))
    needed = shown["needed"][:, None]
    whole, part = (block.bn2(block.conv2(h)) * shown["gate"][:, None] for h in (hidden, hidden * needed))
    torch.testing.assert_close(part, whole)
    assert (needed == 0).any()


def test_soft_and_hard_agree_at_every_temperature():
    logits = torch.randn(2, 8, 8)
    for temperature in (0.1, 1.0, 100.0):
        for budget in (None, 0.3):
            shown = gates_state(logits, (9, 9), budget, temperature)
            assert torch.equal((shown["soft"] >= 0.5).float(), shown["gate"])
        as_trained = gates_state(logits, (9, 9), None, temperature)["soft"]
        assert torch.equal(as_trained, gumbel_sigmoid(logits, temperature, hard=False, noise=False))


@pytest.mark.parametrize(("budget", "share"), [(0.0, 0), (1.0, 1)])
def test_both_ends_of_the_budget(budget, share):
    shown = gates_state(torch.randn(2, 5, 6), (90, 160), budget, 1.0)
    for name in ("gate", "needed"):
        assert (shown[name] == share).all()
    assert (shown["used"] == share * 30 * 250).all()
    assert not shown["soft"].isnan().any()


def test_equal_logits_open_together():
    assert gates_state(torch.zeros(1, 4, 4), (1, 1), 0.25, 1.0)["gate"].sum() == 16


def test_traits_are_taken_and_checked():
    view = a_view(budget=0.0, image="b")
    view.budget, view.temperature, view.image = None, 100, "a"
    for trait, value, message in (
        ("budget", 1.5, "1.5"),
        ("budget", -0.5, "-0.5"),
        ("temperature", 0.0, "above 0, got 0.0"),
        ("image", "c", r"image must be one of \['a', 'b'\], got 'c'"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(view, trait, value)
    assert (view.budget, view.temperature, view.image) == (None, 100.0, "a")
    assert [block["shape"] for block in json.loads(view.data)["blocks"]] == [[2, 9, 12], [2, 5, 6]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, "images must be 1 to 8 of one size, got 0"),
        ({"images": {"a": torch.rand(3, 4, 4), "b": torch.rand(3, 5, 5)}}, r"got 2 of \[\(3, 4, 4\), \(3, 5, 5\)\]"),
        ({"images": {"a": torch.rand(4, 4), "b": torch.rand(4, 4)}}, r"or \(1, H, W\), got \[\(4, 4\)\]"),
        ({"images": {n: torch.full((3, 4, 4), 2.0) for n in "ab"}}, "in 0 … 1, got 2 to 2"),
        ({"logits": {}}, "those of 1 to 8 blocks, got 0"),
        ({"logits": {"one": torch.rand(3, 9, 12)}}, r"logits of one must be \(2, h, w\), got \(3, 9, 12\)"),
        ({"logits": {"one": torch.rand(2, 2, 9, 12)}}, r"logits of one must be \(2, h, w\), got \(2, 2, 9, 12\)"),
        ({"macs": {"one": (90, 90)}}, r"for each of \['one', 'two'\], got {'one': \(90, 90\)}"),
        ({"macs": {"one": (90, 90), "two": (90, 0)}}, r"two numbers above 0.*'two': \(90, 0\)"),
        ({"macs": {"one": (90, 90), "two": (90,)}}, r"two numbers above 0.*'two': \(90,\)"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        a_view(**changes)


@pytest.mark.parametrize("budget", [None, 0.25])
def test_output_carries_widget_still_and_words(budget):
    view = a_view(budget=budget)
    data, metadata = view._repr_mimebundle_()
    assert set(data) == {WIDGET, "image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == data["text/plain"]
    states = [gates_state(view.logits[name], view.macs[name], budget, 1.0) for name in ("one", "two")]
    used, total = (sum(s[name].sum().item() for s in states) for name in ("used", "total"))
    assert f"save {1 - used / (2 * total):.0%} of" in data["text/plain"]
    assert ("as trained" in data["text/plain"]) == (budget is None)
    colours = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB").getcolors(10**6)
    assert len(colours) > 50

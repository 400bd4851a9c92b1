"""InterventionsView's Python side: every run is the probe's own, pairs really swap, arguments are checked."""

import base64
import io
import json
from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import traitlets
from PIL import Image
from torch import nn

from dynconv import CAMAttention, DynamicConv2d, KernelAttention, ODConv2d, SparseBlock, SqueezeExcitation
from dynconv.lessons.views.interventions import MODES, InterventionsView, interventions_state
from dynconv.probe import intervene

WIDGET = "application/vnd.jupyter.widget-view+json"
OTHERS = MODES[1:-1]


def a_layer():
    attention = KernelAttention(2, 4, hidden_channels=16, temperature=0.1)  # wide: not all of it is off for every image
    return DynamicConv2d(2, 3, 3, num_kernels=4, attention=attention)


def a_network():
    return nn.Sequential(a_layer(), SqueezeExcitation(3), nn.Dropout(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))


def some_images(count=4):
    return {f"image {i}": torch.randn(2, 8, 9) + i for i in range(count)}


def decoded(view, name):
    return torch.from_numpy(np.frombuffer(base64.b64decode(json.loads(view.data)[name]), "<f4").copy())


@pytest.mark.parametrize("make", [a_layer, a_network])
def test_every_mode_is_the_probes(make):
    model, images = make(), some_images()
    view, x = InterventionsView(model, images), torch.stack(list(images.values()))
    model.eval()
    torch.testing.assert_close(view.outputs[0], model(x))
    for run, mode in enumerate(OTHERS, 1):
        with intervene(model, mode):
            y = model(x)
        torch.testing.assert_close(view.outputs[run], y)
        change = ((y - model(x)).norm() / model(x).norm()).item()
        assert view.changes()[mode] == pytest.approx(change, rel=1e-4)
        assert change > 1e-3


@pytest.mark.parametrize("make", [a_layer, a_network])
def test_a_swap_gives_each_the_others_weights(make):
    model, images = make(), some_images()
    view, x = InterventionsView(model, images), torch.stack(list(images.values()))
    own = {name: weights[0] for name, weights in view.attention.items()}  # (B, ...) as trained
    model.eval()
    for b, donor in permutations(range(4), 2):
        with intervene(model, "given", attention={name: w[donor] for name, w in own.items()}):
            alone = model(x[b : b + 1])[0]
        torch.testing.assert_close(view.outputs[5 + donor, b], alone, atol=1e-5, rtol=1e-4)
        for name, weights in view.attention.items():
            assert torch.equal(weights[5 + donor, b], own[name][donor])
    swapped = interventions_state(model, x, "swap", (0, 3))
    assert torch.equal(
        swapped["attention"]["attention" if make is a_layer else "0.attention"][3], next(iter(own.values()))[0]
    )
    assert torch.equal(swapped["output"][1], view.outputs[0, 1])  # nobody else is touched


def test_halfway_the_output_is_halfway():
    layer, x = a_layer(), torch.randn(3, 2, 8, 8)
    own, other = (interventions_state(layer, x, mode) for mode in ("as trained", "shuffled"))
    half = {name: (w + other["attention"][name]) / 2 for name, w in own["attention"].items()}
    with intervene(layer, "given", attention=half):
        torch.testing.assert_close(layer(x), (own["output"] + other["output"]) / 2, atol=1e-5, rtol=1e-4)


def test_modes_and_statistics_are_left_alone():
    model = nn.Sequential(nn.BatchNorm2d(2), a_network()).train()
    model[1][2].eval()
    model(torch.randn(2, 2, 8, 9))  # so that the last layer knows its size
    before = {name: value.clone() for name, value in model.state_dict().items()}
    InterventionsView(model, some_images())
    assert model[0].training
    assert model[1][0].training
    assert not model[1][2].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_an_attention_made_of_parts_is_replaced_once():
    attention = nn.Sequential(nn.Conv2d(2, 6, 3), KernelAttention(6, 4, temperature=0.01))
    layer, x = DynamicConv2d(2, 3, 3, attention=attention), torch.randn(2, 2, 8, 8)
    own, shuffled = (interventions_state(layer, x, mode) for mode in ("as trained", "shuffled"))
    assert list(own["attention"]) == ["attention"]
    assert torch.equal(shuffled["attention"]["attention"], own["attention"]["attention"].flip(0))


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (ODConv2d(2, 3, 3, num_kernels=4), [(2,), (3,), (4,), (9,)]),
        (SparseBlock(2), [(1, 8, 9)]),
        (nn.Sequential(CAMAttention(2), nn.Flatten(), nn.LazyLinear(3)), [(2, 2)]),
    ],
)
def test_anything_the_probe_sees(model, shapes):
    if isinstance(model, nn.Sequential):
        model = nn.Sequential(_FirstOfTuple(model[0]), *model[1:])
    view = InterventionsView(model, some_images(3))
    assert [tuple(w.shape) for w in view.attention.values()] == [(5 + 3, 3, *shape) for shape in shapes]
    assert [tuple(layer["shape"]) for layer in json.loads(view.data)["layers"]] == shapes


class _FirstOfTuple(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)[0]


def test_squared_errors_along_the_way():
    layer, images, targets = a_layer(), some_images(), torch.randn(4, 3, 6, 7)
    view, s = InterventionsView(layer, images, targets), 0.3
    losses, crossed = (decoded(view, name).reshape(9, 4) for name in ("losses", "crossed"))
    for run in range(9):
        y = (1 - s) * view.outputs[0] + s * view.outputs[run]
        expected = (y - targets).square().mean((1, 2, 3))
        way = (1 - s) ** 2 * losses[0] + 2 * s * (1 - s) * crossed[run] + s**2 * losses[run]
        torch.testing.assert_close(way, expected, atol=1e-5, rtol=1e-5)


def test_cross_entropies():
    model, targets = a_network(), torch.tensor([4, 0, 1, 1])
    view = InterventionsView(model, some_images(), targets, classes="abcde")
    losses = decoded(view, "losses").reshape(9, 4)
    for run in range(9):
        expected = F.cross_entropy(view.outputs[run], targets, reduction="none")
        torch.testing.assert_close(losses[run], expected.float())
    data = json.loads(view.data)
    assert (data["targets"], data["classes"], data["linear"]) == ([4, 0, 1, 1], list("abcde"), False)


def test_traits_are_taken_and_checked():
    view = InterventionsView(a_layer(), some_images(), mode="swap", second="image 3", strength=0.25)
    view.mode, view.first, view.strength = "argmax", "image 2", 0
    for trait, value, message in (
        ("mode", "given", r"mode must be one of \['as trained', .*got 'given'"),
        ("first", "image 9", "first must be one of .*got 'image 9'"),
        ("second", "", "second must be one of .*got ''"),
        ("layer", "0", r"layer must be one of \['attention'\], got '0'"),
        ("strength", 1.5, "1.5"),
        ("strength", -0.1, "-0.1"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(view, trait, value)
    assert (view.mode, view.first, view.second, view.strength, view.layer) == (
        "argmax", "image 2", "image 3", 0.0, "attention",
    )  # fmt: skip
    with pytest.raises(traitlets.TraitError, match=r"strength must be 1 for a model.*got 0\.5"):
        InterventionsView(a_network(), some_images(), strength=0.5)


def test_layers_can_be_chosen():
    view = InterventionsView(a_network(), some_images(), layers="1.*")
    assert list(view.attention) == ["1.gate"]
    assert view.layer == "1.gate"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": some_images(1)}, "images must be 2 to 6 of one size, got 1"),
        ({"images": some_images(7)}, "got 7 of"),
        ({"images": {"a": torch.rand(2, 8, 8), "b": torch.rand(2, 8, 9)}}, r"got 2 of \[\(2, 8, 8\), \(2, 8, 9\)\]"),
        ({"images": {"a": torch.rand(8, 8), "b": torch.rand(8, 8)}}, r"images must be \(C, H, W\).*got \(8, 8\)"),
        ({"model": nn.Conv2d(2, 2, 3)}, "Conv2d has no weights to intervene on"),
        ({"model": nn.Sequential(a_layer(), nn.Flatten(1, 2))}, r"output must be \(B, C, H, W\).*got \(4, 18, 7\)"),
        ({"model": nn.Sequential(a_layer(), nn.Flatten())}, r"at most 20 classes.*got \(4, 126\)"),
        ({"layers": "head"}, "no weighting is named 'head'"),
        ({"targets": torch.randn(4, 3, 6, 6)}, r"output's shape \(4, 3, 6, 7\), got \(4, 3, 6, 6\)"),
        ({"classes": ["a", "b"]}, "classes must be one name a logit, got 2 for output"),
        ({"model": a_network(), "targets": torch.randn(4)}, r"\(4,\) whole numbers, got torch.float32 \(4,\)"),
        ({"model": a_network(), "targets": torch.tensor([0, 1])}, r"\(4,\) whole numbers, got torch.int64 \(2,\)"),
        ({"model": a_network(), "targets": torch.tensor([0, 1, 2, 5])}, r"0 to 4, got \[0, 1, 2, 5\]"),
        ({"model": a_network(), "classes": ["a", "b"]}, "got 2 for output"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        InterventionsView(**{"model": a_layer(), "images": some_images(), **changes})


def test_bad_states():
    layer = DynamicConv2d(2, 2, 3, padding=1)
    with pytest.raises(ValueError, match=r"mode must be one of 'as trained', .*got 'given'"):
        interventions_state(layer, torch.rand(2, 2, 8, 8), "given")
    with pytest.raises(ValueError, match=r"must run once for a batch, got {'0.attention': 2}"):
        interventions_state(nn.Sequential(layer, layer), torch.rand(2, 2, 8, 8), "uniform")


@pytest.mark.parametrize("make", [a_layer, a_network])
def test_output_carries_widget_still_and_words(make):
    view = InterventionsView(make(), some_images(), mode="uniform")
    data, metadata = view._repr_mimebundle_()
    assert set(data) == {WIDGET, "image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == data["text/plain"]
    for mode in OTHERS:
        assert f"{mode} {view.changes()[mode]:.0%}" in data["text/plain"]
    colours = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB").getcolors(10**6)
    assert len(colours) > 50


def test_the_channels_are_what_the_gates_scale():
    front = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU())
    model, images = nn.Sequential(front, SqueezeExcitation(4), nn.Conv2d(4, 1, 1)), some_images()
    view = InterventionsView(model, images)
    torch.testing.assert_close(view.channels, front(torch.stack(list(images.values()))).detach())
    assert json.loads(view.data)["channel_shape"] == [6, 7]
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(2, 9, 3), SqueezeExcitation(9)),  # too many
        nn.Sequential(SqueezeExcitation(2), SqueezeExcitation(2)),  # the first changes what the second sees
        nn.Sequential(nn.Conv2d(2, 4, 3), SqueezeExcitation(4).gate, nn.Flatten(), nn.Linear(4, 3)),  # scales nothing
        a_layer(),
    ],
)
def test_no_channels_where_no_gates_scale_them(model):
    view = InterventionsView(model, some_images())
    assert view.channels is None
    assert "channels" not in json.loads(view.data)

"""BranchesView and RescaleView, Python's side: what they show is what layers do, and what the verdict says."""

import pytest
import torch
import traitlets
from torch import nn

from dynconv import StaticMixConv2d
from dynconv.layers.weighting import Weighting
from dynconv.lessons.views.branches import ROUNDING, SOURCES, BranchesView, _normed, branches_state
from dynconv.lessons.views.rescale import RescaleView, rescale_state
from dynconv.probe import verdict


def given(channels=2, size=12):
    generator = torch.Generator().manual_seed(0)
    photos = torch.randn(3, size, size, generator=generator) * torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    kernels, look = (torch.randn(s, generator=generator) for s in ((3, channels, 3, 3), (3, channels, channels)))
    return photos, kernels, look, torch.tensor([1.0, 0.0, -1.0])


class Layer(nn.Module):
    """The same written as a layer, its norm's statistics kept: what the verdict can look into."""

    def __init__(self, photos, kernels, look, logits, source, activation):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(1, len(kernel), 3, padding=1, bias=False) for kernel in kernels)
        for conv, kernel in zip(self.convs, kernels, strict=True):
            conv.weight.data = kernel[:, None].clone()
        self.look, self.logits, self.source, self.activation = look, logits, source, activation
        self.weights = Weighting("positions" if source == "position" else "branches", source != "parameters")
        s = self.sum_of(photos[:, None])
        seen = s if source == "position" else s.mean((2, 3), keepdim=True)
        self.centre, self.spread = seen.mean((0, 2, 3), keepdim=True), seen.std((0, 2, 3), unbiased=False, keepdim=True)

    def sum_of(self, x):
        return torch.stack([conv(x).relu() for conv in self.convs]).sum(0)

    def forward(self, x):
        s = self.sum_of(x)
        s = s if self.source == "position" else s.mean((2, 3), keepdim=True)
        z = torch.einsum("kcd,bdhw->bkchw", self.look, (s - self.centre) / self.spread)
        if self.source == "parameters":
            weights = self.weights(self.logits.softmax(0))[None, :, None, None, None]
        else:
            z = z if self.source == "image, per channel" else z.mean(2, keepdim=True)
            weights = self.weights(z.softmax(1))
        maps = torch.stack([conv(x) for conv in self.convs], 1)
        return (weights * (maps.relu() if self.activation else maps)).sum(1)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("activation", [False, True])
def test_it_shows_what_the_layer_does_and_the_verdict_says(source, activation):
    values = given()
    shown, layer = branches_state(*values, source, activation), Layer(*values, source, activation).requires_grad_(False)
    torch.testing.assert_close(shown["mixed"], layer(values[0][:, None]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(shown["weights"].sum(1), torch.ones_like(shown["mixed"]))
    judged = verdict(layer, values[0][:, None])
    says = [bool(shown[name] < ROUNDING) for name in ("image", "position", "fold")]
    assert says == [judged.same_for_every_image, judged.same_at_every_position, judged.folds]
    assert says == [source == "parameters", source != "position", source == "parameters" and not activation]


def test_without_an_activation_parameters_are_the_questions_layer():
    photos, kernels, look, logits = given(channels=1)
    layer = StaticMixConv2d(1, 1, 3, padding=1, num_kernels=3, bias=False)
    layer.load_state_dict({"weight": kernels[:, :, None], "attention.logits": logits}, strict=False)
    shown = branches_state(photos, kernels, look, logits, "parameters", False)
    torch.testing.assert_close(shown["mixed"], layer(photos[:, None]), rtol=1e-5, atol=1e-5)


def test_the_norm_is_torchs():
    x = torch.randn(4, 3, 5, 6)
    norm = nn.BatchNorm2d(3, eps=1e-12)
    torch.testing.assert_close(_normed(x, (0, 2, 3)), norm(x), rtol=1e-4, atol=1e-5)


def a_view(**changes):
    photos, kernels, look, _ = given()
    named = {"one": kernels[0], "two": kernels[1], "three": kernels[2]}
    return BranchesView(
        {"a": photos[0], "b": photos[1]}, changes.pop("kernels", named), changes.pop("look", look), **changes
    )


def test_branches_traits_and_output():
    view = a_view(source="position", activation=True, photo="b")
    data, _ = view._repr_mimebundle_()
    assert "image/png" in data
    assert "parameters, with ReLU 0." in data["text/plain"]
    for trait, value, message in (
        ("source", "nowhere", "'nowhere'"),
        ("photo", "c", r"photo must be one of \['a', 'b'\], got 'c'"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(view, trait, value)
    assert (view.source, view.activation, view.photo) == ("position", True, "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernels": {"one": torch.ones(2, 4, 4)}}, r"k odd, got 1 of \[\(2, 4, 4\)\]"),
        ({"kernels": {}}, r"k odd, got 0 of \[\]"),
        ({"look": torch.ones(3, 2)}, r"look must be \(3, 2, 2\), got \(3, 2\)"),
    ],
)
def test_branches_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        a_view(**changes)
    with pytest.raises(ValueError, match="photos must be two or more"):
        BranchesView({"a": torch.ones(8, 8)}, {"one": torch.ones(2, 3, 3)}, torch.ones(1, 2, 2))
    with pytest.raises(ValueError, match=r"source must be one of 'parameters', .* got 'x'"):
        branches_state(*given(), "x", False)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_any_weight_and_the_same_output(share):
    kernels, weights = torch.randn(4, 3, 3), torch.tensor([0.4, 0.3, 0.2, 0.1])
    now = rescale_state(kernels, weights, 2, share)
    assert now["weights"][2] == pytest.approx(share)
    torch.testing.assert_close(now["weights"].sum(), torch.tensor(1.0))
    torch.testing.assert_close(now["mixed"], torch.einsum("k,kij->ij", weights, kernels), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(now["weights"][0] / now["weights"][1], weights[0] / weights[1])


def test_rescale_traits_and_output():
    kernels = {"a": torch.randn(3, 3), "b": torch.randn(3, 3)}
    view = RescaleView(torch.randn(8, 8), kernels, [0.8, 0.2], kernel="b")
    assert view.share == pytest.approx(0.2)
    assert "image/png" in view._repr_mimebundle_()[0]
    for trait, value, message in (("kernel", "c", "must be one of .*got 'c'"), ("share", 1.0, "share")):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(view, trait, value)
    for arguments, message in (
        ((torch.randn(8, 8), kernels, [0.8, 0.1]), r"2 numbers above 0 with sum 1, got \[0.8, 0.1\]"),
        ((torch.randn(1, 8, 8), kernels, [0.8, 0.2]), r"photo must be \(H, W\), got \(1, 8, 8\)"),
        ((torch.randn(8, 8), {"a": torch.ones(3, 3)}, [1.0]), "kernels must be 2 to 8"),
    ):
        with pytest.raises(ValueError, match=message):
            RescaleView(*arguments)

"""FeatureAttentionView's Python side: its state is that of CAMAttention and AdaLIN, arguments are checked."""

import base64
import io

import pytest
import torch
import traitlets
from PIL import Image

from dynconv import CAMAttention
from dynconv.layers.normalization import AdaLIN
from dynconv.lessons.views.feature_attention import FeatureAttentionView, feature_attention_state

WIDGET = "application/vnd.jupyter.widget-view+json"


def a_view(**changes):
    images = {"a": torch.rand(3, 8, 12), "b": torch.rand(1, 8, 12), "c": torch.rand(3, 8, 12)}
    arrays = {"features": torch.randn(3, 10, 4, 6), "average": torch.randn(10), "maximum": torch.randn(10)}
    return FeatureAttentionView(**{"images": images, **arrays, **changes})


@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
def test_heatmaps_and_logits_are_the_layers(blend):
    layer, features = CAMAttention(10, activation="none"), torch.randn(3, 10, 4, 6)
    with torch.no_grad():  # the 1×1 convolution that only blends the two branches
        identity = torch.eye(10)[..., None, None]
        layer.conv1x1.weight.copy_(torch.cat([(1 - blend) * identity, blend * identity], dim=1))
        layer.conv1x1.bias.zero_()
    _, logit, heatmap = layer(features)
    ones = torch.ones(3, 10)
    shown = feature_attention_state(features, *layer.weights, blend, 0, 0.5, ones, ones)
    torch.testing.assert_close(shown["logits"], logit)
    torch.testing.assert_close(shown["heatmaps"], heatmap[:, 0])


@pytest.mark.parametrize("rho", [0.0, 0.4, 1.0])
def test_the_normalized_channel_is_adalins(rho):
    layer, x = AdaLIN(10, eps=1e-3), torch.randn(3, 10, 4, 6)
    torch.nn.init.constant_(layer.rho, rho)
    gamma, beta = torch.randn(3, 10), torch.randn(3, 10)
    shown = feature_attention_state(x, torch.ones(10), torch.ones(10), 0.5, 7, rho, gamma, beta, eps=1e-3)
    torch.testing.assert_close(shown["normalized"], layer(x, gamma, beta)[:, 7])


def test_no_image_changes_which_channels_are_strongest():
    weights = {"average": torch.randn(10), "maximum": torch.randn(10)}
    one, other = (a_view(features=torch.randn(3, 10, 4, 6) * scale, **weights) for scale in (1, 100))
    at = {"blend": 0.5, "channel": 0, "rho": 0.5}
    shown, otherwise = (feature_attention_state(**view.arrays, **at) for view in (one, other))
    assert torch.equal(shown["strongest"], otherwise["strongest"])
    assert not torch.allclose(shown["logits"], otherwise["logits"])
    largest = torch.stack(list(weights.values())).abs().amax(0)
    assert shown["strongest"][0] == largest.argmax()


def test_scale_and_shift_are_given_for_channels_or_for_images():
    gamma, beta = torch.randn(10), torch.randn(3, 10)
    view = a_view(gamma=gamma, beta=beta)
    assert torch.equal(view.arrays["gamma"], gamma.expand(3, 10))
    assert torch.equal(view.arrays["beta"], beta)
    plain = a_view().arrays
    assert (plain["gamma"] == 1).all()
    assert (plain["beta"] == 0).all()


def test_traits_are_taken_and_checked():
    view = a_view(image="b", blend=0.0)
    view.image, view.blend, view.rho, view.rank = "c", 1.0, 0.0, 8
    for trait, value, message in (
        ("image", "d", r"image must be one of \['a', 'b', 'c'\], got 'd'"),
        ("blend", 1.5, "1.5"),
        ("rho", -0.1, "-0.1"),
        ("rank", 0, "1 to 8, got 0"),
        ("rank", 9, "1 to 8, got 9"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(view, trait, value)
    assert (view.image, view.blend, view.rho, view.rank) == ("c", 1.0, 0.0, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, "images must be 1 to 8 of one size, got 0"),
        ({"images": {"a": torch.rand(3, 4, 4), "b": torch.rand(3, 5, 5)}}, r"got 2 of \[\(3, 4, 4\), \(3, 5, 5\)\]"),
        ({"images": {"a": torch.rand(2, 4, 4)}}, r"\(3, H, W\) or \(1, H, W\), got \[\(2, 4, 4\)\]"),
        ({"images": {n: torch.full((3, 4, 4), -1.0) for n in "abc"}}, "in 0 … 1, got -1 to -1"),
        (
            {"features": torch.rand(2, 10, 4, 6)},
            r"features must be \(3, C, h, w\), h·w at least 2, got \(2, 10, 4, 6\)",
        ),
        ({"features": torch.rand(3, 10, 1, 1)}, r"h·w at least 2, got \(3, 10, 1, 1\)"),
        ({"average": torch.rand(1, 10)}, r"average must be \(10,\), one a channel, got \(1, 10\)"),
        ({"maximum": torch.rand(9)}, r"maximum must be \(10,\), one a channel, got \(9,\)"),
        ({"gamma": torch.rand(2, 10)}, r"gamma must be \(3, 10\) or \(10,\), got \(2, 10\)"),
        ({"beta": torch.rand(3)}, r"beta must be \(3, 10\) or \(10,\), got \(3,\)"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        a_view(**changes)


def test_output_carries_widget_still_and_words():
    view = a_view()
    data, metadata = view._repr_mimebundle_()
    assert set(data) == {WIDGET, "image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == data["text/plain"]
    logit = view.arrays["features"][1].mean((1, 2)) @ view.arrays["average"]
    assert f"b {logit:.2f} and" in data["text/plain"]
    colours = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB").getcolors(10**6)
    assert len(colours) > 50
    assert sum(count for count, (r, g, b) in colours if r > 1.2 * b) > 100  # brown below zero
    assert sum(count for count, (r, g, b) in colours if g > 1.2 * r) > 100  # green above

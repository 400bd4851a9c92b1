"""CAMView's Python side: its state is the layer's, traits and arguments are checked, the output carries a still."""

import base64
import io
import json

import pytest
import torch
import traitlets
from PIL import Image

from dynconv import CAMHead
from dynconv.lessons.views.cam import CAMView, cam_state

WIDGET = "application/vnd.jupyter.widget-view+json"


def a_view(classes=5, **changes):
    arrays = {"features": torch.rand(12, 4, 6), "weight": torch.randn(classes, 12), "bias": torch.randn(classes)}
    names = [f"class {k}" for k in range(classes)]
    return CAMView(**{"photo": torch.rand(3, 16, 24), "class_names": names, **arrays, **changes})


def test_state_is_the_layer():
    head, features = CAMHead(12, 5), torch.rand(12, 4, 6)
    logits, maps = head(features[None])[0], head.maps(features[None])[0]
    for k in range(5):
        shown = cam_state(features, head.classifier.weight, head.classifier.bias, k)
        torch.testing.assert_close(shown["map"], maps[k])
        torch.testing.assert_close(shown["logit"], logits[k])
        torch.testing.assert_close(shown["contributions"].sum() + head.classifier.bias[k], logits[k])
        strengths = shown["contributions"][shown["strongest"]].abs()
        assert len(strengths) == 8
        assert (strengths.diff() <= 0).all()
        assert strengths[-1] >= shown["contributions"].abs().sort().values[-9]


@pytest.mark.parametrize(
    ("contributions", "bias", "half"),
    [
        ([1.0, 5.0, 4.0, -2.0], 0.0, 1),  # 5 of 8
        ([3.0, 3.0, 3.0, 3.0], 0.0, 2),
        ([-3.0, -3.0, 1.0, -3.0], 0.0, 2),  # a negative logit is made by negative channels
        ([1.0, 0.5, 0.0, 0.0], 9.0, 0),  # the bias makes most of it
    ],
)
def test_channels_for_half(contributions, bias, half):
    features = torch.ones(4, 2, 2)
    shown = cam_state(features, torch.tensor([contributions]), torch.tensor([bias]), 0)
    assert shown["half"] == half


def test_it_starts_with_the_largest_logit_and_keeps_twenty():
    view = a_view(classes=30)
    logits = view.weight @ view.features[0].mean((1, 2)) + view.bias
    assert view.classes == logits.argsort(descending=True)[:20].tolist()
    assert view.class_index == logits.argmax()
    data = json.loads(view.data)
    assert data["names"][0] == f"class {view.class_index}"
    assert a_view(bias=None).bias.tolist() == [0.0] * 5


def test_several_photos_keep_the_classes_of_any():
    photos = {name: torch.rand(3, 16, 24) for name in "abc"}
    view = a_view(classes=30, photo=photos, features=torch.rand(3, 12, 4, 6), image="c")
    logits = view.features.mean((2, 3)) @ view.weight.T + view.bias  # (3, 30)
    assert view.classes == logits.amax(0).argsort(descending=True)[:20].tolist()
    assert (view.class_index, view.image) == (logits[0].argmax(), "c")
    data = json.loads(view.data)
    assert data["photo_names"] == list("abc")
    assert base64.b64decode(data["photos"][1]) == (255 * photos["b"]).round().byte().numpy().tobytes()


def test_traits_are_taken_and_checked():
    view = a_view(classes=30, opacity=0.0)
    missing = next(k for k in range(30) if k not in view.classes)
    view.class_index, view.opacity, view.rank = view.classes[-1], 1.0, 8
    for trait, value, message in (
        ("class_index", missing, f"class_index must be one of .*got {missing}"),
        ("opacity", 1.5, "1.5"),
        ("opacity", -0.1, "-0.1"),
        ("rank", 0, "1 to 8, got 0"),
        ("rank", 9, "1 to 8, got 9"),
        ("image", "other", r"image must be one of \['photo'\], got 'other'"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(view, trait, value)
    assert (view.class_index, view.opacity, view.rank) == (view.classes[-1], 1.0, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photo": torch.rand(1, 8, 8)}, r"photo must be \(3, H, W\), or 1 to 6 .*got \[\(1, 8, 8\)\]"),
        ({"photo": torch.full((3, 8, 8), 255.0)}, "photo must be in 0 … 1, got 255 to 255"),
        ({"features": torch.rand(1, 12, 4, 6)}, r"features must be \(C, h, w\).*got \(1, 1, 12, 4, 6\) for 1"),
        ({"photo": {"a": torch.rand(3, 8, 8)}}, r"got \(12, 4, 6\) for 1"),
        ({"photo": {"a": torch.rand(3, 8, 8), "b": torch.rand(3, 9, 8)}}, "of one size, got"),
        ({"weight": torch.randn(5, 13)}, r"weight must be \(classes, 12\), got \(5, 13\)"),
        ({"bias": torch.randn(4)}, r"must be 5, one a class, got \(4,\) and 5"),
        ({"class_names": ["a"]}, r"must be 5, one a class, got \(5,\) and 1"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        a_view(**changes)


def test_output_carries_widget_still_and_words():
    view = a_view(class_names=["cat", "dog", "cup", "car", "hat"])
    data, metadata = view._repr_mimebundle_()
    assert set(data) == {WIDGET, "image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == data["text/plain"]
    logit = cam_state(view.features[0], view.weight, view.bias, view.class_index)["logit"]
    assert f"{view.names[view.class_index]} {logit:.2f}" in data["text/plain"]
    colours = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB").getcolors(10**6)
    assert len(colours) > 100

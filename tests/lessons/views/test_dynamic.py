"""DynamicView's selection and uploads: what the kernel does with a file, and what it says of one that is none."""

import base64
import io
import json

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from dynconv import DynamicConv2d
from dynconv.lessons.data import uploaded_image
from dynconv.lessons.views.dynamic import DynamicView, averaged, dynamic_state


def a_view(count=2, channels=1, size=(16, 12), **options):
    layer = DynamicConv2d(channels, 1, 3, num_kernels=2, reduction=1, temperature=1.0)
    return DynamicView(layer, {f"image {i}": torch.rand(channels, *size) for i in range(count)}, **options)


def a_file(size=(40, 30), mode="RGB"):
    numbers = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(numbers).convert(mode).save(file, "PNG")
    return file.getvalue()


def upload(view, content, name="mine.png"):
    """As the page does it; what the kernel answers."""
    view.set_state({"upload": json.dumps({"name": name, "content": base64.b64encode(content).decode()})})
    assert view.upload == ""  # the bytes are forgotten
    return json.loads(view.answer)["text"]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_upload_goes_through_the_layer(channels):
    view = a_view(channels=channels)
    text = upload(view, a_file())
    assert text.startswith("mine.png is shown: its middle at 16 × 12 pixels")
    assert ("in grey" in text) == (channels == 1)
    assert (view.names[-1], view.image) == ("mine.png", "mine.png")
    file = {"name": "", "content": a_file()}
    image = uploaded_image((file,), 16, grey=channels == 1)[:, :, 2:14]
    torch.testing.assert_close(view.images["mine.png"], image)
    expected = dynamic_state(view.layer, image[None])
    torch.testing.assert_close(view.shown["maps"][-1:], expected["maps"])
    data = json.loads(view.data)
    assert len(data["images"]) == len(data["names"]) == 3
    assert np.frombuffer(base64.b64decode(data["maps"]), "<f4").size == view.shown["maps"].numel()


def test_prepare_and_pictures():
    layer, inputs, pictures = DynamicConv2d(5, 1, 3), {"a": torch.rand(5, 8, 8)}, {"a": torch.rand(3, 32, 32)}
    assert not json.loads(DynamicView(layer, inputs).data)["uploads"]
    assert not json.loads(DynamicView(layer, inputs, pictures=pictures).data)["uploads"]
    assert "needs `prepare`" in upload(DynamicView(layer, inputs), a_file())
    seen = []
    view = DynamicView(layer, inputs, pictures=pictures, prepare=lambda p: seen.append(p) or torch.full((5, 8, 8), 2.0))
    upload(view, a_file())
    assert seen[0].shape == view.pictures["mine.png"].shape == (3, 32, 32)
    assert view.images["mine.png"].unique() == 2


def test_whatever_goes_wrong_becomes_a_sentence():
    view = a_view()
    bomb = io.BytesIO()
    Image.new("1", (9000, 9000)).save(bomb, "PNG")
    for content, message in (
        (b"no image at all", "mine.png is not an image of a known format"),
        (a_file()[:500], "mine.png is damaged"),
        (bomb.getvalue(), "too large: 9000 × 9000 pixels"),
        (bytes(6_000_000), "too large: more than 5 MB"),
    ):
        text = upload(view, content)
        assert text.startswith("Not added: ")
        assert message in text
    for prepare, message in (
        (lambda p: p[:, :3], r"'the new one': (1, 3, 12)"),
        (lambda p: 1 / 0, "ZeroDivisionError"),
        (lambda p: p / 0, "not finite"),
    ):
        view.prepare = prepare
        assert message in upload(view, a_file())
    for junk in ("no json", '{"content": "?"}', '{"content": 3, "name": 4}'):
        view.upload = junk
        assert json.loads(view.answer)["text"].startswith("Not added: ")
    assert view.names == ["image 0", "image 1"]
    assert view.image == "image 0"


def test_a_greeting_is_answered_every_time():
    view, answers = a_view(), set()
    for _ in range(3):
        view.upload = "{}"
        answers.add(view.answer)
    assert len(answers) == 3
    assert {json.loads(answer)["text"] for answer in answers} == {""}


def test_the_newest_uploads_stay():
    view = a_view(count=7)
    for i in range(3):
        upload(view, a_file(), f"{i}.png")
    assert view.names == [*(f"image {i}" for i in range(7)), "2.png"]
    assert view.image == "2.png"
    upload(view, a_file(), "2.png")
    assert view.names[-1] == "2.png 2"
    full = a_view(count=8)
    upload(full, a_file())
    assert len(full.names) == 9
    assert full.names[-1] == "mine.png"
    upload(full, a_file(), "other.png")
    assert full.names[8:] == ["other.png"]


def test_which_image():
    view = a_view(count=6)
    assert view.image == "image 0"
    view.image = "image 5"
    for bad in ("", "image 9"):
        with pytest.raises(traitlets.TraitError, match=r"image must be one of image 0, .*got"):
            view.image = bad
    assert a_view(image="image 1").image == "image 1"


def test_what_the_attention_computes_on_its_way():
    layer, images = DynamicConv2d(40, 1, 3, num_kernels=2, temperature=1.0), torch.rand(2, 40, 8, 8)
    shown = dynamic_state(layer, images)
    torch.testing.assert_close(shown["squeeze"], images.mean((2, 3)))
    torch.testing.assert_close(shown["hidden"], torch.relu(layer.attention.fc1(shown["squeeze"])))
    torch.testing.assert_close(shown["logits"], layer.attention.fc2(shown["hidden"]))
    data = json.loads(DynamicView(layer, dict(zip("ab", images, strict=True))).data)
    assert (data["squeeze_count"], data["squeeze_words"], data["hidden_count"]) == (32, "32 of 40 means", 10)


def test_what_is_wanted_and_what_does_not_fit():
    data = json.loads(a_view(wanted={"image 1": torch.zeros(1, 14, 10)}).data)
    assert data["wanted"][0] is None
    assert data["before"][0] is None
    assert data["exact"]
    for wanted in ({"image 1": torch.zeros(16, 12)}, {"other": torch.zeros(14, 10)}):
        with pytest.raises(ValueError, match=r"wanted must be images' names with \(14, 10\) each, got"):
            a_view(wanted=wanted)


def test_too_many_images_and_pictures_that_do_not_fit():
    with pytest.raises(ValueError, match=r"at most 8.* and at most 8 kernels, got 9 and 2"):
        a_view(count=9)
    with pytest.raises(ValueError, match=r"with a picture each if any, got .*'other'"):
        a_view(count=1, pictures={"other": torch.rand(3, 4, 4)})


def test_large_maps_are_averaged_and_it_says_so():
    view = a_view(size=(200, 150))
    assert json.loads(view.data)["map_shape"] == [66, 50]
    assert "mean over 3 × 3" in json.loads(view.data)["about"]
    maps, n = averaged(torch.arange(2 * 100 * 4.0).reshape(2, 1, 100, 4))
    assert (maps.shape, n) == ((2, 1, 50, 2), 2)
    assert maps[0, 0, 0, 0] == torch.tensor([0.0, 1, 4, 5]).mean()
    assert json.loads(a_view().data)["about"] == ""

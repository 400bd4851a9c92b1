"""The instruments' Python side: state against the layers, traits, output, and errors."""

import base64
import io
import json

import matplotlib
import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from dynconv import DynamicConv2d, KernelAttention, StaticMixConv2d
from dynconv.lessons import figures
from dynconv.lessons.views import DynamicView, Mixer, TrainingView
from dynconv.lessons.views.dynamic import dynamic_state
from dynconv.lessons.views.javascript import HERE
from dynconv.lessons.views.mixer import mixer_state

WIDGET = "application/vnd.jupyter.widget-view+json"


def a_mixer(**changes):
    kernels = {"a": torch.randn(3, 3), "b": torch.randn(3, 3), "c": torch.randn(3, 3)}
    return Mixer(**{"photo": torch.rand(1, 16, 16), "kernels": kernels, **changes})


def a_record(epoch=0, classes=2, num_kernels=3):
    attention = [[1 / num_kernels] * num_kernels] * classes
    kernels = [[float(k)] * 9 for k in range(num_kernels)]
    return {"epoch": epoch, "temperature": 30.0, "test_loss": 1.0, "attention": attention, "kernels": kernels}


def test_mixer_state_is_the_layer():
    layer = StaticMixConv2d(1, 1, 3, padding=1, bias=False, num_kernels=4, temperature=2.0)
    torch.nn.init.normal_(layer.attention.logits)
    photo = torch.rand(12, 14)
    shown = mixer_state(photo, layer.weight[:, 0, 0], layer.attention.logits, 2.0)
    for name in ("mixed", "folded"):
        torch.testing.assert_close(shown[name], layer(photo[None, None])[0, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(shown["kernel"], layer.fold().weight[0, 0])


def test_dynamic_state_is_the_layer():
    attention = torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3), torch.nn.BatchNorm2d(6), KernelAttention(6, 3, temperature=4.0)
    )
    layer, images = DynamicConv2d(2, 3, 5, stride=2, num_kernels=3, attention=attention), torch.randn(4, 2, 15, 15)
    layer.train()
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    shown = dynamic_state(layer, images)
    assert layer.training  # left as it was, batch norm's statistics too
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    pi = torch.softmax(shown["logits"] / 4.0, dim=1)
    torch.testing.assert_close(pi, layer.eval().attention(images))
    mixed = torch.einsum("bk,bkhw->bhw", pi, shown["maps"])
    torch.testing.assert_close(mixed, layer(images)[:, 0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "view",
    [
        a_mixer,
        lambda: DynamicView(DynamicConv2d(1, 1, 3), {"a": torch.rand(1, 8, 8)}),
        lambda: [v := TrainingView(["x", "y"], 2, 3, 3), v.add(a_record())][0],
    ],
    ids=["mixer", "dynamic", "training"],
)
def test_output_carries_widget_still_and_words(view):
    data, metadata = view()._repr_mimebundle_()
    assert set(data) == {WIDGET, "image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == data["text/plain"]
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert (
        len(
            set(
                picture.convert("L").get_flattened_data()
                if hasattr(picture, "get_flattened_data")
                else picture.getdata()
            )
        )
        > 20
    )


def test_training_has_no_still_before_its_first_record():
    assert "image/png" not in TrainingView(["x"], 2, 3, 3)._repr_mimebundle_()[0]


def test_mixer_takes_and_checks_traits():
    mixer = a_mixer(num_kernels=2, temperature=0.5)
    mixer.logits = [1.0, 2.0, 3.0]
    mixer.num_kernels = 3
    for trait, value, message in (
        ("temperature", 0.0, "above 0, got 0.0"),
        ("temperature", -1.0, "above 0, got -1.0"),
        ("num_kernels", 4, "1 to 3, got 4"),
        ("num_kernels", 0, "1 to 3, got 0"),
        ("logits", [1.0], "3 numbers, got 1"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(mixer, trait, value)
    assert (mixer.temperature, mixer.num_kernels, mixer.logits) == (0.5, 3, [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photo": torch.rand(3, 8, 8)}, r"photo must be grey.*got \[\(3, 8, 8\)\]"),
        ({"kernels": {}}, "1 to 8 square ones of one odd size, got 0"),
        ({"kernels": {"even": torch.rand(4, 4)}}, r"got 1 of \[\(4, 4\)\]"),
        ({"kernels": {str(k): torch.rand(3, 3) for k in range(9)}}, "got 9"),
    ],
)
def test_bad_mixers(changes, message):
    with pytest.raises(ValueError, match=message):
        a_mixer(**changes)


def test_bad_dynamic_views():
    with pytest.raises(ValueError, match="at most 8 kernels, got 1 and 9"):
        DynamicView(DynamicConv2d(1, 1, 3, num_kernels=9), {"a": torch.rand(1, 8, 8)})
    with pytest.raises(ValueError, match="must end in a softmax KernelAttention"):
        DynamicView(DynamicConv2d(1, 1, 3, attention=torch.nn.Flatten()), {"a": torch.rand(1, 8, 8)}, temperature=1.0)


def test_bad_records():
    view = TrainingView(["x", "y"], epochs=2, num_kernels=3, kernel_size=3)
    with pytest.raises(ValueError, match=r"attention must be 2 × 3 numbers, got \(1, 3\)"):
        view.add(a_record(classes=1))
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        TrainingView(["x"], 0, 3, 3)
    assert json.loads(view.records) == []
    with pytest.raises(
        traitlets.TraitError, match="epoch must be None, for the newest, or one that was recorded, got 0"
    ):
        view.epoch = 0


@pytest.mark.parametrize(("name", "colours"), [("VIRIDIS", "viridis")])
def test_palettes_are_matplotlibs(name, colours):
    text = (HERE / "palettes.js").read_text().split(f"{name} = table(")[1].split('"')[1]
    table = np.frombuffer(base64.b64decode(text), np.uint8).reshape(256, 3)
    expected = matplotlib.colormaps[colours](np.linspace(0, 1, 256))[:, :3] * 255
    assert np.abs(table - expected).max() <= 1


def test_kernel_colours_are_the_same_in_pages_and_figures():
    css = (HERE / "style.css").read_text()
    for k, colour in enumerate(figures.KERNEL_COLOURS):
        rule = css.split(f".dynconv .dc-k{k} {{")[1].split("}")[0]
        assert colour.lower() in rule


def test_figures_repeat_byte_for_byte():
    one, two = (figures.curves({"a": [1, 2, 3]}, alt="A line.") for _ in range(2))
    assert one.png == two.png

"""Trace's Python side: the sum of its parts is the layer's own output pixel, and arguments are checked."""

import base64
import io
import itertools
import json

import pytest
import torch
import traitlets
from PIL import Image
from torch import nn

from dynconv import DynamicConv2d, StaticMixConv2d
from dynconv.lessons.views.trace import Trace, trace_state

WIDGET = "application/vnd.jupyter.widget-view+json"
GEOMETRIES = [
    {"kernel_size": 3},
    {"kernel_size": (1, 4), "stride": (2, 1), "padding": (0, 2)},
    {"kernel_size": 3, "stride": 3, "padding": 5, "dilation": 2},
    {"kernel_size": (4, 3), "padding": "same", "dilation": (1, 2)},
    {"kernel_size": 5, "padding": "valid", "bias": False},
]


def a_trace(**changes):
    return Trace(**{"layer": nn.Conv2d(2, 3, 3), "image": torch.rand(2, 9, 12), **changes})


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("kind", [nn.Conv2d, DynamicConv2d])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_the_total_is_the_layers_own_pixel(kind, geometry):
    layer, image = kind(2, 3, **geometry).double(), torch.randn(2, 11, 13, dtype=torch.float64)
    y = layer(image[None])[0].detach()
    assert Trace(layer, image).shape == y.shape[1:]
    last_row, last_column = y.shape[1] - 1, y.shape[2] - 1
    for row, column, o in itertools.product((0, 1, last_row), (0, 2, last_column), range(3)):
        shown = trace_state(layer, image, row, column, o)
        torch.testing.assert_close(shown["total"], y[o, row, column])
        torch.testing.assert_close(shown["products"].sum() + shown["bias"], y[o, row, column])
        torch.testing.assert_close(shown["products"], shown["patch"] * shown["kernel"])
        torch.testing.assert_close(shown["map"], y[o])


@pytest.mark.parametrize("num_kernels", [1, 8])
@pytest.mark.parametrize("temperature", [0.1, 100.0])
def test_a_temperature_is_the_layers(num_kernels, temperature):
    layer, image = DynamicConv2d(3, 2, 3, padding=1, num_kernels=num_kernels), torch.randn(3, 8, 8)
    shown = trace_state(layer, image, 2, 7, 1, temperature)
    layer.attention.temperature.fill_(temperature)
    torch.testing.assert_close(shown["attention"], layer.attention(image[None])[0])
    torch.testing.assert_close(shown["total"], layer(image)[1, 2, 7], atol=1e-5, rtol=1e-4)


def test_the_layer_is_left_alone():
    layer = DynamicConv2d(1, 1, 3).train()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    Trace(layer, torch.rand(1, 8, 8), temperature=1.0)
    assert layer.training
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_traits_are_taken_and_checked():
    trace = a_trace()
    assert (trace.row, trace.column, trace.output_channel) == (3, 5, 0)
    trace.row, trace.column, trace.output_channel = 6, 9, 2
    for trait, value, message in (
        ("row", 7, "row must be 0 to 6, got 7"),
        ("row", -1, "row must be 0 to 6, got -1"),
        ("column", 10, "column must be 0 to 9, got 10"),
        ("output_channel", 3, "output_channel must be 0 to 2, got 3"),
        ("temperature", 1.0, "must be None: a plain convolution has none, got 1.0"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(trace, trait, value)
    assert (trace.row, trace.column, trace.output_channel, trace.temperature) == (6, 9, 2, None)
    data = json.loads(trace.data)
    assert (data["map_shape"], data["padding"], data["logits"]) == ([7, 10], [[0, 0], [0, 0]], None)


def test_a_dynamic_layer_has_a_temperature():
    trace = Trace(DynamicConv2d(1, 1, 3, temperature=7.0), torch.rand(1, 8, 8))
    assert trace.temperature == 7
    trace.temperature = 0.5
    with pytest.raises(traitlets.TraitError, match=r"above 0, got 0\.0"):
        trace.temperature = 0.0
    assert trace.temperature == 0.5
    trace.temperature = None  # the layer's own again
    assert json.loads(trace.data)["temperature"] == 7
    assert "Trace of the output pixel" in trace.still().alt


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"layer": nn.Conv1d(2, 3, 3)}, TypeError, "nn.Conv2d or a DynamicConv2d, got Conv1d"),
        ({"layer": StaticMixConv2d(2, 3, 3)}, TypeError, "got StaticMixConv2d"),
        ({"layer": nn.Conv2d(2, 2, 3, groups=2)}, ValueError, "groups=1 and padding_mode='zeros', got 2 and 'zeros'"),
        ({"layer": nn.Conv2d(2, 2, 3, padding_mode="reflect")}, ValueError, "got 1 and 'reflect'"),
        ({"layer": nn.Conv2d(2, 2, 13)}, ValueError, r"at most 11 × 11.*got \(13, 13\), 2 and 1"),
        ({"layer": nn.Conv2d(2, 65, 3)}, ValueError, r"got \(3, 3\), 65 and 1"),
        ({"layer": DynamicConv2d(2, 2, 3, num_kernels=9)}, ValueError, r"got \(3, 3\), 2 and 9"),
        (
            {"layer": DynamicConv2d(2, 2, 3, attention=nn.Flatten()), "temperature": 1.0},
            ValueError,
            "must end in a softmax KernelAttention",
        ),
        ({"image": torch.rand(3, 9, 9)}, ValueError, r"image must be \(2, H, W\).*got \(3, 9, 9\)"),
        ({"image": torch.rand(9, 9)}, ValueError, r"got \(9, 9\)"),
        ({"image": torch.rand(2, 9, 129)}, ValueError, r"at most 128 × 128 pixels and .* got \(2, 9, 129\)"),
        ({"image": torch.rand(2, 2, 9)}, ValueError, r"too small for a kernel of \(3, 3\), got \(2, 2, 9\)"),
        (
            {"layer": nn.Conv2d(4, 2, 3), "image": torch.rand(3, 9, 9)},
            ValueError,
            r"must be \(4, H, W\).*got \(3, 9, 9\)",
        ),
        (
            {"layer": nn.Conv2d(17, 1, 3), "image": torch.rand(17, 128, 128)},
            ValueError,
            r"262,144 values, got \(17, 128, 128\)",
        ),
        (
            {"layer": nn.Conv2d(512, 60, 3), "image": torch.rand(512, 9, 9)},
            ValueError,
            "at most 262,144 weights, got 276,480",
        ),
        ({"input_channel": 1}, traitlets.TraitError, "input_channel must be 0 to 0, got 1"),
        ({"row": 7}, traitlets.TraitError, "row must be 0 to 6, got 7"),
    ],
)
def test_bad_arguments(changes, error, message):
    with pytest.raises(error, match=message):
        a_trace(**changes)


@pytest.mark.parametrize("layer", [nn.Conv2d(2, 3, 3), DynamicConv2d(2, 3, 3, num_kernels=2)])
def test_output_carries_widget_still_and_words(layer):
    view = a_trace(layer=layer, row=1, column=4, output_channel=2)
    data, metadata = view._repr_mimebundle_()
    assert set(data) == {WIDGET, "image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == data["text/plain"]
    assert f"is {layer(view.image[None])[0, 2, 1, 4].item():.3f}." in data["text/plain"]
    assert ("% of kernel 2" in data["text/plain"]) == isinstance(layer, DynamicConv2d)
    colours = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB").getcolors(10**6)
    assert len(colours) > 50


def test_channels_are_called_by_their_names():
    view = Trace(nn.Conv2d(3, 2, 3), torch.rand(3, 8, 8), channel_names=("red", "green", "blue"))
    assert json.loads(view.data)["channels"] == ["red", "green", "blue"]
    assert json.loads(Trace(nn.Conv2d(2, 1, 3), torch.rand(2, 8, 8)).data)["channels"] == ["channel 0", "channel 1"]
    for names in (("red", "green"), ("red", "green", "red")):
        with pytest.raises(ValueError, match="channel_names must be 3 different names"):
            Trace(nn.Conv2d(3, 2, 3), torch.rand(3, 8, 8), channel_names=names)

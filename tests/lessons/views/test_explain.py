"""explain(): finds the dynamic layers of any model, leaves it alone, and gives instruments that show what the layers do."""

import json

import pytest
import torch
import torchvision
import traitlets
from torch import nn

from dynconv import CondConv2d, DynamicConv2d, KernelAttention, StaticMixConv2d
from dynconv.functional import softmax_temperature
from dynconv.layers import FixedAttention, ODConv2d
from dynconv.lessons.data.recordings import recording
from dynconv.lessons.views.dynamic import averaged, dynamic_state
from dynconv.lessons.views.explanation import explain
from dynconv.lessons.views.pages import page
from dynconv.lessons.views.trace import trace_state
from dynconv.probe import record
from dynconv.surgery import convert


def some_images(channels=3, size=64, names=("a", "b")):
    return {name: torch.rand(channels, size, size) for name in names}


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return convert(torchvision.models.resnet18(), num_kernels=3, noise=0.5, temperature=1.0)


@pytest.fixture(scope="module")
def mobilenet():
    torch.manual_seed(0)
    return convert(torchvision.models.mobilenet_v2(), num_kernels=2, noise=0.5, temperature=1.0)


def small():
    return nn.Sequential(
        DynamicConv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        DynamicConv2d(4, 2, 3, num_kernels=3),
    )


def test_what_it_lists_is_what_the_layers_did(resnet):
    images = some_images()
    found = explain(resnet, images)
    resnet.eval()
    with torch.no_grad(), record(resnet) as seen:
        resnet(torch.stack(list(images.values())))
    assert len(found.layers) == 20
    for name, one in found.layers.items():
        torch.testing.assert_close(one.attention, seen[name].weights)
        torch.testing.assert_close(one.layer(one.images).shape[0], 2)
        assert (one.temperature, one.missing) == (1.0, None)
        assert (one.effective <= 3.0001).all()


def every_hook(model):
    return [dict(hooks) for m in model.modules() for name, hooks in vars(m).items() if name.endswith("_hooks")]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails):
    model = small().train()
    model[1].eval()  # frozen on its own
    before, modes = {k: v.clone() for k, v in model.state_dict().items()}, [m.training for m in model.modules()]
    hooks, numbers = every_hook(model), torch.random.get_rng_state()
    if fails:
        with pytest.raises(ValueError, match=r"Sequential does not take images of shape \(2, 3, 9, 9\).*expects"):
            explain(model, {"a": torch.zeros(3, 9, 9), "b": torch.zeros(3, 9, 9)})
    else:
        images = {"a": torch.zeros(1, 9, 9), "b": torch.ones(1, 9, 9)}
        found = explain(model, images)
        found.dynamic("3"), found.simplex("3"), found.trace(), found.interventions()
    assert torch.equal(torch.random.get_rng_state(), numbers)
    assert [m.training for m in model.modules()] == modes
    assert every_hook(model) == hooks
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("which", "name", "channel"),
    [
        ("resnet", "conv1", 63),  # 7 × 7, stride 2
        ("resnet", "layer2.0.conv1", 5),
        ("resnet", "layer2.0.downsample.0", 7),  # 1 × 1, stride 2
        ("mobilenet", "features.2.conv.0.0", 95),  # 1 × 1
        ("mobilenet", "features.2.conv.1.0", 41),  # depthwise, stride 2
    ],
)
def test_maps_are_the_layers_output(request, which, name, channel):
    found = explain(request.getfixturevalue(which), some_images())
    layer, view = found[name].layer, found.dynamic(name, channel=channel)
    weights = softmax_temperature(view.shown["logits"], view.temperature)
    expected = layer.eval()(found[name].images)[:, channel]
    mixed = torch.einsum("bk,bkhw->bhw", weights, view.shown["maps"])
    torch.testing.assert_close(mixed, expected, atol=1e-4, rtol=1e-3)
    about = json.loads(view.data)["about"]
    assert about.startswith(f"Layer {name}; ")
    assert f"Output channel {channel} of {layer.out_channels}" in about
    assert len(view.data) < 1_000_000
    assert "feature maps of a and b" in view.still().alt


def test_which_input_channels_are_shown():
    layer, images = DynamicConv2d(6, 4, 3, groups=2, num_kernels=2), torch.rand(2, 6, 9, 9)
    state = dynamic_state(layer, images, output_channel=3, input_channel=2)
    assert torch.equal(state["kernels"], layer.weight[:, 3, 2])
    pi = softmax_temperature(state["logits"], 30.0)
    mixed = torch.einsum("bk,bkhw->bhw", pi, state["maps"])
    torch.testing.assert_close(mixed, layer(images)[:, 3], atol=1e-5, rtol=1e-4)
    one = DynamicConv2d(5, 4, 1, num_kernels=2)
    kernels = dynamic_state(one, torch.rand(1, 5, 4, 4), output_channel=1)["kernels"]  # 5 numbers in a 2 × 3 square
    assert kernels.shape == (2, 2, 3)
    assert torch.equal(kernels.flatten(1)[:, :5], one.weight[:, 1, :, 0, 0])
    for name, value, last in (("output_channel", 4, 3), ("input_channel", -1, 2)):
        with pytest.raises(ValueError, match=f"{name} must be 0 to {last}, got {value}"):
            dynamic_state(layer, images, **{name: value})


@pytest.mark.parametrize(
    ("name", "channel"), [("features.0.0", 9), ("features.3.conv.1.0", 100), ("features.2.conv.2", 20)]
)
def test_traces_are_the_layers_output(mobilenet, name, channel):
    found = explain(mobilenet, some_images())
    trace = found.trace(name, channel=channel, image="b", row=3, column=2)
    expected = found[name].layer.eval()(found[name].images)[1, channel]
    with torch.no_grad():
        state = trace_state(trace.layer, trace.image, 3, 2, trace.output_channel)
    torch.testing.assert_close(state["map"], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(state["total"], expected[3, 2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channel", range(6))
def test_a_trace_in_groups_of_several_channels(channel):
    torch.manual_seed(0)
    layer = DynamicConv2d(6, 6, 3, groups=3, num_kernels=2)  # each output channel sees two input channels
    found = explain(layer, {"a": torch.rand(6, 9, 9)})
    trace = found.trace(channel=channel)
    inside = 2 * (channel // 2)
    assert torch.equal(trace.image, found[""].images[0, inside : inside + 2])
    with torch.no_grad():
        state = trace_state(trace.layer, trace.image, 3, 2, trace.output_channel)
        expected = layer(found[""].images)[0, channel]
    torch.testing.assert_close(state["map"], expected, atol=1e-5, rtol=1e-4)
    maps = found.dynamic(channel=channel).shown
    mixed = torch.einsum("k,khw->hw", softmax_temperature(maps["logits"], 30.0)[0], maps["maps"][0])
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-4)


def test_a_smaller_map_holds_the_means_of_the_pixels_that_are_there():
    ones = torch.ones(2, 3, 100, 151)  # in blocks of 2 × 2 a column is left over
    small, n = averaged(ones)
    assert (small.shape, n) == ((2, 3, 50, 76), 2)
    assert torch.equal(small, torch.ones_like(small))
    image = torch.rand(97, 97)
    small, _ = averaged(image[None])
    assert small[0, -1, -1] == image[-1, -1]
    torch.testing.assert_close(small[0, 0, -1], image[:2, -1].mean())


def test_simplex_and_interventions_of_a_classifier(resnet):
    found = explain(resnet, some_images(names=list("abcdefgh")))
    triangle = found.simplex("layer1.0.conv1", channel=3)
    about = json.loads(triangle.data)["about"]
    assert about.startswith(
        "Layer layer1.0.conv1; the pictures are what the model gets. Output channel 3 of 64 (counted from 0)"
    )
    torch.testing.assert_close(softmax_temperature(triangle.shown["logits"], 1.0), found["layer1.0.conv1"].attention)
    assert triangle.temperature == 1.0
    view = found.interventions("layer4.1.conv2")
    assert (view.names, list(view.attention)) == (list("abcdef"), ["layer4.1.conv2.attention"])
    data = json.loads(view.data)
    logits = found.logits.mean(0)
    assert sorted(map(int, data["classes"])) == sorted(logits.topk(10).indices.tolist())
    assert view.changes()["argmax"] > 0  # of all 1000 logits
    for bad, targets in (([], None), (range(21), None), ([0], torch.zeros(6, dtype=torch.long))):
        with pytest.raises(ValueError, match=f"shown_classes must be 1 to 20, without targets, got {len(bad)}"):
            found.interventions(shown_classes=bad, targets=targets)


def test_the_uploaded_picture_goes_through_the_model(mobilenet):
    found = explain(mobilenet, some_images(), prepare=lambda picture: 2 * picture - 1)
    view, picture = found.dynamic("features.1.conv.1"), torch.rand(3, 64, 64)
    with torch.no_grad():
        mobilenet.eval()
        expected = mobilenet.features[1].conv[0](mobilenet.features[0](2 * picture[None] - 1))[0]
    torch.testing.assert_close(view.prepare(picture), expected)


def test_the_table_says_it_all_and_is_safe():
    found = explain(small(), {"<b>": torch.zeros(1, 9, 9)})
    assert "2 dynamic layers of Sequential, 1 image\n" in repr(found)
    assert "4 → 2, 3 × 3" in repr(found)
    shown = found._repr_html_()
    assert "<b>" not in shown
    assert "% for &lt;b&gt;" in shown
    assert shown.count("<tr>") == 3


def test_batches_single_layers_and_the_layer_chosen():
    found = explain(DynamicConv2d(1, 1, 3), torch.rand(2, 1, 9, 9))
    assert (found.names, list(found.layers)) == (["image 0", "image 1"], [""])
    assert found.dynamic().image == found.names[0]
    assert "(the model)" in repr(found)
    assert found.interventions().layer == "attention"
    assert "Layer 3;" in json.loads(explain(small(), torch.rand(1, 1, 9, 9), layer="3").dynamic().data)["about"]


def test_it_plays_a_recording():
    assert explain(small(), torch.rand(1, 1, 9, 9)).training(recording("restoration")).last == 25


def test_weights_without_a_softmax_say_what_is_not_available():
    frozen = DynamicConv2d(2, 2, 3, num_kernels=2, attention=FixedAttention(torch.tensor([0.5, 0.5])))
    model = nn.Sequential(CondConv2d(1, 2, 3), ODConv2d(2, 2, 3), frozen)
    images = {"a": torch.rand(1, 20, 20), "b": torch.rand(1, 20, 20)}
    found = explain(model, images)
    model.eval()
    torch.testing.assert_close(found["0"].attention, model[0].attention(torch.stack(list(images.values()))))
    for name, message in (("0", "CondConv2d.*sigmoids.*no temperature"), ("1", "no mix of K maps"), ("2", "FixedAtt")):
        for make in (found.dynamic, found.simplex, found.trace):
            with pytest.raises(ValueError, match=f"not available for '{name}'.*{message}"):
                make(name)
    assert (found["0"].effective, found["1"].temperature) == (None, None)
    assert found.interventions("0").changes()["uniform"] > 0
    assert "–" in repr(found)


def test_bad_models_layers_and_images():
    x = {"a": torch.rand(1, 9, 9)}
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), StaticMixConv2d(2, 2, 3))
    for bad, message in (
        (plain, r"no dynamic layer, but 2 Conv2d, 1 StaticMixConv2d; dynconv.surgery.convert\(model\) makes some"),
        (nn.Linear(2, 2), "Linear has no dynamic layer and no convolution"),
    ):
        with pytest.raises(ValueError, match=message):
            explain(bad, x)
    for layer in ("4", "0.attention"):
        with pytest.raises(ValueError, match=f"no dynamic layer is named '{layer}'; there are: '0', '3'"):
            explain(small(), x, layer=layer)
    found = explain(small(), x)
    with pytest.raises(ValueError, match="'0' has 4 kernels; with 3: \\['3'\\]"):
        found.simplex()
    with pytest.raises(ValueError, match="no image is named 'c'; there are: a"):
        found.trace(image="c")
    with pytest.raises(traitlets.TraitError, match="output_channel must be 0 to 3, got 4"):
        found.trace(channel=4)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ({}, ValueError, "1 to 8, got 0"),
        (torch.rand(9, 1, 8, 8), ValueError, "1 to 8, got 9"),
        (torch.rand(1, 8, 8), TypeError, r"got a tensor \(1, 8, 8\)"),
        ({"a": [1, 2]}, TypeError, "got dict"),
        ({"a": torch.rand(1, 8, 8), "b": torch.rand(1, 8, 9)}, ValueError, r"'b': \(1, 8, 9\)"),
        ({"a": torch.rand(8, 8)}, ValueError, r"\(8, 8\)"),
        ({"a": torch.zeros(1, 8, 8).int()}, ValueError, "'a' must be finite floating point numbers, got torch.int32"),
        ({"a": torch.full((1, 8, 8), float("nan"))}, ValueError, "'a' must be finite"),
    ],
)
def test_bad_images(images, error, message):
    with pytest.raises(error, match=message):
        explain(small(), images)


def test_attention_in_a_module_of_its_own():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = KernelAttention(1, 2, temperature=3.0)

        def forward(self, x):
            return self.inner(2 * x)

    class Halved(Scaled):
        def forward(self, x):
            return self.inner(x) / 2

    x = torch.rand(2, 1, 9, 9)
    layer = DynamicConv2d(1, 1, 3, num_kernels=2, attention=Scaled())
    torch.testing.assert_close(softmax_temperature(dynamic_state(layer, x)["logits"], 3.0), layer.attention(x))
    with pytest.raises(ValueError, match="must end in a softmax KernelAttention, got Halved"):
        dynamic_state(DynamicConv2d(1, 1, 3, num_kernels=2, attention=Halved()), x)


def test_pages_of_it_stand_alone(mobilenet):
    assert "Layer features.1.conv.1" in page(explain(mobilenet, some_images()).dynamic("features.1.conv.1"), "one")

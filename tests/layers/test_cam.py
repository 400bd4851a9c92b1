"""CAMHead, CAMAttention, CAM: identities, state, hooks that do not leak, and everyday use."""

import copy
import io
import pickle

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dynconv.functional.cam import grad_cam, normalize_map
from dynconv.layers.cam import CAM, CAMAttention, CAMHead

CASES = settings(max_examples=25, deadline=None, derandomize=True)
LAYERS = {
    "head": lambda: CAMHead(4, 3),
    "attention": lambda: CAMAttention(4),
    "normed": lambda: CAMAttention(4, "leaky_relu", spectral_norm=True),
}


def flat(output):
    """One vector of whatever a layer returns."""
    return output.flatten() if isinstance(output, torch.Tensor) else torch.cat([t.flatten() for t in output])


# ---------------------------------------------------------------------------------------------------------------- head


@CASES
@given(st.integers(1, 4), st.lists(st.integers(1, 5), min_size=1, max_size=3), st.booleans(), st.integers(0, 10**6))
def test_maps_add_up_to_the_logits_and_to_grad_cam(batch, sizes, bias, seed):
    torch.manual_seed(seed)
    head = CAMHead(4, 3, bias=bias, dtype=torch.float64)
    features = torch.randn(batch, 4, *sizes, dtype=torch.float64, requires_grad=True)
    logits, maps = head(features), head.maps(features)
    offset = head.classifier.bias if bias else 0
    torch.testing.assert_close(maps.flatten(2).mean(2) + offset, logits)
    classes = torch.arange(batch) % 3
    own = head.maps(features, classes)
    torch.testing.assert_close(own, maps[torch.arange(batch), classes])
    expected = torch.relu(own) / features[0, 0].numel()
    torch.testing.assert_close(grad_cam(features, logits, classes), expected.detach())
    torch.testing.assert_close(head.maps(features, classes, normalize=True), normalize_map(own, len(sizes)))


def test_the_heads_weights_pass_by_the_weighting_for_logits_and_for_maps():
    head, features = CAMHead(4, 3), torch.randn(2, 4, 5, 5)
    assert (head.weighting.over, head.weighting.batched) == ("classes", False)
    expected = head.maps(features).mean((2, 3))
    handle = head.weighting.register_forward_hook(lambda module, inputs, output: output * 2)
    torch.testing.assert_close(head(features) - head.classifier.bias, 2 * expected)
    torch.testing.assert_close(head.maps(features).mean((2, 3)), 2 * expected)
    handle.remove()


# ----------------------------------------------------------------------------------------------------------- attention


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "none"])
def test_attention_is_its_formula_and_folds(activation, spectral_norm):
    layer = CAMAttention(4, activation, spectral_norm, dtype=torch.float64).eval()
    features = torch.randn(3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    wa, wm = layer.average.weight[0], layer.maximum.weight[0]
    maxima = torch.stack([torch.stack([c.max() for c in image]) for image in features])
    logit = torch.stack([features.mean((2, 3)) @ wa, maxima @ wm], dim=1)
    first, second = layer.conv1x1.weight.flatten(1).split(4, dim=1)
    mixed = torch.einsum("oc,bchw->bohw", first * wa + second * wm, features) + layer.conv1x1.bias.view(1, 4, 1, 1)
    sigma = {"relu": torch.relu, "leaky_relu": lambda t: torch.where(t > 0, t, t * 0.2), "none": lambda t: t}
    expected = (sigma[activation](mixed), logit, sigma[activation](mixed).sum(1, keepdim=True))
    output = layer(features)
    for ours, theirs in zip(output, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    leaves = [features, *layer.parameters()]
    ours, theirs = (torch.autograd.grad(flat(y).square().sum(), leaves) for y in (output, expected))
    torch.testing.assert_close(ours, theirs)
    folded = layer.fold()
    assert type(folded) is nn.Conv2d
    assert folded.weight.shape == (4, 4, 1, 1)
    torch.testing.assert_close(folded(features), mixed)


def test_attention_has_no_path_from_the_image_to_its_weights():
    layer, features = CAMAttention(4), torch.randn(2, 4, 5, 5, requires_grad=True)
    seen = []
    layer.weighting.register_forward_hook(lambda module, inputs, output: seen.append(output))
    layer(features)
    layer(torch.randn_like(features))
    assert (layer.weighting.over, layer.weighting.batched) == ("channels", False)
    torch.testing.assert_close(seen[0], seen[1], atol=0, rtol=0)
    assert torch.autograd.grad(seen[0].sum(), features, allow_unused=True) == (None,)


def test_logit_and_attention_use_the_same_normed_weights():
    layer, features = CAMAttention(4, spectral_norm=True), torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        for linear in (layer.average, layer.maximum):
            linear.parametrizations.weight.original.mul_(50)  # a normed weight cannot tell
    expected = copy.deepcopy(layer)
    with torch.no_grad():
        for linear in (expected.average, expected.maximum):
            linear.parametrizations.weight.original.div_(50)
    torch.testing.assert_close(flat(layer(features)), flat(expected(features)))
    originals = [linear.parametrizations.weight.original[0] for linear in (layer.average, layer.maximum)]
    unit = torch.stack([w / w.norm() for w in originals])
    seen = []
    layer.weighting.register_forward_hook(lambda module, inputs, output: seen.append(output))
    output = layer(features)
    torch.testing.assert_close(seen[0], unit)
    pooled = torch.stack([features.mean((2, 3)), features.amax((2, 3))], dim=1)
    torch.testing.assert_close(output.logit, (pooled * unit).sum(2))
    scaled = torch.cat([features * w.view(1, 4, 1, 1) for w in unit], dim=1)
    torch.testing.assert_close(output.attended, torch.relu(layer.conv1x1(scaled)))


def test_replaced_weights_reach_logit_and_attention():
    layer, features = CAMAttention(4), torch.randn(2, 4, 5, 5)
    layer.weighting.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    output = layer(features)
    assert (output.logit == 0).all()
    torch.testing.assert_close(output.attended, torch.relu(layer.conv1x1.bias).view(1, 4, 1, 1).expand(2, 4, 5, 5))


def test_one_power_iteration_a_forward():
    layer, calls = CAMAttention(4, spectral_norm=True), []
    for linear in (layer.average, layer.maximum):
        linear.parametrizations.weight[0].register_forward_hook(lambda module, inputs, output: calls.append(module))
    layer(torch.randn(2, 4, 5, 5))
    assert len(calls) == len(set(calls)) == 2


# ------------------------------------------------------------------------------------------------------------ everyday


@pytest.mark.parametrize("name", LAYERS)
def test_batches_of_none_and_one_channels_last_and_half_precision(name):
    layer, x = LAYERS[name]().eval(), torch.randn(3, 4, 6, 6)
    expected = layer(x)
    assert flat(layer(x[:0])).numel() == 0
    second = expected[1:2] if name == "head" else [t[1:2] for t in expected]
    torch.testing.assert_close(flat(layer(x[1:2])), flat(second), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        flat(layer(x.to(memory_format=torch.channels_last))), flat(expected), atol=1e-6, rtol=1e-5
    )
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(flat(layer(x)).float(), flat(expected), atol=0.1, rtol=0.1)
    assert flat(layer.double()(x.double())).dtype == torch.float64


@pytest.mark.parametrize("name", LAYERS)
def test_compile_and_export(name):
    layer, x = LAYERS[name](), torch.randn(3, 4, 6, 6)
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="aot_eager")
    ours, theirs = flat(compiled(x)), flat(layer(x))
    torch.testing.assert_close(ours, theirs)
    gradients = (torch.autograd.grad(y.square().sum(), m.parameters()) for y, m in ((ours, compiled), (theirs, layer)))
    torch.testing.assert_close(*gradients)
    free = torch.export.Dim.DYNAMIC
    exported = torch.export.export(layer.eval(), (x,), dynamic_shapes=({0: free, 2: free, 3: free},)).module()
    other = torch.randn(5, 4, 7, 9)
    torch.testing.assert_close(flat(exported(other)), flat(layer(other)))


@pytest.mark.parametrize("name", LAYERS)
def test_copies_and_checkpoints(name):
    layer, x = LAYERS[name]().eval(), torch.randn(3, 4, 6, 6)
    copies = [copy.deepcopy(layer), LAYERS[name]().eval()]
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    copies[1].load_state_dict(torch.load(file, weights_only=True))
    if name != "normed":  # torch refuses to pickle a parametrised module: its state_dict is the way
        copies.append(pickle.loads(pickle.dumps(layer)))
    for other in copies:
        torch.testing.assert_close(flat(other(x)), flat(layer(x)))


# ---------------------------------------------------------------------------------------------------------- any net


def a_net():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return net.append(nn.Linear(6, 5))


def count_hooks(net):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


@pytest.fixture(scope="module")
def resnet():
    return torchvision.models.resnet18(weights=None).eval()


@pytest.mark.parametrize(("layer", "classifier"), [(None, None), ("layer4", "fc")])
@pytest.mark.parametrize("batch", [1, 3])
def test_maps_of_resnet18_add_up_to_its_logits(resnet, layer, classifier, batch):
    images = torch.randn(batch, 3, 64, 96)
    with torch.no_grad(), CAM(resnet, layer, classifier) as cam:
        maps, own = cam.maps(images), cam.maps(images, list(range(batch)))
    assert maps.shape == (batch, 1000, 2, 3)
    torch.testing.assert_close(maps.mean((2, 3)) + resnet.fc.bias, resnet(images), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(own, maps[torch.arange(batch), torch.arange(batch)])
    assert count_hooks(resnet) == 0


@pytest.mark.parametrize("layer", [None, "2"])
def test_no_hook_outlives_its_block_nor_grows_in_it(layer):
    net = a_net()
    cam = CAM(net, layer)
    for _ in range(3):  # a CAM can be used again
        with cam:
            for _ in range(3):
                cam.maps(torch.randn(2, 3, 8, 8))
                assert count_hooks(net) == 1
        assert count_hooks(net) == 0
    with pytest.raises(ValueError, match="got 9"), cam:
        cam.maps(torch.randn(2, 3, 8, 8), class_index=9)
    assert count_hooks(net) == 0
    with pytest.raises(RuntimeError), cam:  # the net itself fails
        cam.maps(torch.randn(2, 4, 8, 8))
    assert count_hooks(net) == 0


@pytest.mark.parametrize("training", [True, False])
def test_the_net_stays_as_it_was(training):
    net = a_net().train(training)
    net[1].eval()  # a frozen batch norm stays frozen
    modes, state = [m.training for m in net.modules()], copy.deepcopy(net.state_dict())
    with CAM(net) as cam:
        maps = cam.maps(torch.randn(2, 3, 8, 8), 0)
        assert not cam._seen  # nothing large is kept
        assert not cam._logits
    assert [m.training for m in net.modules()] == modes
    assert maps.requires_grad
    torch.testing.assert_close(net.state_dict(), state, atol=0, rtol=0)


def test_layers_given_as_modules():
    net, images = a_net().eval(), torch.randn(2, 3, 8, 8)
    with CAM(net, net[2], net[5]) as by_module, torch.no_grad():
        maps = by_module.maps(images)
    with CAM(net) as by_default, torch.no_grad():
        torch.testing.assert_close(by_default.maps(images), maps)


# ----------------------------------------------------------------------------------------------------- which head it is


def a_body(*tail, channels=8):
    return nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU(), *tail).eval()


class Heads(nn.Module):
    """Two heads, of which one or both say something about the images."""

    def __init__(self, both=False):
        super().__init__()
        self.body, self.pool, self.both = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), both
        self.head, self.domain = nn.Linear(8, 5), nn.Linear(8, 5)

    def forward(self, x):
        pooled = self.pool(self.body(x)).flatten(1)
        return {"class": self.head(pooled), "domain": self.domain(pooled)} if self.both else self.head(pooled)


class Gated(nn.Module):
    """Average poolings and linear layers before those of the head."""

    def __init__(self):
        super().__init__()
        self.body, self.squeeze, self.gate = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 8)
        self.pool, self.drop, self.fc, self.unused = nn.AvgPool2d(14), nn.Dropout(0.5), nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, x):
        x = self.body(x)
        x = x * torch.sigmoid(self.gate(self.squeeze(x).flatten(1)))[..., None, None]
        return self.fc(self.drop(self.pool(x).flatten(1))).squeeze(1)


AVERAGE = nn.AdaptiveAvgPool2d(1), nn.Flatten()
WITH_MAPS = {
    "flatten and dropout": lambda: a_body(*AVERAGE, nn.Dropout(0.5), nn.Linear(8, 5)),
    "softmax after it": lambda: a_body(*AVERAGE, nn.Linear(8, 5), nn.Softmax(1)),
    "pooled twice": lambda: a_body(nn.AdaptiveAvgPool2d(1), *AVERAGE, nn.Linear(8, 5)),
    "another head last": Heads,
    "gates before it": lambda: Gated().eval(),
    "tuple": lambda: a_body(*AVERAGE, Twice(8, 5)),
    "no bias": lambda: a_body(*AVERAGE, nn.Linear(8, 5, bias=False)),
}


class Twice(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize("name", WITH_MAPS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_head_that_the_logits_come_from_is_found(name, dtype):
    net, images = WITH_MAPS[name]().to(dtype), torch.randn(3, 3, 16, 16, dtype=dtype)
    seen = []
    with torch.no_grad(), CAM(net) as cam:
        maps = cam.maps(images)
        cam.classifier.register_forward_hook(lambda module, inputs, output: seen.append(output))
        net(images)
    assert maps.shape[2:] == (14, 14)
    bias = 0 if cam.classifier.bias is None else cam.classifier.bias.float()
    logits = (seen[0][0] if name == "tuple" else seen[0]).float()
    close = {} if dtype.itemsize > 2 else {"atol": 0.02, "rtol": 0.02}
    torch.testing.assert_close(maps.float().mean((2, 3)) + bias, logits, **close)


WITHOUT_MAPS = {
    "a norm behind the pooling": (
        lambda: a_body(*AVERAGE, nn.LayerNorm(8), nn.Linear(8, 5)),
        {},
        "'2' and .*'5'.* is off",
    ),
    "two linear layers": (
        lambda: a_body(*AVERAGE, nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5)),
        {},
        "is off the model's",
    ),
    "two linear layers of one width": (
        lambda: a_body(*AVERAGE, nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 5)),
        {},
        r"is off the model's output by \d+\.\d%",
    ),
    "maxima": (
        lambda: a_body(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
        {"layer": "1"},
        "'1' and .*'4'.* off",
    ),
    "active dropout": (
        lambda: a_body(*AVERAGE, nn.Dropout(0.5), nn.Linear(8, 5)).train(),
        {},
        "in training mode; call",
    ),
    "positions kept": (
        lambda: a_body(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5)),
        {},
        "no nn.Linear of the model takes the mean of any average pooling's input to",
    ),
    "several heads": (lambda: Heads(both=True), {}, "classifier must be given: several .*'domain', 'head'"),
    "something after it": (lambda: a_body(*AVERAGE, nn.Linear(8, 5), nn.Tanh()), {}, "is off the model's output"),
    "another layer": (
        lambda: a_body(*AVERAGE, nn.Linear(8, 5)),
        {"layer": "0"},
        "layer='0'.* is off the model's output",
    ),
    "another classifier": (
        lambda: a_body(*AVERAGE, nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 5)),
        {"classifier": "6"},
        "is off the logits of '6' by",
    ),
}


@pytest.mark.parametrize("name", WITHOUT_MAPS)
def test_a_net_without_class_activation_maps_is_refused(name):
    make, options, message = WITHOUT_MAPS[name]
    torch.manual_seed(0)
    net = make()
    with CAM(net, **options) as cam, pytest.raises(ValueError, match=message):
        cam.maps(torch.randn(2, 3, 16, 16))
    assert count_hooks(net) == 0


@pytest.mark.parametrize(("model", "options"), [("two heads", {"classifier": "domain"}), ("tanh", {"classifier": "4"})])
def test_a_classifier_that_is_given_has_its_own_logits(model, options):
    net = Heads(both=True) if model == "two heads" else a_body(*AVERAGE, nn.Linear(8, 5), nn.Tanh())
    images, seen = torch.randn(2, 3, 16, 16), []
    net.get_submodule(options["classifier"]).register_forward_hook(lambda module, inputs, output: seen.append(output))
    with CAM(net, **options) as cam:
        maps = cam.maps(images)
    torch.testing.assert_close(maps.mean((2, 3)) + cam.classifier.bias, seen[0])


def test_under_autocast_the_maps_are_the_logits_too():
    net, images = a_net().eval(), torch.randn(3, 3, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), CAM(net) as cam:
        maps, logits = cam.maps(images), net(images)
    torch.testing.assert_close(maps.float().mean((2, 3)) + net[5].bias, logits.float(), atol=0.02, rtol=0.02)


def test_a_head_with_maps_inside_a_net():
    net, images = nn.Sequential(nn.Conv2d(3, 8, 3), CAMHead(8, 5)), torch.randn(2, 3, 16, 16)
    with CAM(net, layer="0") as cam:
        torch.testing.assert_close(cam.maps(images), net[1].maps(net[0](images)))


@pytest.mark.parametrize("inside", [True, False])
def test_a_compiled_net_that_ran_before(inside):
    torch._dynamo.reset()  # what other tests have compiled counts against the same limit
    net, images = a_net().eval(), torch.randn(2, 3, 8, 8)
    run = net if inside else torch.compile(net, backend="eager", fullgraph=True)
    if inside:
        net.compile(backend="eager", fullgraph=True)
    with torch.no_grad():
        logits = run(images)
        with CAM(run) as cam:
            maps = cam.maps(images)
        with CAM(net, "2", net[5]) as given:
            torch.testing.assert_close(given.maps(images), maps)
        torch.testing.assert_close(run(images), logits)
    torch.testing.assert_close(maps.mean((2, 3)) + net[5].bias, logits)


def test_a_copy_made_while_cam_listens_does_not():
    net = a_net()
    with CAM(net):
        assert count_hooks(copy.deepcopy(net)) == count_hooks(pickle.loads(pickle.dumps(net))) == 0


# -------------------------------------------------------------------------------------------------------------- errors


def test_bad_arguments_of_cam():
    net = a_net()
    for arguments, message in (
        ({"layer": "layer9"}, "layer must be a module of the model or its dotted name, got 'layer9'"),
        ({"layer": nn.ReLU()}, r"layer must be a module of the model .* got ReLU\(\)"),
        ({"classifier": "0"}, "classifier must be an nn.Linear, got Conv2d"),
    ):
        with pytest.raises(ValueError, match=message):
            CAM(net, **arguments)
    with pytest.raises(ValueError, match="layer must be given: Sequential has no average pooling module"):
        CAM(net[:3])
    with pytest.raises(ValueError, match=r"classifier must be given: Sequential has no nn.Linear module"):
        CAM(net[:4])
    cam = CAM(net)
    with pytest.raises(RuntimeError, match="inside its block only"):
        cam.maps(torch.randn(2, 3, 8, 8))
    with cam, pytest.raises(RuntimeError, match="in use already"), cam:
        pass
    net.append(nn.Linear(7, 5))
    with pytest.raises(RuntimeError), CAM(net) as cam:  # 5 logits do not fit a linear layer of 7
        cam.maps(torch.randn(2, 3, 8, 8))


def test_a_layer_that_does_not_run_is_named():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(3, 5)

        def forward(self, x):
            return self.fc(x.mean((2, 3)))

    with pytest.raises(RuntimeError, match="did not run the layer AdaptiveAvgPool2d"), CAM(Net()) as cam:
        cam.maps(torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CAMHead(0, 3), "in_channels must be an integer of at least 1, got 0"),
        (lambda: CAMHead(4, 0), "num_classes must be an integer of at least 1, got 0"),
        (lambda: CAMAttention(0), "channels must be an integer of at least 1, got 0"),
        (lambda: CAMAttention(4, "tanh"), "activation must be one of 'relu', 'leaky_relu', 'none', got 'tanh'"),
        (lambda: CAMHead(4, 3)(torch.zeros(2, 5, 6, 6)), r"CAMHead expects \(B, 4, \*spatial\), got \(2, 5, 6, 6\)"),
        (lambda: CAMHead(4, 3).maps(torch.zeros(2, 4)), r"CAMHead expects \(B, 4, \*spatial\), got \(2, 4\)"),
        (lambda: CAMAttention(4)(torch.zeros(2, 4, 6)), r"CAMAttention expects \(B, 4, H, W\), got \(2, 4, 6\)"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", LAYERS)
def test_integer_features(name):
    with pytest.raises(TypeError, match=r"expects floating point input, got torch.uint8"):
        LAYERS[name]()(torch.zeros(2, 4, 6, 6, dtype=torch.uint8))

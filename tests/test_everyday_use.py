"""Every layer in everyday use: precision, memory format, batch sizes, compile, export, ONNX, fx, copies, many processes.

The same cases run on the CPU and, where there is one, on the GPU.
"""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import parametrizations
from torchvision.models.feature_extraction import create_feature_extractor

import dynconv as d
from dynconv.probe import record, verdict
from dynconv.surgery import convert, fold

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
C = 8


class CAMFeatures(nn.Module):
    """CAMAttention as one layer of a net: features in, features out."""

    def __init__(self):
        super().__init__()
        self.cam = d.CAMAttention(C)

    def forward(self, x):
        return self.cam(x).attended


class Styled(nn.Module):
    """AdaLIN with its scale and shift computed from the features, as in the generator."""

    def __init__(self):
        super().__init__()
        self.style, self.norm = nn.Linear(C, 2 * C), d.AdaLIN(C)

    def forward(self, x):
        gamma, beta = self.style(x.mean((2, 3))).chunk(2, dim=1)
        return self.norm(x, gamma, beta)


LAYERS = {
    "StaticMixConv2d": lambda: d.StaticMixConv2d(C, 6, 3, padding=1, num_kernels=3),
    "StaticMixConv1d": lambda: d.StaticMixConv1d(C, 6, 3, padding="same", num_kernels=3),
    "StaticMixConv3d": lambda: d.StaticMixConv3d(C, 6, 3, padding=1, num_kernels=3),
    "KernelAttention": lambda: d.KernelAttention(C, 3),
    "DynamicConv2d": lambda: d.DynamicConv2d(C, 6, 3, padding=1, num_kernels=3),
    "DynamicConv2d 1×1": lambda: d.DynamicConv2d(C, 6, 1, num_kernels=3),
    "DynamicConv2d groups": lambda: d.DynamicConv2d(C, 6, 3, stride=2, groups=2, num_kernels=3),
    "DynamicConv1d": lambda: d.DynamicConv1d(C, 6, 3, padding=1, num_kernels=3),
    "DynamicConv2d same": lambda: d.DynamicConv2d(C, 6, 3, padding="same", padding_mode="reflect", num_kernels=3),
    "DynamicConv3d": lambda: d.DynamicConv3d(C, 6, 3, padding=1, num_kernels=3),
    "CondConv2d": lambda: d.CondConv2d(C, 6, 3, padding=1, num_kernels=3),
    "ODConv2d": lambda: d.ODConv2d(C, 6, 3, padding=1, num_kernels=3),
    "SqueezeExcitation": lambda: d.SqueezeExcitation(C, reduction=2),
    "CAMHead": lambda: d.CAMHead(C, 5),
    "CAMAttention": CAMFeatures,
    "AdaLIN": Styled,
    "ILN": lambda: d.ILN(C),
    "SpatialGate": lambda: d.SpatialGate(C),
    "SparseBlock": lambda: d.SparseBlock(C, 6, stride=2),
}


@pytest.fixture(params=LAYERS)
def name(request):
    return request.param


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


def a_layer(name, device="cpu"):
    torch.manual_seed(0)
    return LAYERS[name]().to(device).eval()


def an_input(name, device="cpu", batch=3):
    sizes = {"1d": (9,), "3d": (5, 4, 3)}.get(name[-2:], (9, 7))
    return torch.randn(batch, C, *sizes, generator=torch.Generator().manual_seed(1)).to(device)


def close(y, expected, tolerance=1e-5):
    torch.testing.assert_close(y, expected, atol=tolerance, rtol=tolerance)


def test_double_agrees_with_single(name, device):
    layer, x = a_layer(name, device), an_input(name, device)
    expected = layer(x)
    close(layer.double()(x.double()).float(), expected, 1e-4)


def test_bfloat16_autocast_stays_near_and_has_gradients(name, device):
    layer, x = a_layer(name, device), an_input(name, device).requires_grad_()
    with torch.autocast(device, torch.bfloat16):
        y = layer(x)
    if name != "SpatialGate":  # a gate is 0 or 1: a logit that rounds across 0 flips it
        expected = layer(x.detach()).detach()
        assert ((y.float() - expected).norm() / expected.norm()) < 0.05
        y.float().square().sum().backward()
        assert x.grad.isfinite().all()
        assert x.grad.abs().max() > 0


def test_channels_last(name, device):
    layer, x = a_layer(name, device), an_input(name, device)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    last = x.to(memory_format=formats[x.ndim]) if x.ndim in formats else x.transpose(1, 2).contiguous().transpose(1, 2)
    assert not last.is_contiguous()
    close(layer(last), layer(x))


def test_batches_of_none_and_one(name, device):
    layer, x = a_layer(name, device), an_input(name, device)
    y = layer(x)
    assert layer(x[:0]).shape == (0, *y.shape[1:])
    close(layer(x[1:2]), y[1:2])
    layer.train()(x[:1]).sum().backward()  # an image alone can be trained on


def test_copies_and_pickles_compute_the_same(name):
    layer, x = a_layer(name), an_input(name)
    layer.train()(x).sum().backward()
    layer.eval()  # after a step in training: nothing of it may stick
    y = layer(x)
    close(copy.deepcopy(layer)(x), y, 0)
    close(pickle.loads(pickle.dumps(layer))(x), y, 0)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    torch.manual_seed(7)
    other = LAYERS[name]().eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    close(other(x), y, 0)


def test_compiles_to_one_graph(name):
    layer, x = a_layer(name), an_input(name)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    close(compiled(x), layer(x))
    layer.train()
    compiled(x).sum().backward()  # forward and backward of training, without a graph break
    assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())


def test_exports_with_a_free_batch_size(name):
    layer, x = a_layer(name), an_input(name)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},))
    for n in (1, 2, 5):
        x = an_input(name, batch=n)
        close(program.module()(x), layer(x))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("images", [1, 3, None])
def test_an_exported_graph_mixes_kernels_first_where_its_batch_is_fixed(images, strict):
    """With a free one, images cannot be groups of one convolution: there are K convolutions for each."""
    layer, x = d.DynamicConv2d(8, 6, 3, num_kernels=5, padding=1).eval(), torch.randn(images or 2, 8, 8, 8)
    free = ({0: torch.export.Dim("batch", min=1, max=64)},) if images is None else None
    program = torch.export.export(layer, (x,), dynamic_shapes=free, strict=strict)
    (kernels,) = [n.args[1].meta["val"].shape for n in program.graph.nodes if n.target is torch.ops.aten.conv2d.default]
    mixed = images is not None and not strict  # of dynamo's batch it is not known
    assert kernels[0] == (images * 6 if mixed else 5 * 6)
    close(program.module()(x), layer(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_onnx_with_a_free_batch_size_runs_in_onnxruntime(name, tmp_path):
    import onnxruntime

    layer, x, path = a_layer(name), an_input(name), tmp_path / "layer.onnx"
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.onnx.export(layer, (x,), path, dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 2, 5):
        x = an_input(name, batch=n)
        (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(y, layer(x).detach().numpy(), atol=1e-4, rtol=1e-4)


# --------------------------------------------------------------------------------------- model.to(memory_format=...)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.channels_last_3d], ids=str)
def test_a_models_memory_format_leaves_the_stacks_as_they_are(name, memory_format):
    layer, x = a_layer(name), an_input(name)
    if memory_format is torch.channels_last_3d and any(p.ndim == 4 for p in layer.parameters()):
        return  # nn.Conv2d's own weights refuse it
    expected, kept = layer(x), [id(p) for p in layer.parameters()]
    close(layer.to(memory_format=memory_format)(x), expected)
    stacks = [m.weight for m in layer.modules() if getattr(m, "num_kernels", None) and hasattr(m, "kernel_size")]
    assert all(weight.is_contiguous() for weight in stacks)
    assert [id(p) for p in layer.parameters()] == kept  # an optimiser still has them
    close(layer.to(device="cpu", dtype=torch.float64, memory_format=memory_format)(x.double()).float(), expected, 1e-4)


def test_the_memory_format_of_a_converted_model():
    model, x = torchvision.models.resnet18().eval(), torch.randn(2, 3, 32, 32)
    expected = model(x)
    dynamic = convert(model, where="layer*").to(memory_format=torch.channels_last)
    close(dynamic(x.to(memory_format=torch.channels_last)), expected, 1e-3)
    assert dynamic.conv1.weight.is_contiguous(memory_format=torch.channels_last)  # what is left static follows


def test_what_else_moves_a_stack_works_with_gradients_parametrizations_and_shared_memory():
    layer, x = d.DynamicConv2d(C, 6, 3).eval(), an_input("DynamicConv2d")
    expected = layer(x)
    layer(x).sum().backward()
    gradient = layer.weight.grad.clone()
    layer.to(memory_format=torch.channels_last)
    assert torch.equal(layer.weight.grad, gradient)
    assert layer.share_memory().weight.is_shared()
    close(layer(x), expected, 0)
    normed = parametrizations.spectral_norm(layer)
    expected = normed(x)
    close(normed.to(memory_format=torch.channels_last)(x), expected, 0)  # the weight lies one module deeper now


# -------------------------------------------------------------------------------------------------------- default device


def test_a_default_device_is_for_what_is_new_only(name):
    layer, x = a_layer(name), an_input(name)
    expected = layer(x)
    torch.set_default_device("meta")
    try:
        close(layer(x), expected, 0)
        layer.train()(x).sum().backward()  # draws, if it does, where the images are
        assert "meta" not in repr(layer)
        assert next(LAYERS[name]().parameters()).is_meta
        head, features = d.CAMHead(C, 5, device="cpu"), torch.rand(2, C, 3, 3, device="cpu")
        assert head.maps(features, [0, 3]).device.type == "cpu"
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize(
    "make", [lambda: nn.Conv2d(2, 2, 3), lambda: d.DynamicConv2d(2, 2, 3), lambda: d.StaticMixConv2d(2, 2, 3), nn.ReLU]
)
def test_a_default_device_and_the_verdict(make):
    function, x = make().eval(), torch.randn(4, 2, 9, 9)
    expected = repr(verdict(function, x))
    with torch.device("meta"):
        assert repr(verdict(function, x)) == expected


def test_a_verdict_on_weights_without_values_is_refused():
    x = torch.randn(4, 2, 9, 9)
    for make in (lambda: nn.Conv2d(2, 2, 3), lambda: d.DynamicConv2d(2, 2, 3)):
        with torch.device("meta"):
            model = nn.Sequential(make(), nn.BatchNorm2d(2))
        model[1].to_empty(device="cpu")
        with pytest.raises(
            ValueError, match=r"^Sequential has parts on meta, without values: 0\..*weight.*; load or initialise"
        ):
            verdict(model, x)
    mixed = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2))
    mixed[1].running_mean = mixed[1].running_mean.to("meta")
    with pytest.raises(ValueError, match=r"^Sequential has parts on meta, without values: 1.running_mean; load"):
        verdict(mixed, x)


# ------------------------------------------------------------------------------------------------------ torch.fx and jit

WHOLE = {
    "Routing": lambda: d.Routing(C, 3),
    "OmniAttention": lambda: d.OmniAttention(C, 6, 9),
    "LearnedAttention": lambda: d.LearnedAttention(3),
    "FixedAttention": lambda: d.FixedAttention(torch.tensor([0.2, 0.8])),
    "ChannelGate": lambda: d.ChannelGate(C, 2),
}


@pytest.mark.parametrize("whole", {**LAYERS, **WHOLE})
def test_fx_takes_a_layer_as_it_is(whole):
    torch.manual_seed(0)
    model, x = nn.Sequential({**LAYERS, **WHOLE}[whole]()).eval(), an_input(whole)
    traced = torch.fx.symbolic_trace(model)
    for n in (3, 1, 5):
        x = an_input(whole, batch=n)
        torch.testing.assert_close(traced(x), model(x))
    if whole not in ("CAMAttention", "AdaLIN"):  # these two stand in modules of this test
        assert [node.op for node in traced.graph.nodes] == ["placeholder", "call_module", "output"]
    pickle.loads(pickle.dumps(traced))


class Question(nn.Module):
    """The question's sum, written out, and a layer whose call has a keyword."""

    def __init__(self):
        super().__init__()
        self.pi, self.convs = d.LearnedAttention(2), nn.ModuleList(nn.Conv2d(C, C, 3, padding=1) for _ in range(2))
        self.block, self.cond = d.SparseBlock(C), d.CondConv2d(C, C, 3, num_kernels=2)

    def forward(self, x):
        pi = self.pi()
        x = pi[0] * self.convs[0](x) + pi[1] * self.convs[1](x)
        y, cost = self.block(x, return_cost=True)
        return self.cond(y, routing_weights=x.mean((1, 2, 3))[:, None] * pi), cost.used


class Doubled(d.DynamicConv2d):
    def forward(self, x):
        return super().forward(x) * 2


def test_fx_follows_models_of_layers_in_every_way_they_are_called():
    for model in (Question(), nn.Sequential(Doubled(C, 6, 3))):
        model, x = model.eval(), an_input("fx")
        torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), model(x))
    generator = d.UGATITGenerator(3, width=4).eval()
    traced, images = torch.fx.symbolic_trace(generator), torch.randn(2, 3, 17, 22)
    torch.testing.assert_close(tuple(traced(images)), tuple(generator(images)))
    assert "attention" in [node.target for node in traced.graph.nodes]  # a model is looked into, its layers are not
    with pytest.raises(TypeError, match=r"cannot look inside DynamicConv2d: .* such as nn.Sequential\(DynamicConv2d"):
        torch.fx.symbolic_trace(d.DynamicConv2d(C, 6, 3))


def test_features_of_a_converted_model_record_and_fold():
    model, x = convert(torchvision.models.resnet18(), noise=0.1).eval(), torch.randn(2, 3, 32, 32)
    features = create_feature_extractor(model, ["layer2", "layer4.1.conv2"])
    seen = {}
    hooks = [
        model.get_submodule(n).register_forward_hook(lambda m, a, y, n=n: seen.update({n: y})) for n in ("layer2",)
    ]
    model(x)
    hooks[0].remove()
    torch.testing.assert_close(features(x)["layer2"], seen["layer2"])
    with record(features) as recording:
        features(x)
    assert len(recording) == 20
    assert not any(isinstance(m, d.DynamicConv2d) for m in fold(features, "uniform").modules())


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_takes_any_number_of_images_or_is_refused(name):
    layer = a_layer(name)
    dynamic = name.startswith(("Dynamic", "Cond", "OD"))
    for traced_at in (4, 1):
        x, other = an_input(name, batch=traced_at), an_input(name, batch=3)
        if dynamic:
            with pytest.raises(RuntimeError, match=r"fix the number of images in \w+Conv\dd.* use torch.export.export"):
                torch.jit.trace(layer, x)
        else:
            close(torch.jit.trace(layer, x)(other), layer(other))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx_by_torchscript_is_refused_with_the_way_that_works():
    for layer in (d.DynamicConv2d(C, 6, 3), d.CondConv2d(C, 6, 1), d.ODConv2d(C, 6, 3)):
        with pytest.raises(RuntimeError, match="dynamo=True"):
            torch.onnx.export(nn.Sequential(layer).eval(), (an_input("onnx"),), io.BytesIO(), dynamo=False)

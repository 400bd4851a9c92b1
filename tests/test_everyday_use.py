"""Every layer in everyday use: precision, memory format, batch sizes, compile, export, ONNX, copies, many processes.

The same cases run on the CPU and, where there is one, on the GPU.
"""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import dynconv as d

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
        return self.norm(x, *self.style(x.mean((2, 3))).chunk(2, dim=1))


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

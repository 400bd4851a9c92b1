"""SqueezeExcitation: the references' numbers, torchvision's and timm's blocks, and a diagonal scaling of kernels."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dynconv import ChannelGate, SqueezeExcitation

GOLDEN = torch.load(Path(__file__).parents[1] / "goldens/squeeze_excitation.pt", weights_only=True)


def gradients(module, x, parameters):
    y = module(x)
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    return y, torch.autograd.grad((y * direction).sum(), [x, *parameters])


@pytest.mark.parametrize("case", ["timm_rd4_maxpool", "torchvision_sq4"])
def test_reference_values(case):
    golden = GOLDEN[case]
    layer = SqueezeExcitation(16, hidden_channels=4, squeeze="mean_max" if "maxpool" in case else "mean")
    layer.load_state_dict(golden["state_dict"])  # 1×1 convolutions, as they were saved
    torch.testing.assert_close(layer.gate(golden["x"]), golden["gate"], atol=2e-5, rtol=0)
    torch.testing.assert_close(layer(golden["x"]), golden["y"], atol=2e-5, rtol=0)


BLOCKS = {  # their block, and what ours is told to be the same
    "torchvision": (lambda: torchvision.ops.SqueezeExcitation(16, 4), {}),
    "torchvision's MobileNetV3": (
        lambda: torchvision.ops.SqueezeExcitation(16, 4, scale_activation=nn.Hardsigmoid),
        {"scale": "hard_sigmoid"},
    ),
    "timm": (lambda: timm.layers.SEModule(16, rd_channels=4, add_maxpool=True), {"squeeze": "mean_max"}),
    "timm without bias": (lambda: timm.layers.SEModule(16, rd_channels=4, bias=False), {"bias": False}),
    "timm's EfficientNet": (
        lambda: timm.models._efficientnet_blocks.SqueezeExcite(16, rd_channels=4, act_layer=nn.SiLU),
        {"activation": "silu"},
    ),
}


@pytest.mark.parametrize("which", BLOCKS)
def test_values_and_gradients_of_the_references_block(which):
    build, options = BLOCKS[which]
    block, layer = build(), SqueezeExcitation(16, hidden_channels=4, **options)
    layer.load_state_dict(block.state_dict())
    x = torch.randn(3, 16, 7, 5, requires_grad=True)
    y, ours = gradients(layer, x, layer.parameters())
    expected, theirs = gradients(block, x, [p for n, p in block.named_parameters()])
    torch.testing.assert_close(y, expected, atol=2e-5, rtol=0)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b.reshape(a.shape), atol=2e-4, rtol=0)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 3), st.integers(0, 10**6))
def test_it_scales_the_columns_of_the_next_kernel(n, channels, batch, seed):
    torch.manual_seed(seed)
    conv = {1: nn.functional.conv1d, 2: nn.functional.conv2d, 3: nn.functional.conv3d}[n]
    layer = SqueezeExcitation(channels, reduction=2).double()
    x, weight = torch.randn(batch, channels, *(5, 6, 4)[:n]).double(), torch.randn(3, channels, *[2] * n).double()
    rows = [
        conv(image[None], weight * gate.reshape(1, -1, *[1] * n)) for image, gate in zip(x, layer.gate(x), strict=True)
    ]
    torch.testing.assert_close(conv(layer(x), weight), torch.cat(rows))


def test_gradcheck():
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(SqueezeExcitation(4, reduction=2).double(), x)


def test_an_own_checkpoint_loads_and_errors_name_the_value():
    layer = SqueezeExcitation(8, 2)
    other = SqueezeExcitation(8, 2)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(layer(x), other(x))
    for build, message in (
        (lambda: SqueezeExcitation(8, 0), "reduction must be an integer of at least 1, got 0"),
        (lambda: SqueezeExcitation(8, hidden_channels=0), "hidden_channels must be an integer of at least 1, got 0"),
        (lambda: ChannelGate(0, 1), "channels must be an integer of at least 1, got 0"),
        (lambda: SqueezeExcitation(8, squeeze="max"), "squeeze must be one of 'mean', 'mean_max', got 'max'"),
        (lambda: SqueezeExcitation(8, activation="gelu"), "activation must be one of 'relu', 'silu', got 'gelu'"),
        (lambda: SqueezeExcitation(8, scale="tanh"), "scale must be one of 'sigmoid', 'hard_sigmoid', got 'tanh'"),
        (lambda: layer(x[:, :4]), r"expects \(B, 8, \*spatial\), got \(2, 4, 4, 4\)"),
    ):
        with pytest.raises(ValueError, match=message):
            build()
    with pytest.raises(TypeError, match=r"floating point input, got torch\.int32"):
        layer(x.int())

"""Random dynamic convolutions, gates and sparse blocks for the C++, and what is computed of each."""

import copy
import random

import torch
import torch.nn.functional as F
from torch import nn

from dynconv import native
from dynconv.functional import dynamic_conv
from dynconv.layers import SparseBlock, SpatialGate


def a_geometry(seed):
    """Random sizes, large images and few, many channels and few: half for Winograd's products, every fourth depthwise, some
    of these with images of 16 pixels, more with rows that stay as long; some cut into patches; half of the images with
    their channels last."""
    draw = random.Random(seed)
    tiles, large = draw.random() < 0.5, draw.random() < 0.2
    kernel = (3, 3) if tiles else (draw.randint(1, 6), draw.randint(1, 5))
    steps = [(1, 1) if tiles else (draw.randint(1, 2), draw.randint(1, 2)) for _ in range(2)]
    batch = draw.randint(1, 3) if large else draw.choice((1, 2, 5, 16, 33))
    channels, outs = (draw.choice((1, 3, 16, 19, 40, 64) if large else (1, 8, 17, 40, 130)) for _ in range(2))
    size = [draw.randint(50, 90) if large else draw.randint(10, 18) for _ in range(2)]
    stack, generator = draw.randint(1, 9), torch.Generator().manual_seed(seed)
    options = {"stride": steps[0], "padding": (draw.randint(0, 3), draw.randint(0, 3)), "dilation": steps[1]}
    inside = channels
    if draw.random() < 0.25:  # depthwise
        outs, inside, options["groups"] = channels, 1, channels
        if draw.random() < 0.3:  # a channel fills a register, and its outputs another
            size, kernel = draw.choice(((4, 4), (2, 8), (16, 1))), draw.choice(((3, 3), (1, 3), (5, 3)))
            options["stride"], options["padding"] = (
                (1, 1),
                [g * (k // 2) for g, k in zip(steps[1], kernel, strict=True)],
            )
        elif draw.random() < 0.6:
            size, kernel = [draw.randint(13, 30), draw.randint(1, 40)], (draw.randint(1, 7), draw.choice((3, 5, 7)))
            options["stride"], options["dilation"] = (1, 1), (draw.randint(1, 2), 1)
            options["padding"] = (draw.randint(0, 3), kernel[1] // 2)
    elif draw.random() < 0.2:  # patches
        kernel = (draw.randint(1, 4), draw.randint(1, 4))
        options = {"stride": tuple(k + draw.randint(0, 1) for k in kernel), "dilation": steps[1]}
    shapes = (batch, channels, *size), (stack, outs, inside, *kernel), (batch, stack), (stack, outs)
    x, *others = (torch.randn(shape, generator=generator) for shape in shapes)
    return [x.to(memory_format=torch.channels_last) if draw.random() < 0.5 else x, *others], options


def output_and_gradients(tensors, options, method):
    leaves = [t.detach().requires_grad_() for t in tensors]
    y = dynamic_conv(*leaves, **options, method=method)
    direction = torch.linspace(-1, 1, y.numel()).reshape(y.shape).cos()
    return y, *torch.autograd.grad(y, leaves, direction)


def a_block(seed):
    """A sparse block of any size in eval mode, images for it, and a gate: of squares, scattered, closed, open or of fractions."""
    draw = random.Random(seed)
    channels, outs, stride = draw.choice((1, 3, 8, 17, 40, 130)), draw.choice((1, 5, 8, 33)), draw.choice((1, 1, 2))
    torch.manual_seed(seed)
    block = SparseBlock(channels, outs, stride).eval()
    for norm, norm.eps in ((block.bn1, 0.1), (block.bn2, 0.01)):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, -1, 1)
        nn.init.uniform_(norm.bias, -1, 1)
    if seed % 5 == 0:
        block.bn2.weight = block.bn1.bias = None
    x = torch.randn(draw.randint(1, 5), channels, draw.randint(1, 19), draw.randint(1, 19))
    gate = block.gate(x).detach()
    share = draw.choice((0.0, 0.1, 0.5, 1.0))
    gate = (torch.rand_like(gate) < share).float()
    if seed % 3 == 0:
        gate = torch.zeros_like(gate)
        gate[..., : gate.shape[2] // 2 + 1, gate.shape[3] // 3 :] = 1
    return block, x, gate * torch.rand_like(gate) if seed % 4 == 0 else gate


def a_gate(seed):
    """A spatial gate at stride 1 and images for it; every fourth without biases."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    gate = SpatialGate(draw.choice((1, 3, 8, 17, 40, 130))).eval()
    if seed % 4 == 0:
        gate.conv.bias = gate.fc.bias = None
    return gate, torch.randn(draw.randint(1, 4), gate.conv.in_channels, draw.randint(1, 40), draw.randint(1, 40))


def scores_of_double(gate, x):
    x, everything = x.double(), {name: p.double() for name, p in gate.state_dict().items()}
    near = F.conv2d(x, everything["conv.weight"], everything.get("conv.bias"), padding=1)
    return near + F.linear(x.mean((2, 3)), everything["fc.weight"], everything.get("fc.bias"))[..., None, None]


def branch_of(block, x, gate, always=True):
    return native.skipping(x, gate, block.conv1, block.bn1, block.conv2, block.bn2, always)


def branch_of_double(block, x, gate):
    return copy.deepcopy(block).double()._everywhere(x.double()) * gate.double()

"""Random dynamic convolutions for the C++, and what is computed of each."""

import random

import torch

from dynconv.functional import dynamic_conv


def a_geometry(seed):
    """Random sizes, large images and few, many channels and few, half of them for Winograd's products."""
    draw = random.Random(seed)
    tiles, large = draw.random() < 0.5, draw.random() < 0.2
    kernel = (3, 3) if tiles else (draw.randint(1, 6), draw.randint(1, 5))
    steps = [(1, 1) if tiles else (draw.randint(1, 2), draw.randint(1, 2)) for _ in range(2)]
    batch = draw.randint(1, 3) if large else draw.choice((1, 2, 5, 16, 33))
    channels, outs = (draw.choice((1, 3, 16, 19, 40, 64) if large else (1, 8, 17, 40, 130)) for _ in range(2))
    size = [draw.randint(50, 90) if large else draw.randint(10, 18) for _ in range(2)]
    stack, generator = draw.randint(1, 9), torch.Generator().manual_seed(seed)
    shapes = (batch, channels, *size), (stack, outs, channels, *kernel), (batch, stack), (stack, outs)
    options = {"stride": steps[0], "padding": (draw.randint(0, 3), draw.randint(0, 3)), "dilation": steps[1]}
    return [torch.randn(shape, generator=generator) for shape in shapes], options


def output_and_gradients(tensors, options, method):
    leaves = [t.detach().requires_grad_() for t in tensors]
    y = dynamic_conv(*leaves, **options, method=method)
    direction = torch.linspace(-1, 1, y.numel()).reshape(y.shape).cos()
    return y, *torch.autograd.grad(y, leaves, direction)

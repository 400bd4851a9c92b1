"""Which layers of a network take more than the plain ones: each on the images that it sees there, summed by kind."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

from dynconv.layers import DynamicConv2d

__all__ = ["distinct_layers", "kind_of"]


def distinct_layers(model: nn.Module, images: Tensor) -> list[tuple[DynamicConv2d, torch.Size, int]]:
    """The dynamic convolutions of a network that differ in shape: one of each, the images' shape there, and how often it comes.

    Example:
        >>> layer = DynamicConv2d(3, 3, 3, padding=1)
        >>> model = nn.Sequential(layer, DynamicConv2d(3, 3, 3, padding=1), DynamicConv2d(3, 5, 1))
        >>> [(l.kernel_size, tuple(shape), count) for l, shape, count in distinct_layers(model, torch.rand(2, 3, 4, 4))]
        [((3, 3), (2, 3, 4, 4), 2), ((1, 1), (2, 3, 4, 4), 1)]

    Args:
        model: it is run once, in eval mode.
        images: its input.
    """
    counts: Counter = Counter()
    first: dict[tuple, tuple[DynamicConv2d, torch.Size]] = {}

    def see(layer: DynamicConv2d, inputs: tuple[Tensor, ...]) -> None:
        key = inputs[0].shape, layer.weight.shape, *layer.geometry().values(), layer.bias is None
        first.setdefault(key, (layer, inputs[0].shape))
        counts[key] += 1

    layers = [m for m in model.modules() if isinstance(m, DynamicConv2d)]
    handles = [layer.register_forward_pre_hook(see) for layer in layers]
    with torch.no_grad():
        model.eval()(images)
    for handle in handles:
        handle.remove()
    return [(*first[key], count) for key, count in counts.items()]


def kind_of(layer: DynamicConv2d, shape: torch.Size) -> str:
    """What a reader calls it, with the images' size.

    Example:
        >>> kind_of(DynamicConv2d(24, 144, 1), torch.Size([8, 24, 32, 32]))
        '1×1 expand, 32²'
        >>> kind_of(DynamicConv2d(144, 144, 3, stride=2, groups=144), torch.Size([8, 144, 32, 32]))
        'depthwise 3×3, stride 2, 32²'

    Args:
        layer: a dynamic convolution; shape: (B, C, H, W).
    """
    kernel = "×".join(map(str, layer.kernel_size))
    stride = f", stride {max(layer.stride)}" * (max(layer.stride) > 1)
    size = f"{shape[2]}²" if shape[2] == shape[3] else f"{shape[2]} × {shape[3]}"
    if layer.groups == layer.in_channels > 1:
        return f"depthwise {kernel}{stride}, {size}"
    if max(layer.kernel_size) == 1:
        return f"1×1 {'expand' if layer.out_channels > layer.in_channels else 'project'}{stride}, {size}"
    return f"{kernel}{stride}, {size}"

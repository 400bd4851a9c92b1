"""One layer with all that belongs to it, as a network has it: the plain one, ours, ours in its two parts, and the peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from dynconv.functional import dynamic_conv
from dynconv.layers import DynamicConv2d

from .cases import Case
from .peers import peers_of

__all__ = ["ATTENTION", "GIVEN", "layer_calls", "layer_of"]

ATTENTION, GIVEN = "attention alone", "attention given"


def layer_of(case: Case, num_kernels: int) -> DynamicConv2d:
    """A dynamic convolution of the shape.

    Example:
        >>> layer_of(Case(8, 4, 6, 9, stride=2), 4)(torch.rand(8, 4, 9, 9)).shape
        torch.Size([8, 6, 5, 5])

    Args:
        case: the shape; num_kernels: K.
    """
    sizes = case.channels, case.out, case.kernel, case.stride, case.kernel // 2
    return DynamicConv2d(*sizes, groups=case.groups, bias=False, num_kernels=num_kernels)


def layer_calls(layer: DynamicConv2d, x: Tensor, train: bool, peers: bool = True) -> Mapping[str, Callable[[], object]]:
    """Name → call without arguments, all on the same images.

    "static" is nn.Conv2d, "dynamic" ours; "attention alone" and "attention given" are what the two parts of ours take by
    themselves.

    Example:
        >>> list(layer_calls(DynamicConv2d(4, 4, 3), torch.rand(2, 4, 8, 8), train=False))[:4]
        ['static', 'dynamic', 'attention alone', 'attention given']

    Args:
        layer: a dynamic convolution.
        x: (B, C, H, W).
        train: each call also computes the gradients of the images and of all parameters.
        peers: with the peers.
    """
    layers = {"static": _static(layer).to(x), "dynamic": layer, **(peers_of(layer) if peers else {})}
    x = x.detach().requires_grad_(train)
    calls = {name: _call(made, (x,), made.parameters(), train) for name, made in layers.items()}
    with torch.no_grad():
        attention = layer.attention(x)
    attention.requires_grad_(train)

    def given(x: Tensor, attention: Tensor) -> Tensor:
        return dynamic_conv(x, layer.weight, attention, layer.bias, **layer.geometry(), method=layer.method)

    parts = {
        ATTENTION: _call(layer.attention, (x,), layer.attention.parameters(), train),
        GIVEN: _call(given, (x, attention), (p for p in (layer.weight, layer.bias) if p is not None), train),
    }
    return {name: calls.pop(name) for name in ("static", "dynamic")} | parts | calls


def _static(layer: DynamicConv2d) -> nn.Conv2d:
    sizes = layer.in_channels, layer.out_channels, layer.kernel_size
    options = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups", "padding_mode")}
    return nn.Conv2d(*sizes, bias=layer.bias is not None, **options)


def _call(function, inputs, parameters, train: bool) -> Callable[[], object]:
    if not train:
        return torch.no_grad()(lambda: function(*inputs))
    torch.manual_seed(1)  # the same direction for all
    wanted, direction = (*inputs, *parameters), torch.randn_like(function(*inputs))
    return lambda: torch.autograd.grad(function(*inputs), wanted, direction)

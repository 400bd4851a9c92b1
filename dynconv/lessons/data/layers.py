"""Small trained layers that come with the package, with where they come from."""

from __future__ import annotations

import json

import torch
from torch import nn

from ..systems import filter_network
from .shipped import read

__all__ = ["restorer"]


def restorer(system: str = "dynamic") -> nn.Module:
    """A trained layer that undoes one of four damages without being told which: the question's mix, or a dynamic one.

    Reference: trained by ``python -m experiments.restorers --write`` on the left 60 % of the shipped photos; see data/README.md

    Example:
        >>> layer = restorer("dynamic")
        >>> layer.num_kernels, layer.kernel_size, layer.training
        (4, (9, 9), False)

    Args:
        system: "mix", a :class:`dynconv.layers.StaticMixConv2d`, or "dynamic", a :class:`dynconv.layers.DynamicConv2d`; one channel to
            one channel, 9 × 9, without padding, at T = 1.

    Raises:
        ValueError: there is no such layer; OSError: the file is missing or damaged, and how to restore it.
    """
    states = json.loads(read("layers/restorers.json"))["layers"]
    if system not in states:
        raise ValueError(f"system must be one of {', '.join(map(repr, states))}, got {system!r}")
    layer = filter_network(system, temperature=1.0)
    layer.load_state_dict({name: torch.tensor(values) for name, values in states[system].items()})
    return layer.eval().requires_grad_(False)

"""Which weightings of a model are meant."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch._C import _functorch

from ..layers.hooks import hooked as hooked
from ..layers.weighting import weightings

__all__: list[str] = []

Layers = str | Iterable[str] | None


def select(model: nn.Module, layers: Layers = None) -> dict[str, nn.Module]:
    """The weightings of ``model`` by name; with ``layers``, those that have or lie under one of these names (``*`` works)."""
    found = weightings(model)
    if layers is None:
        return found
    wanted = [layers] if isinstance(layers, str) else list(layers)
    for pattern in wanted:
        if not any(_under(name, pattern) for name in found):
            raise ValueError(f"no weighting is named {pattern!r}; there are: {', '.join(found) or 'none'}")
    return {name: module for name, module in found.items() if any(_under(name, pattern) for pattern in wanted)}


def _under(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def as_rows(weights: Tensor, over: str, batched: bool) -> Tensor:
    """(rows, n): what is shared out, one row an image; a row for each channel of each image if branches are; or those of
    weights that images share."""
    if not batched:
        return weights.reshape(-1, weights.shape[-1])
    if over == "branches":  # (B, K, C)
        return weights.movedim(1, -1).reshape(-1, weights.shape[1])
    return weights.flatten(1)


def from_rows(rows: Tensor, like: Tensor, over: str, batched: bool) -> Tensor:
    """What `as_rows` made of ``like``, in its shape again."""
    if batched and over == "branches":
        return rows.reshape(like.movedim(1, -1).shape).movedim(-1, 1)
    return rows.reshape(like.shape)


def unwrapped(weights: Tensor, batched: bool) -> Tensor:
    """A copy of weights as they are behind torch.func's transforms, which it outlives: what vmap runs over comes first."""
    with torch._C._DisableFuncTorch():
        while _functorch.is_functorch_wrapped_tensor(weights):
            inside = _functorch.get_unwrapped(weights)
            if _functorch.is_batchedtensor(weights):
                inside = inside.movedim(_functorch.maybe_get_bdim(weights), 0)
                inside = inside.flatten(0, 1) if batched else inside
            weights = inside
        return weights.detach().clone()

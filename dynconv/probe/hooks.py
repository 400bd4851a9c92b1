"""Which weightings of a model are meant."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

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

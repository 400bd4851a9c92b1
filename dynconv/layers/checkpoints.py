"""Checkpoints of other implementations: their names and shapes become those of the layers here."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from torch import Tensor

__all__: list[str] = []


def rename(state: MutableMapping[str, Tensor], prefix: str, names: Mapping[str, str]) -> None:
    """Rename, in place, whatever lies under ``prefix`` + one of ``names`` (theirs: ours)."""
    for theirs, ours in names.items():
        old, new = f"{prefix}{theirs}.", f"{prefix}{ours}."
        for name in [name for name in state if name.startswith(old)]:
            state[new + name.removeprefix(old)] = state.pop(name)


def flatten_pointwise(state: MutableMapping[str, Tensor], prefix: str, layers: tuple[str, ...]) -> None:
    """The weights of 1×1 convolutions, (O, C, 1, 1), as those of linear layers, (O, C)."""
    for name in (f"{prefix}{layer}.weight" for layer in layers):
        if name in state and state[name].ndim > 2:
            state[name] = state[name].flatten(1)

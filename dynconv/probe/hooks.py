"""Hooks on the weightings of a model, for as long as a ``with`` block lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase

import torch
from torch import nn

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


@contextmanager
def hooked(modules: dict[str, nn.Module], hook: Callable[[str], Callable]) -> Iterator[None]:
    """Give every module the forward hook ``hook(name)``; take all of them away at the end, also after an error.

    Compiled modules run eagerly meanwhile: the graph of one that ran before holds none of these hooks.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(hook(name)).remove)
        yield

"""Exchanging modules inside a model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

__all__: list[str] = []


def replace_modules(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Put ``new[old]`` wherever ``old`` is a child; the same old one gets the same new one in every place."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in new:
                setattr(parent, name, new[child])
    return new.get(model, model)

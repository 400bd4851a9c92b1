"""Batch norm at inference is a scale and a shift of each channel: it goes into the convolution before it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__: list[str] = []

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Tracer(torch.fx.Tracer):
    """Looks into containers only: a norm that also activates, or a layer of ours, stays one step."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        ours = type(module).__module__.startswith("dynconv.layers")
        return ours or super().is_leaf_module(module, name) or not any(type(m) in CONVS for m in module.modules())


def fuse_batch_norms(model: nn.Module) -> nn.Module:
    """Fuse, in place, every batch norm that alone takes the output of a plain convolution.

    Who takes whose output is read from a torch.fx trace: names and order of the children prove nothing.
    """
    for conv_name, norm_name in _pairs(model):
        conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
        if norm.training:
            raise ValueError(f"batch norm {norm_name!r} is in training mode; call model.eval() before it is fused")
        _set(model, conv_name, fuse_conv_bn_eval(conv, norm))
        _set(model, norm_name, _without_norm(norm))
    return model


def _pairs(model: nn.Module) -> list[tuple[str, str]]:
    try:
        graph = _Tracer().trace(model)
    except Exception as error:
        raise ValueError(f"{type(model).__name__} cannot be traced to find its batch norms: {error}") from error
    calls = [node for node in graph.nodes if node.op == "call_module"]
    once = [node for node in calls if sum(node.target == other.target for other in calls) == 1]
    modules, pairs = dict(model.named_modules()), []
    for node in once:
        source = node.args[0] if node.args else None
        if source in once and len(source.users) == 1 and _fits(modules[source.target], modules[node.target]):
            pairs.append((source.target, node.target))
    return pairs


def _fits(conv: nn.Module, norm: nn.Module) -> bool:
    return type(conv) in CONVS and isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_mean is not None


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _without_norm(norm: nn.Module) -> nn.Module:
    """What a norm does besides normalising (timm's drops and activates)."""
    rest = [child for child in norm.children() if not isinstance(child, nn.Identity)]
    return nn.Sequential(*rest) if rest else nn.Identity()

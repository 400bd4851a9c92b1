"""Copying models, and exchanging modules inside them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..cost import outside
from ..layers.kernel_stack import KernelStack

__all__: list[str] = []

PARAMETER_HOOKS: dict[str, Callable[[Tensor, Any], Any]] = {
    "_backward_hooks": Tensor.register_hook,
    "_post_accumulate_grad_hooks": Tensor.register_post_accumulate_grad_hook,
}


def copied(model: nn.Module) -> nn.Module:
    """A deep copy with what torch's own leaves behind: hooks on parameters and marks on them.

    Tensors that a module computed and keeps (the weight under the old weight_norm), which torch refuses to copy, are
    copied as values: the module computes them anew.
    """
    kept = (value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor))
    memo: dict[int, Any] = {id(value): value.detach().clone() for value in kept if value.grad_fn is not None}
    new = copy.deepcopy(model, memo)
    for parameter, other in zip(model.parameters(), new.parameters(), strict=True):
        carry_marks(parameter, other)
        for kind, register in PARAMETER_HOOKS.items():
            for hook in (getattr(parameter, kind, None) or {}).values():
                register(other, hook)
    return new


def carry_marks(old: Tensor, new: Tensor) -> None:
    """Attributes that someone put on a parameter, such as ``_no_weight_decay``."""
    vars(new).update(vars(old))


def replace_modules(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Put ``new[old]`` wherever ``old`` is a child; the same old one gets the same new one in every place.

    That includes lists and dicts of modules that a parent keeps beside its children, and wrappers of torch.compile, which
    would go on running the old module.
    """
    for parent in [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]:
        for name, child in parent._modules.items():
            if child is not None and child in new:
                parent._modules[name] = new[child]
        for name, value in list(vars(parent).items()):
            if not name.startswith("_") and (other := _exchanged(value, new)) is not value:
                vars(parent)[name] = other
        if parent._modules.get("_orig_mod") in new.values():
            wrapper: Any = parent
            wrapper.__setstate__(wrapper.__getstate__())  # it compiles what it wraps now
    return new.get(model, model)


def _exchanged(value: Any, new: Mapping[nn.Module, nn.Module]) -> Any:
    if isinstance(value, nn.Module):
        return new.get(value, value)
    if type(value) is list:
        value[:] = [_exchanged(part, new) for part in value]
    elif type(value) is dict:
        value.update({key: _exchanged(part, new) for key, part in value.items()})
    elif type(value) is tuple:
        parts = tuple(_exchanged(part, new) for part in value)
        return parts if any(a is not b for a, b in zip(parts, value, strict=True)) else value
    return value


def outside_stacks(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a model by name, without what mixes of kernels are made of."""
    return outside(model, lambda module: isinstance(module, KernelStack))


def plain_name(name: str) -> str:
    """A module's dotted name as if nothing were wrapped by torch.compile."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")

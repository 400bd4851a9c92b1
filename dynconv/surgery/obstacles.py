"""What would be lost if a module were exchanged for another."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize

from .readers import readers
from .replace import PARAMETER_HOOKS

__all__: list[str] = []


def obstacles(model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, Exception]:
    """For those of ``modules`` that cannot be exchanged inside ``model``: why not, as the error to raise."""
    reading, shared, found = readers(model), _sharers(model), dict[str, Exception]()
    for name, module in modules.items():
        tied = [owners for p in module.parameters() if len(owners := shared[p]) > 1]
        if why := obstacle(module):
            found[name] = why
        elif tied:
            found[name] = ValueError(f"its weight is shared by {tied[0]}; an exchange would untie it")
        elif module in reading:
            found[name] = ValueError(f"{reading[module]}, besides calling it: an exchange would change that")
    return found


def check_wrapper(model: nn.Module) -> None:
    """Raise if the parameters were handed out already."""
    for name, module in model.named_modules():
        if isinstance(module, DistributedDataParallel):
            raise ValueError(
                f"{name or 'the model'} is a DistributedDataParallel, which synchronizes the parameters that it was given: "
                "change its .module first and wrap it then"
            )


def obstacle(module: nn.Module) -> Exception | None:
    """Why this module cannot be exchanged, wherever it stands; None if it can."""
    kind = type(module).__name__
    if isinstance(module, ScriptModule):
        return TypeError(f"it is scripted; got {kind}")
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        return TypeError(f"it has no weight yet: run the model once before; got {kind}")
    if parametrize.is_parametrized(module):
        return TypeError(f"its {_parametrized(module)}: remove the parametrization first; got {kind}")
    if why := _computed(module):
        return why
    lost = _lost(module)
    return ValueError(f"it has {lost}, which would be lost; remove them first") if lost else None


def _parametrized(module: nn.Module) -> str:
    lists = dict(module.get_submodule("parametrizations").named_children())
    by = {name: ", ".join(type(step).__name__.strip("_") for step in steps.children()) for name, steps in lists.items()}
    return "; ".join(f"{name} is parametrized by {steps}" for name, steps in by.items())


def _computed(module: nn.Module) -> Exception | None:
    """Weights that are no parameters: old weight norm, spectral norm and pruning; or no plain tensors: sharded, quantized."""
    originals = [name for name in module._parameters if name.startswith("weight_")]
    if "weight" not in module._parameters and originals:
        return TypeError(f"its weight is computed from {', '.join(originals)} (a norm, pruning?); remove that first")
    for name, parameter in module._parameters.items():
        if parameter is not None and type(parameter) not in (nn.Parameter, Tensor):
            return TypeError(f"its {name} is a {type(parameter).__name__}; exchange it before it becomes one")
    return None


def _lost(module: nn.Module) -> str:
    """Hooks and patches, named."""
    hooks = [name for name, value in vars(module).items() if name.endswith("_hooks") and value]
    for name, parameter in module.named_parameters():
        hooks += [f"hooks on {name}"] if any(getattr(parameter, kind, None) for kind in PARAMETER_HOOKS) else []
    hooks += [f"a patched {name}" for name in vars(module) if callable(getattr(type(module), name, None))]
    if module._compiled_call_impl is not None:
        hooks.append("been compiled in place")
    return ", ".join(hooks)


def _sharers(model: nn.Module) -> dict[Tensor, list[str]]:
    """The names of the modules that each parameter belongs to."""
    found: dict[Tensor, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            found.setdefault(parameter, []).append(name)
    return found


def is_plainly(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module computes what ``kind`` does: a subclass may have a forward of its own."""
    return isinstance(module, kind) and type(module).forward is kind.forward

"""The temperatures of a model, all at once.

Reference: annealing, Chen et al., section 3.3, https://arxiv.org/abs/1912.03458
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from ..functional import check_temperature
from ..layers.kernel_stack import KernelStack
from ..layers.spatial import SpatialGate
from ..layers.tempered import Tempered

__all__ = ["set_temperature", "temperatures"]

Models = nn.Module | Iterable[nn.Module]
Where = str | Iterable[str] | Callable[[str, nn.Module], bool] | None


def temperatures(model: Models, where: Where = None) -> list[Tensor]:
    """The temperature buffers of ``model``, one a layer that has one, in the order of its modules.

    Those of dynconv's layers, and of any module that a mix of kernels was given as its ``attention``; not what other
    libraries call a temperature. A :class:`~dynconv.layers.spatial.SpatialGate`, whose temperature is that of a gradient
    and wants about 1, is left alone unless it is named in ``where`` or is itself the model.

    Example:
        >>> from dynconv import DynamicConv2d
        >>> temperatures(DynamicConv2d(3, 8, 3))
        [tensor(30.)]

    Args:
        model: any module, or several of them.
        where: which layers: None for all; a dotted name or a list of names, of layers or of what they are inside of, with
            ``*`` as a wildcard; or a function of (name, module), which can leave out what it likes.

    Raises:
        ValueError: a name fits no layer with a temperature.
    """
    models = [model] if isinstance(model, nn.Module) else list(model)
    patterns = [where] if isinstance(where, str) else None if where is None or callable(where) else list(where)
    found = [(name, module) for one in models for name, module in _tempered(one)]
    for pattern in patterns or ():
        if not any(_under(name, pattern) for name, _ in found):
            names = ", ".join(name or "(the model itself)" for name, _ in found)
            raise ValueError(f"{pattern!r} fits no layer with a temperature; there are: {names or 'none'}")
    chosen: dict[nn.Module, Tensor] = {}  # a module that is used in two models counts once
    for name, module in found:
        if callable(where):
            wanted = where(name, module)
        elif patterns is not None:
            wanted = any(_under(name, pattern) for pattern in patterns)
        else:
            wanted = not isinstance(module, SpatialGate) or module in models
        if wanted:
            chosen[module] = module.get_buffer("temperature")
    return list(chosen.values())


def set_temperature(model: Models, temperature: float, where: Where = None) -> int:
    """Give every layer of ``model`` that has a temperature the same one; return how many there were.

    Reference: annealing, Chen et al., section 3.3, https://arxiv.org/abs/1912.03458

    It may be called between a forward pass and its backward pass, which uses the temperature of the forward pass.

    Example:
        >>> from torch import nn
        >>> from dynconv import DynamicConv2d
        >>> model = nn.Sequential(DynamicConv2d(3, 8, 3), nn.ReLU(), DynamicConv2d(8, 8, 3))
        >>> set_temperature(model, 1.0)
        2
        >>> model[0].attention.temperature
        tensor(1.)
        >>> set_temperature(model, 5.0, where="2")
        1

    Args:
        model: any module, or several of them, such as a model and its moving average.
        temperature: T above 0.
        where: which layers, see :func:`temperatures`.

    Raises:
        ValueError: temperature is not a finite number above 0, no layer has one, a name fits none, or it is on the meta
            device, where no number can be kept.
    """
    check_temperature(temperature)
    buffers = temperatures(model, where)
    if not buffers:
        name = type(model).__name__
        raise ValueError(f"{name} has no layer with a temperature" + (f" where {where!r}" if where else ""))
    if any(buffer.is_meta for buffer in buffers):
        raise ValueError(
            "a temperature on the meta device cannot be set: first model.to_empty(device=...) and reset_parameters() of its "
            "modules, or load a checkpoint"
        )
    with torch.no_grad():
        for buffer in buffers:
            buffer.fill_(temperature)
    return len(buffers)


def _tempered(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module that divides scores by a temperature of its own, by name."""
    mixes = (module for module in model.modules() if isinstance(module, KernelStack))
    weigh = {inside for mix in mixes for inside in mix.attention.modules()}  # a user's own among them
    for name, module in model.named_modules():
        buffer = module._buffers.get("temperature")
        number = buffer is not None and buffer.numel() == 1 and buffer.is_floating_point()
        if number and (module in weigh or isinstance(module, Tempered)):
            yield name, module


def _under(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")

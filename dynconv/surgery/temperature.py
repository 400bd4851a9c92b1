"""The temperatures of a model, all at once.

Reference: annealing, Chen et al., section 3.3, https://arxiv.org/abs/1912.03458
"""

from __future__ import annotations

import torch
from torch import nn

from ..functional import check_temperature

__all__ = ["set_temperature", "temperatures"]


def temperatures(model: nn.Module) -> list[torch.Tensor]:
    """The temperature buffers of ``model``, one a layer that has one, in the order of its modules.

    Example:
        >>> from dynconv import DynamicConv2d
        >>> temperatures(DynamicConv2d(3, 8, 3))
        [tensor(30.)]

    Args:
        model: any module.
    """
    return [buffer for name, buffer in model.named_buffers() if name.rpartition(".")[2] == "temperature"]


def set_temperature(model: nn.Module, temperature: float) -> int:
    """Give every layer of ``model`` that has a temperature the same one; return how many there were.

    Reference: annealing, Chen et al., section 3.3, https://arxiv.org/abs/1912.03458

    Example:
        >>> from torch import nn
        >>> from dynconv import DynamicConv2d
        >>> model = nn.Sequential(DynamicConv2d(3, 8, 3), nn.ReLU(), DynamicConv2d(8, 8, 3))
        >>> set_temperature(model, 1.0)
        2
        >>> model[0].attention.temperature
        tensor(1.)

    Args:
        model: any module.
        temperature: T above 0.

    Raises:
        ValueError: temperature is not a finite number above 0, or the model has no layer with one.
    """
    check_temperature(temperature)
    buffers = temperatures(model)
    if not buffers:
        raise ValueError(f"{type(model).__name__} has no layer with a temperature")
    with torch.no_grad():
        for buffer in buffers:
            buffer.fill_(temperature)
    return len(buffers)

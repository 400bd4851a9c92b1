"""The temperature of a layer: one number in a buffer, kept in every checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.types import Device

from ..functional import check_temperature
from .layer import Layer

__all__: list[str] = []


class Tempered(Layer):
    """A layer that divides scores by a temperature.

    Args:
        temperature: T above 0, to begin with and after ``reset_parameters``.
    """

    # a buffer, not an attribute: a reloaded checkpoint must go on at the temperature it was saved at
    temperature: Tensor

    def __init__(self, temperature: float, device: Device, dtype: torch.dtype | None) -> None:
        super().__init__()
        check_temperature(temperature)
        self.initial_temperature = float(temperature)
        self.register_buffer("temperature", torch.tensor(self.initial_temperature, device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """What this module itself holds, as it was to begin with; its parts have methods of their own, as in torch."""
        with torch.no_grad():
            self.temperature.fill_(self.initial_temperature)

    def _divisor(self) -> Tensor:
        """The temperature of this call. Autograd keeps it: a copy, so that a schedule may move the buffer before backward."""
        return self.temperature.clone()

    def extra_repr(self) -> str:
        return f"temperature={self._shown()}"

    def _shown(self) -> str:
        """For printing."""
        try:
            return f"{self.temperature.item():g}"
        except RuntimeError:  # no number is there: on the meta device, or while functorch has a batch of them
            return f"({self.temperature.device})"

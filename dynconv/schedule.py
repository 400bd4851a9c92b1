"""The temperature as a schedule: a scheduler like those of torch.optim, for what the layers divide their logits by."""

from __future__ import annotations

import math

from torch import nn

from .functional import check_temperature
from .surgery import set_temperature

__all__ = ["TemperatureSchedule"]

SHAPES = {
    "constant": lambda done: 0.0,
    "linear": lambda done: done,
    "cosine": lambda done: (1 - math.cos(math.pi * done)) / 2,
}


class TemperatureSchedule:
    r"""Moves the temperature of every layer of a model, step by step, like a learning-rate scheduler.

    Reference: Chen et al., section 3.3, https://arxiv.org/abs/1912.03458 (linear, 30 → 1 in the first 10 epochs)

    .. math:: T_s = T_0 + (T_1 - T_0)\, f(\min(1, s / S))

    with f(u) = u for "linear", (1 - cos(π u)) / 2 for "cosine" and 0 for "constant".

    Example:
        >>> from dynconv import DynamicConv2d
        >>> layer = DynamicConv2d(3, 8, 3)
        >>> schedule = TemperatureSchedule(layer, steps=4, start=30.0, end=1.0)
        >>> for _ in range(6):
        ...     print(f"{layer.attention.temperature.item():g}", end=" ")
        ...     schedule.step()
        30 22.75 15.5 8.25 1 1

    Args:
        model: the module whose temperatures move.
        steps: S, optimiser steps until ``end`` is reached; for N epochs, N * len(loader).
        start, end: T_0 and T_1, above 0; "constant" stays at ``start``.
        shape: "constant", "linear" or "cosine".

    Raises:
        ValueError: a temperature is not above 0, steps is below 1, the shape is unknown, or the model has no temperature.
    """

    def __init__(
        self, model: nn.Module, steps: int, start: float = 30.0, end: float = 1.0, shape: str = "linear"
    ) -> None:
        check_temperature(start)
        check_temperature(end)
        if not (math.isfinite(steps) and steps >= 1):
            raise ValueError(f"steps must be finite and at least 1, got {steps}")
        if shape not in SHAPES:
            raise ValueError(f"shape must be one of {', '.join(map(repr, SHAPES))}, got {shape!r}")
        self.model, self.steps, self.start, self.end, self.shape = model, steps, start, end, shape
        self.last_step = 0
        set_temperature(model, self.temperature)

    @property
    def temperature(self) -> float:
        """T at the present step."""
        return self.start + (self.end - self.start) * SHAPES[self.shape](min(1.0, self.last_step / self.steps))

    def step(self) -> None:
        """Go one optimiser step on."""
        self.last_step += 1
        set_temperature(self.model, self.temperature)

    def state_dict(self) -> dict:
        """What a checkpoint has to keep: the step, and the schedule itself, as torch's schedulers do."""
        return {name: getattr(self, name) for name in ("last_step", "steps", "start", "end", "shape")}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a checkpoint: its schedule at its step."""
        if missing := self.state_dict().keys() - state.keys():
            raise ValueError(f"state must be a TemperatureSchedule's, got one without {sorted(missing)}")
        for name in self.state_dict():
            setattr(self, name, state[name])
        set_temperature(self.model, self.temperature)

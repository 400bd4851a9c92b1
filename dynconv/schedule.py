"""The temperature as a schedule: a scheduler like those of torch.optim, for what the layers divide their logits by."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from .functional import check_temperature
from .surgery.temperature import Models, Where, set_temperature

__all__ = ["TemperatureSchedule"]

SHAPES: dict[str, Callable[[float], float]] = {
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
        model: the module whose temperatures move, or several of them. A moving average that also averages buffers
            (``AveragedModel(..., use_buffers=True)``, timm's ModelEma) would average T: give it beside the model. One that
            copies buffers, as torch's does by default, follows by itself.
        steps: S, optimiser steps until ``end`` is reached; for N epochs, N * len(loader).
        start, end: T_0 and T_1, above 0; "constant" stays at ``start``.
        shape: "constant", "linear" or "cosine".
        where: which layers move, see :func:`dynconv.surgery.temperatures`. By default all that mix kernels: not a
            SpatialGate, whose gradient wants a T of about 1, nor what other libraries call a temperature.

    Raises:
        ValueError: a temperature is not above 0, steps is below 1, the shape is unknown, the model has no temperature, or
            ``where`` fits none.
    """

    def __init__(
        self,
        model: Models,
        steps: float,
        start: float = 30.0,
        end: float = 1.0,
        shape: str = "linear",
        where: Where = None,
    ) -> None:
        check_temperature(start)
        check_temperature(end)
        if not (math.isfinite(steps) and steps >= 1):
            raise ValueError(f"steps must be finite and at least 1, got {steps}")
        if shape not in SHAPES:
            raise ValueError(f"shape must be one of {', '.join(map(repr, SHAPES))}, got {shape!r}")
        self.model: Models = model if isinstance(model, nn.Module) else list(model)
        self.where: Where = where if isinstance(where, str) or where is None or callable(where) else list(where)
        self.steps, self.start, self.end, self.shape = steps, start, end, shape
        self.last_step = 0
        self._move()

    @property
    def temperature(self) -> float:
        """T at the present step."""
        return self.start + (self.end - self.start) * SHAPES[self.shape](min(1.0, self.last_step / self.steps))

    def step(self) -> None:
        """Go one optimiser step on."""
        self.last_step += 1
        self._move()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to keep: the step, and the schedule itself, as torch's schedulers do."""
        return {name: getattr(self, name) for name in ("last_step", "steps", "start", "end", "shape")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint: its schedule at its step."""
        if missing := self.state_dict().keys() - state.keys():
            raise ValueError(f"state must be a TemperatureSchedule's, got one without {sorted(missing)}")
        for name in self.state_dict():
            setattr(self, name, state[name])
        self._move()

    def _move(self) -> None:
        set_temperature(self.model, self.temperature, self.where)

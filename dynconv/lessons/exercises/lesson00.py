"""The exercise of lesson 00, start here."""

from __future__ import annotations

import torch
from torch import Tensor

from ...functional import softmax_temperature
from .exercise import Exercise, Mistake

__all__ = ["EXERCISES"]


def _cases() -> list[tuple[Tensor, float]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(count, generator=generator), temperature) for count, temperature in ((4, 2.0), (3, 0.5), (5, 30.0))
    ]


SOFTMAX = Exercise(
    softmax_temperature,
    _cases,
    {
        "T multiplied": Mistake(
            lambda z, T: torch.softmax(z * T, 0),
            "The logits are multiplied by the temperature: a high one makes the weights sharper, not more even. Divide.",
        ),
        "T forgotten": Mistake(
            lambda z, T: torch.softmax(z, 0),
            "The temperature changes nothing here: it is missing, or it is added, and a number added to all logits cancels.",
        ),
        "after the softmax": Mistake(
            lambda z, T: torch.softmax(z, 0) / T,
            "These weights do not sum to 1: divide the logits, before the softmax.",
        ),
        "no softmax": Mistake(lambda z, T: z / T, "These are the divided logits; the softmax is missing."),
        "exp only": Mistake(
            lambda z, T: torch.exp(z / T), "Positive, but they do not sum to 1: divide the exponentials by their sum."
        ),
        "sigmoid": Mistake(
            lambda z, T: torch.sigmoid(z / T),
            "A sigmoid looks at each logit by itself, so nothing makes these sum to 1. Use softmax.",
        ),
        "upside down": Mistake(
            lambda z, T: torch.softmax(T / z, 0), "The quotient is upside down: logits / temperature, not the reverse."
        ),
    },
)

EXERCISES = {"00.softmax": SOFTMAX}

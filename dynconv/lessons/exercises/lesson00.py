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
        "T above only": Mistake(
            lambda z, T: torch.exp(z / T) / torch.exp(z).sum(),
            "The temperature is missing in the sum below: divide the logits there, too, and the weights sum to 1.",
        ),
        "T below only": Mistake(
            lambda z, T: torch.exp(z) / torch.exp(z / T).sum(),
            "The temperature is in the sum below only: divide the logits above, too, and the weights sum to 1.",
        ),
        "logarithm": Mistake(
            lambda z, T: torch.log_softmax(z / T, 0),
            "These are the logarithms of the weights, all below 0: softmax, not log_softmax.",
        ),
        "winner only": Mistake(
            lambda z, T: torch.nn.functional.one_hot(z.argmax(), len(z)).to(z.dtype),
            "Only the largest logit has a weight, the limit of T → 0. Softmax gives each of them a part.",
        ),
        "upside down": Mistake(
            lambda z, T: torch.softmax(T / z, 0), "The quotient is upside down: logits / temperature, not the reverse."
        ),
    },
)

EXERCISES = {"00.softmax": SOFTMAX}

"""Exercises of lesson 03, temperature."""

from __future__ import annotations

import torch
from torch import Tensor

from ...functional import softmax_temperature
from .exercise import Exercise, Mistake

__all__ = ["EXERCISES"]


def _entropy(weights: Tensor, dim: int = 1) -> Tensor:
    return -torch.special.xlogy(weights, weights).sum(dim)


def kernels_in_use(logits: Tensor, temperature: float) -> Tensor:
    """exp of the entropy of softmax(logits / T), one number an image."""
    return _entropy(softmax_temperature(logits, temperature)).exp()


def _in_use_cases():
    generator = torch.Generator().manual_seed(3)
    shapes = (((4, 3), 2.0), ((2, 2), 0.5), ((3, 5), 10.0))
    return [(2 * torch.randn(shape, generator=generator), temperature) for shape, temperature in shapes]


def _weighted(measure, weights_of=softmax_temperature):
    return lambda z, T: measure(weights_of(z, T))


KERNELS_IN_USE = Exercise(
    kernels_in_use,
    _in_use_cases,
    {
        "entropy": Mistake(
            _weighted(_entropy), "This is the entropy H itself. Its exponential, exp(H), reads as a number of kernels."
        ),
        "sign": Mistake(
            _weighted(lambda p: torch.exp(-_entropy(p))),
            "The sign of H is turned round: π log π is negative, so the sum needs a minus. The result must be 1 to K.",
        ),
        "two logarithms": Mistake(
            _weighted(lambda p: torch.exp(_entropy(p) / torch.log(torch.tensor(2.0)))),
            "The logarithm is to base 2 but the power is of e. Use the same base twice: log with exp.",
        ),
        "powers of two": Mistake(
            _weighted(lambda p: 2 ** _entropy(p)),
            "The logarithm is natural but the power is of 2. Use the same base twice: log with exp.",
        ),
        "above zero": Mistake(
            _weighted(lambda p: (p > 0).sum(1)),
            "This counts the weights above zero, which for a softmax are all. The effective number goes by their sizes.",
        ),
        "T multiplied": Mistake(
            _weighted(lambda p: _entropy(p).exp(), lambda z, T: torch.softmax(z * T, 1)),
            "The logits were multiplied by the temperature; divide by it.",
        ),
        "T forgotten": Mistake(
            _weighted(lambda p: _entropy(p).exp(), lambda z, T: torch.softmax(z, 1)),
            "The temperature is missing: softmax(logits / T).",
        ),
        "softmax over the batch": Mistake(
            _weighted(lambda p: _entropy(p).exp(), lambda z, T: torch.softmax(z / T, 0)),
            "The softmax runs over the batch: the images compete. Each row sums to one over the kernels, dim=1.",
        ),
        "one number for all": Mistake(
            _weighted(lambda p: _entropy(p.mean(0), 0).exp()),
            "This is one number, of the batch's mean weights. Every image has its own: return (B,).",
        ),
        "mean": Mistake(
            _weighted(lambda p: torch.exp(_entropy(p) / p.shape[1])),
            "The entropy is averaged over the kernels. It is the sum of -π log π.",
        ),
        "largest weight": Mistake(
            _weighted(lambda p: 1 / p.amax(1)),
            "1 / max π is another fair count of kernels, but not exp(H), which was asked for.",
        ),
        "share of log K": Mistake(
            _weighted(lambda p: _entropy(p) / torch.log(torch.tensor(float(p.shape[1])))),
            "This is H / log K, between 0 and 1. Its exponential, exp(H), reads as a number of kernels.",
        ),
        "mean over the images": Mistake(
            _weighted(lambda p: _entropy(p).exp().mean()),
            "This is one number, the mean over the images. Every image has its own: return (B,).",
        ),
        "squares": Mistake(
            _weighted(lambda p: 1 / (p * p).sum(1)),
            "1 / Σ π² is another fair count of kernels, but not exp(H), which was asked for.",
        ),
    },
)


def absorb(weight: Tensor, bias: Tensor, old: float, new: float) -> tuple[Tensor, Tensor]:
    """The layer that gives at temperature ``new`` what ``weight`` and ``bias`` gave at ``old``."""
    return weight * new / old, bias * new / old


def _absorb_cases():
    generator = torch.Generator().manual_seed(30)
    cases = []
    for num_kernels, hidden, old, new in ((4, 3, 30.0, 2.0), (2, 5, 1.0, 30.0), (3, 2, 7.0, 7.0)):
        weight, bias = (torch.randn(shape, generator=generator) for shape in ((num_kernels, hidden), (num_kernels,)))
        cases.append((weight, bias, old, new))
    return cases


ABSORB = Exercise(
    absorb,
    _absorb_cases,
    {
        "upside down": Mistake(
            lambda w, b, old, new: (w * old / new, b * old / new),
            "The quotient is upside down. From T = 30 to T = 1 the logits have to become smaller: times new / old.",
        ),
        "bias forgotten": Mistake(
            lambda w, b, old, new: (w * new / old, b),
            "The bias stays as it was. It is a part of the logits, so it is scaled too.",
        ),
        "weight forgotten": Mistake(
            lambda w, b, old, new: (w, b * new / old), "Only the bias is scaled. Weight and bias both make the logits."
        ),
        "old only": Mistake(
            lambda w, b, old, new: (w / old, b / old),
            "This is right for new = 1 only. For another temperature the logits are multiplied by it as well.",
        ),
        "new only": Mistake(
            lambda w, b, old, new: (w * new, b * new),
            "This is right for old = 1 only. The old temperature has to be divided out.",
        ),
        "both divide": Mistake(
            lambda w, b, old, new: (w / (old * new), b / (old * new)),
            "Both temperatures divide. The old one is divided out; by the new one the logits have to be multiplied.",
        ),
        "both multiply": Mistake(
            lambda w, b, old, new: (w * old * new, b * old * new),
            "Both temperatures multiply. The old one has to be divided out.",
        ),
        "whole numbers": Mistake(
            lambda w, b, old, new: (w * (new // old), b * (new // old)),
            "// rounds the quotient down to a whole number. Use /.",
        ),
        "difference": Mistake(
            lambda w, b, old, new: (w + new - old, b + new - old),
            "The difference of the temperatures is added. Softmax does not even see a number added to all logits: scale them.",
        ),
        "unchanged": Mistake(
            lambda w, b, old, new: (w, b), "Nothing has changed, so at the new temperature the weights would be others."
        ),
    },
)

EXERCISES = {"03.kernels_in_use": KERNELS_IN_USE, "03.absorb": ABSORB}

"""Exercises of lesson 02, softmax mixing."""

from __future__ import annotations

import torch
from torch import Tensor

from ...functional import mix_kernels, softmax_temperature
from .exercise import Exercise, Mistake

__all__ = ["EXERCISES"]


def fold(weight: Tensor, bias: Tensor, logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The one kernel and bias that K mixed convolutions amount to."""
    attention = softmax_temperature(logits, temperature)  # (K,)
    return mix_kernels(weight, attention), mix_kernels(bias, attention)


def _fold_cases():
    generator = torch.Generator().manual_seed(2)
    cases = []
    for num_kernels, out, channels, temperature in ((4, 3, 2, 5.0), (3, 2, 1, 1.0), (1, 2, 3, 0.5)):
        weight = torch.randn(num_kernels, out, channels, 3, 3, generator=generator)
        bias, logits = (torch.randn(s, generator=generator) for s in ((num_kernels, out), (num_kernels,)))
        cases.append((weight, bias, 3 * logits, temperature))
    return cases


def _folded_with(weights_of, bias_of=None):
    def answer(weight, bias, logits, temperature):
        weights = weights_of(logits, temperature)
        return mix_kernels(weight, weights), (bias_of or mix_kernels)(bias, weights)

    return answer


FOLD = Exercise(
    fold,
    _fold_cases,
    {
        "T multiplied": Mistake(
            _folded_with(lambda z, T: torch.softmax(z * T, 0)),
            "The logits were multiplied by the temperature; they are divided by it: a high T evens the weights out.",
        ),
        "T forgotten": Mistake(
            _folded_with(lambda z, T: torch.softmax(z, 0)),
            "The temperature is missing: the softmax is of logits / temperature.",
        ),
        "T after the softmax": Mistake(
            _folded_with(lambda z, T: torch.softmax(z, 0) / T),
            "The temperature divides the softmax's result; it has to divide the logits, before the softmax.",
        ),
        "no softmax": Mistake(
            _folded_with(lambda z, T: z / T), "The logits themselves are the weights here; they need a softmax first."
        ),
        "bias averaged": Mistake(
            _folded_with(softmax_temperature, lambda b, w: b.mean(0)),
            "The kernels are mixed but the biases averaged: biases are mixed with the same weights.",
        ),
        "bias summed": Mistake(
            _folded_with(softmax_temperature, lambda b, w: b.sum(0)),
            "The kernels are mixed but the biases summed: biases are mixed with the same weights.",
        ),
        "bias not mixed": Mistake(
            _folded_with(softmax_temperature, lambda b, w: b),
            "There are still K biases. One convolution has one bias for each output channel: mix them with the same weights.",
        ),
        "kernels summed": Mistake(
            _folded_with(lambda z, T: torch.ones_like(z)), "Kernels and biases are summed without weights."
        ),
        "winner only": Mistake(
            _folded_with(lambda z, T: torch.nn.functional.one_hot(z.argmax(), len(z)).to(z.dtype)),
            "Only the kernel with the largest logit is left, the limit of T → 0; weigh all of them with the softmax.",
        ),
        "not added up": Mistake(
            lambda w, b, z, T: tuple(v * softmax_temperature(z, T).view(-1, *[1] * (v.ndim - 1)) for v in (w, b)),
            "So far, so good: each kernel and bias times its weight. Now add them up over k, into one of each.",
        ),
        "averaged": Mistake(
            _folded_with(lambda z, T: torch.softmax(z / T, 0) / len(z)),
            "Weighted, and then averaged: that divides by K once more. The weights sum to 1 already; add up.",
        ),
        "sigmoid": Mistake(
            _folded_with(lambda z, T: torch.sigmoid(z / T)),
            "A sigmoid looks at each logit by itself, so the weights do not sum to 1. Use softmax.",
        ),
        "swapped": Mistake(
            lambda w, b, z, T: fold(w, b, z, T)[::-1], "Kernel and bias are swapped: return the kernel first."
        ),
        "plain mean": Mistake(
            _folded_with(lambda z, T: torch.full_like(z, 1 / len(z))),
            "This is the plain mean of the kernels, the limit of T → ∞; weigh them with the softmax.",
        ),
    },
)


def logit_gradient(weights: Tensor, gradient: Tensor, temperature: float) -> Tensor:
    """dL/dz from the mixing weights pi and dL/dpi."""
    return weights * (gradient - (weights * gradient).sum()) / temperature


def _gradient_cases():
    generator = torch.Generator().manual_seed(3)
    logits, gradients = torch.randn(2, 4, generator=generator), torch.randn(2, 4, generator=generator)
    pairs = zip(logits, gradients, (2.0, 30.0), strict=True)
    return [(softmax_temperature(z, T), g, T) for z, g, T in pairs]


LOGIT_GRADIENT = Exercise(
    logit_gradient,
    _gradient_cases,
    {
        "no competition": Mistake(
            lambda p, g, T: p * g / T,
            "Each logit is treated on its own. The weights compete: raising one lowers the others, "
            "so the mean gradient sum(pi · g) has to be subtracted.",
        ),
        "T forgotten": Mistake(
            lambda p, g, T: p * (g - (p * g).sum()),
            "The chain rule through logits / T leaves a factor 1 / T, which is missing.",
        ),
        "T multiplied": Mistake(
            lambda p, g, T: T * p * (g - (p * g).sum()), "The factor of the chain rule is 1 / T, not T."
        ),
        "plain mean": Mistake(
            lambda p, g, T: p * (g - g.mean()) / T,
            "The mean that is subtracted must be weighted with pi: sum(pi · g), not g.mean().",
        ),
        "diagonal only": Mistake(
            lambda p, g, T: p * (1 - p) * g / T,
            "Only dπ_k/dz_k is used. Logit k moves the other weights too: add g_j dπ_j/dz_k = -g_j π_j π_k / T for j ≠ k.",
        ),
        "weight forgotten": Mistake(
            lambda p, g, T: (g - (p * g).sum()) / T,
            "The factor pi in front is missing: a kernel with little weight moves its logit little.",
        ),
        "plain sum": Mistake(
            lambda p, g, T: p * (g - g.sum()) / T,
            "The sum that is subtracted must be weighted with pi: sum(pi · g), not g.sum().",
        ),
        "mean outside": Mistake(
            lambda p, g, T: (p * g - (p * g).sum()) / T,
            "The mean sum(pi · g) is subtracted from pi · g; it is subtracted from g, and then pi multiplies both.",
        ),
        "mean of the products": Mistake(
            lambda p, g, T: p * (g - (p * g).mean()) / T,
            "(pi · g).mean() divides by K once more. The weights sum to 1 already: sum(pi · g) is the mean.",
        ),
        "T squared": Mistake(
            lambda p, g, T: p * (g - (p * g).sum()) / T**2,
            "The factor 1 / T stands there twice. Only the logits are divided by T, once.",
        ),
        "sign": Mistake(
            lambda p, g, T: -p * (g - (p * g).sum()) / T,
            "The sign is turned round: this is the step downhill, not the gradient.",
        ),
    },
)

EXERCISES = {"02.fold": FOLD, "02.gradient": LOGIT_GRADIENT}

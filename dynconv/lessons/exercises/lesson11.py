"""The exercise of lesson 11, the verdict."""

from __future__ import annotations

import torch
from torch import nn

from .exercise import Exercise, Mistake

__all__ = ["EXERCISES"]


def deviation(function, x):
    """Largest |f(2x) - 2 f(x) + f(0)|."""
    return (function(2 * x) - 2 * function(x) + function(torch.zeros_like(x))).abs().max()


def _cases():
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((3, 2, 8, 8), (3, 2, 3, 3)))
    convolution = _Conv(weight / 4, 1 + torch.rand(3, generator=generator))
    functions = [
        lambda v: convolution(v) * v.std((1, 2, 3), keepdim=True),
        convolution,
        torch.relu,
        lambda v: -v.square(),  # deviates downwards only
    ]
    return [(function, x) for function in functions]


class _Conv:
    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def __call__(self, x):
        return nn.functional.conv2d(x, self.weight, self.bias)


def _of(second, third):
    return lambda f, x: (f(2 * x) + second * f(x) + third * f(torch.zeros_like(x))).abs().max()


DEVIATION = Exercise(
    deviation,
    _cases,
    {
        "bias forgotten": Mistake(_of(-2, 0), "f(0) is missing: a convolution with a bias would look dynamic."),
        "bias twice": Mistake(_of(-2, -1), "f(0) is subtracted; f(2x) has the bias once and 2 f(x) twice, so add it."),
        "once": Mistake(
            _of(-1, 0), "f(2x) − f(x) is compared with nothing: it is f(x) itself for a linear layer; subtract 2 f(x)."
        ),
        "no absolute value": Mistake(
            lambda f, x: (f(2 * x) - 2 * f(x) + f(torch.zeros_like(x))).max(),
            "Large negative values count too: take the absolute value before the maximum.",
        ),
        "added": Mistake(_of(2, 1), "2 f(x) was added; subtract it, so that nothing is left of what is linear."),
        "no maximum": Mistake(
            lambda f, x: (f(2 * x) - 2 * f(x) + f(torch.zeros_like(x))).abs(),
            "These are the deviations at every place. Now the largest of them, one number.",
        ),
        "sum": Mistake(
            lambda f, x: (f(2 * x) - 2 * f(x) + f(torch.zeros_like(x))).abs().sum(),
            "The deviations were added up; one place that deviates is enough, so take the largest.",
        ),
        "mean": Mistake(
            lambda f, x: (f(2 * x) - 2 * f(x) + f(torch.zeros_like(x))).abs().mean(),
            "That is the mean; one place that deviates is enough, so take the maximum.",
        ),
    },
)

EXERCISES = {"11.deviation": DEVIATION}

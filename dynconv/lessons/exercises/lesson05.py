"""Exercises of lesson 05, dynamic convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...functional import conv, dynamic_conv, softmax_temperature
from .exercise import Exercise, Mistake

__all__ = ["EXERCISES"]


def attention(x: Tensor, w1: Tensor, w2: Tensor, c: Tensor, temperature: float) -> Tensor:
    """softmax((relu(mean(x) W1ᵀ) W2ᵀ + c) / T), (B, K)."""
    squeezed = x.mean((2, 3))  # (B, C)
    logits = torch.relu(squeezed @ w1.T) @ w2.T + c  # (B, K)
    return softmax_temperature(logits, temperature)


def _attention_cases():
    generator = torch.Generator().manual_seed(5)
    cases = []
    for batch, channels, hidden, num_kernels, temperature in ((3, 8, 6, 3, 2.0), (2, 5, 4, 4, 0.5)):
        shapes = ((batch, channels, 6, 7), (hidden, channels), (num_kernels, hidden), (num_kernels,))
        x, w1, w2, c = (torch.randn(shape, generator=generator) for shape in shapes)
        cases.append((3 * x, w1, w2, c, temperature))
    return cases


def _scores(x, w1, w2):
    return torch.relu(x.mean((2, 3)) @ w1.T) @ w2.T


ATTENTION = Exercise(
    attention,
    _attention_cases,
    {
        "softmax over the batch": Mistake(
            lambda x, w1, w2, c, T: torch.softmax((_scores(x, w1, w2) + c) / T, 0),
            "The softmax runs over the batch: here the images share out each kernel. Normalise over the K kernels, dim=1.",
        ),
        "averaged over the batch": Mistake(
            lambda x, w1, w2, c, T: (
                torch.softmax((_scores(x, w1, w2) + c) / T, 1).mean(0, keepdim=True).expand(len(x), -1)
            ),
            "All images get the same attention, averaged over the batch. Keep one row an image.",
        ),
        "squeezed over the batch": Mistake(
            lambda x, w1, w2, c, T: torch.softmax((_scores(x.mean(0, keepdim=True), w1, w2) + c) / T, 1).expand(
                len(x), -1
            ),
            "The images are averaged before the network sees them. Squeeze over height and width only, dims 2 and 3.",
        ),
        "T multiplied": Mistake(
            lambda x, w1, w2, c, T: torch.softmax((_scores(x, w1, w2) + c) * T, 1),
            "The logits were multiplied by the temperature; divide by it.",
        ),
        "T forgotten": Mistake(
            lambda x, w1, w2, c, T: torch.softmax(_scores(x, w1, w2) + c, 1),
            "The temperature is missing: softmax(logits / T).",
        ),
        "T after the softmax": Mistake(
            lambda x, w1, w2, c, T: torch.softmax(_scores(x, w1, w2) + c, 1) / T,
            "The temperature divides the softmax's result, so a row no longer sums to one. Divide the logits, before it.",
        ),
        "no softmax": Mistake(
            lambda x, w1, w2, c, T: (_scores(x, w1, w2) + c) / T,
            "These are the logits divided by T. The softmax over the kernels is missing.",
        ),
        "sigmoid": Mistake(
            lambda x, w1, w2, c, T: torch.sigmoid((_scores(x, w1, w2) + c) / T),
            "A sigmoid is Squeeze-and-Excitation's gate. Here the kernels compete: softmax, a row sums to one.",
        ),
        "offset forgotten": Mistake(
            lambda x, w1, w2, c, T: torch.softmax(_scores(x, w1, w2) / T, 1),
            "The offset c is missing: add it to the logits, before they are divided by T.",
        ),
        "sum instead of mean": Mistake(
            lambda x, w1, w2, c, T: torch.softmax((torch.relu(x.sum((2, 3)) @ w1.T) @ w2.T + c) / T, 1),
            "The squeeze adds the pixels up; then larger images give larger logits. Take the mean.",
        ),
        "maximum": Mistake(
            lambda x, w1, w2, c, T: torch.softmax((torch.relu(x.amax((2, 3)) @ w1.T) @ w2.T + c) / T, 1),
            "The squeeze takes the largest pixel of each channel. The exercise asks for the mean.",
        ),
        "no ReLU": Mistake(
            lambda x, w1, w2, c, T: torch.softmax((x.mean((2, 3)) @ w1.T @ w2.T + c) / T, 1),
            "The ReLU between the two layers is missing; without it they are one linear layer.",
        ),
        "ReLU at the end": Mistake(
            lambda x, w1, w2, c, T: torch.softmax(torch.relu(x.mean((2, 3)) @ w1.T @ w2.T + c) / T, 1),
            "The ReLU stands after the second layer; it belongs between the two. Logits may be negative.",
        ),
        "ReLU twice": Mistake(
            lambda x, w1, w2, c, T: torch.softmax(torch.relu(_scores(x, w1, w2) + c) / T, 1),
            "There is a ReLU after the second layer, too. Only one, between the layers: logits may be negative.",
        ),
        "offset subtracted": Mistake(
            lambda x, w1, w2, c, T: torch.softmax((_scores(x, w1, w2) - c) / T, 1),
            "The offset c is subtracted. Add it to the logits.",
        ),
        "offset outside T": Mistake(
            lambda x, w1, w2, c, T: torch.softmax(_scores(x, w1, w2) / T + c, 1),
            "The offset c is part of the logits: it is divided by the temperature too.",
        ),
    },
)


def dynamic(x: Tensor, weight: Tensor, bias: Tensor, attention: Tensor, groups: int) -> Tensor:
    """Every image convolved with its own mix."""
    return dynamic_conv(x, weight, attention, bias, groups=groups)


def _dynamic_cases():
    generator = torch.Generator().manual_seed(6)
    cases = []
    for batch, channels, out, groups in ((3, 4, 4, 2), (2, 3, 5, 1)):
        shapes = ((batch, channels, 6, 6), (3, out, channels // groups, 3, 3), (3, out), (batch, 3))
        x, weight, bias, logits = (torch.randn(shape, generator=generator) for shape in shapes)
        cases.append((x, weight, bias, torch.softmax(3 * logits, 1), groups))
    return cases


DYNAMIC = Exercise(
    dynamic,
    _dynamic_cases,
    {
        "pi averaged over the batch": Mistake(
            lambda x, w, b, a, g: dynamic_conv(x, w, a.mean(0, keepdim=True).expand_as(a), b, groups=g),
            "Every image gets the batch's mean kernel: that is a static convolution. Mix one kernel an image.",
        ),
        "the first image's kernel": Mistake(
            lambda x, w, b, a, g: dynamic_conv(x, w, a[:1].expand_as(a), b, groups=g),
            "Every image gets the first image's kernel. Use row b of the attention for image b.",
        ),
        "attention ignored": Mistake(
            lambda x, w, b, a, g: dynamic_conv(x, w, torch.full_like(a, 1 / a.shape[1]), b, groups=g),
            "The kernels are averaged evenly; the attention has no part in it. Weigh them with the image's row.",
        ),
        "winner only": Mistake(
            lambda x, w, b, a, g: dynamic_conv(x, w, torch.eye(a.shape[1])[a.argmax(1)], b, groups=g),
            "Each image gets its strongest kernel alone. Mix all K of them with the row's weights.",
        ),
        "softmax again": Mistake(
            lambda x, w, b, a, g: dynamic_conv(x, w, torch.softmax(a, 1), b, groups=g),
            "The attention goes through a softmax here, but it comes from one already: use it as it is.",
        ),
        "padded": Mistake(
            lambda x, w, b, a, g: dynamic_conv(x, w, a, b, padding=w.shape[-1] // 2, groups=g),
            "The images were padded with zeros. Nothing was said of a padding: H' = H - kh + 1.",
        ),
        "not weighed": Mistake(
            lambda x, w, b, a, g: dynamic_conv(x, w, torch.ones_like(a), b, groups=g),
            "The kernels are added up without weights; the attention has no part in it. Weigh them with the image's row.",
        ),
        "bias not mixed": Mistake(
            lambda x, w, b, a, g: dynamic_conv(x, w, a, b[:1].expand_as(b), groups=g),
            "Only the first kernel's bias is used. Mix the biases with the same attention as the kernels.",
        ),
        "bias forgotten": Mistake(lambda x, w, b, a, g: dynamic_conv(x, w, a, groups=g), "The bias is missing."),
        "biases summed": Mistake(
            lambda x, w, b, a, g: dynamic_conv(x, w, a, groups=g) + b.sum(0)[:, None, None],
            "The K biases are added up whole. Mix them with the same attention as the kernels.",
        ),
        "biases averaged": Mistake(
            lambda x, w, b, a, g: dynamic_conv(x, w, a, b.mean(0).expand_as(b), groups=g),
            "The biases are averaged evenly. Mix them with the same attention as the kernels.",
        ),
        "groups forgotten": Mistake(
            lambda x, w, b, a, g: torch.cat(
                [conv(x[i : i + 1], torch.einsum("k,k...->...", a[i], w), a[i] @ b) for i in range(len(x))]
            ),
            "The groups are not passed on: with groups=2 each kernel sees half of the channels. Pass groups to the convolution.",
        ),
    },
)


def temperature_at(epoch: float, annealing_epochs: int) -> float:
    """30 → 1 in a straight line over the first epochs, then 1."""
    return max(1.0, 30.0 - 29.0 * epoch / annealing_epochs)


SCHEDULE = Exercise(
    temperature_at,
    lambda: [(14, 10), (5, 10), (10, 10), (0, 10), (2.5, 4), (60, 20)],
    {
        "not held at 1": Mistake(
            lambda e, n: 30.0 - 29.0 * e / n,
            "After the annealing T goes on falling, below 1 and then below 0, where softmax turns upside down. Hold it at 1.",
        ),
        "down to 0": Mistake(
            lambda e, n: max(0.0, 30.0 * (1 - e / n)),
            "This line ends at T = 0, a division by zero. It should end at 1.",
        ),
        "steps of 3": Mistake(
            lambda e, n: max(1.0, 34.0 - 3.0 * e),
            "This is 34, 31, 28 …: a fixed step, whatever the number of epochs. Start at 30 and arrive at 1 after annealing_epochs.",
        ),
        "one epoch early": Mistake(
            lambda e, n: max(1.0, 30.0 - 29.0 * e / (n - 1)),
            "This arrives at 1 one epoch early: divide by annealing_epochs itself.",
        ),
        "30 instead of 29": Mistake(
            lambda e, n: max(1.0, 30.0 - 30.0 * e / n),
            "This line aims at 0 and is cut off at 1 too early. From 30 to 1 is a way of 29.",
        ),
        "whole numbers": Mistake(
            lambda e, n: max(1.0, 30 - 29 * e // n),
            "// rounds: T goes down in whole numbers. Use / for a straight line.",
        ),
        "cut to whole numbers": Mistake(
            lambda e, n: int(max(1.0, 30 - 29 * e / n)),
            "T is cut to a whole number. Return it as it is, for a straight line.",
        ),
        "one a step": Mistake(
            lambda e, n: max(1.0, 30.0 - e),
            "This falls by 1 an epoch, whatever the number of epochs. It should arrive at 1 after annealing_epochs.",
        ),
        "cosine": Mistake(
            lambda e, n: 15.5 + 14.5 * math.cos(math.pi * min(e / n, 1)),
            "This falls along a cosine (a fair choice too, but not the straight line that was asked for).",
        ),
        "min for max": Mistake(
            lambda e, n: min(1.0, 30.0 - 29.0 * e / n),
            "min keeps T at 1 or below from the first epoch on. max(1, …) is never below 1.",
        ),
        "rising": Mistake(
            lambda e, n: min(30.0, 1.0 + 29.0 * e / n),
            "This rises from 1 to 30. Training starts hot, at 30, and cools to 1.",
        ),
        "geometric": Mistake(
            lambda e, n: max(1.0, 30.0 ** (1 - e / n)),
            "This falls geometrically (a fair choice too, but not the straight line that was asked for).",
        ),
    },
)

EXERCISES = {"05.attention": ATTENTION, "05.dynamic": DYNAMIC, "05.schedule": SCHEDULE}

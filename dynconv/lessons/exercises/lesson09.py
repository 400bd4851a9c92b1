"""Exercises of lesson 09, spatially sparse dynamic convolution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...functional.sparse import sparsity_loss
from .exercise import Exercise, Mistake
from .watching import Limit

__all__ = ["EXERCISES"]


def hard_gate(z: Tensor, noise: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The gate, 0 or 1, and the slope that is used in its place: that of the soft gate."""
    soft = torch.sigmoid((z + noise) / temperature)
    return (soft >= 0.5).to(z.dtype), soft * (1 - soft) / temperature


def _gate_cases():
    generator, cases = torch.Generator().manual_seed(9), []
    for shape, temperature in (((2, 1, 3, 4), 2.0), ((7,), 0.5), ((5,), 1.0)):
        z, u = torch.randn(shape, generator=generator), torch.rand(shape, generator=generator)
        cases.append((z, torch.log(u / (1 - u)), temperature))
    return cases


def _gate(soft_of=lambda z, n, T: torch.sigmoid((z + n) / T), value=None, slope=None):
    """The solution with another soft gate, another value or another slope."""

    def answer(z, noise, temperature):
        soft = soft_of(z, noise, temperature)
        hard = (soft >= 0.5).to(z.dtype)
        return value(soft) if value else hard, slope(soft, hard, temperature) if slope else soft * (
            1 - soft
        ) / temperature

    return answer


HARD_GATE = Exercise(
    hard_gate,
    _gate_cases,
    {
        "soft value": Mistake(
            _gate(value=lambda s: s),
            "The value is the soft gate, a fraction. A position cannot be computed by half: give 1 where soft is at least 0.5, else 0.",
        ),
        "the threshold's slope": Mistake(
            _gate(slope=lambda s, h, T: torch.zeros_like(s)),
            "A slope of 0 everywhere is the threshold's own (so is hard · (1 - hard)), and teaches nothing. Use the soft gate's slope.",
        ),
        "noise subtracted": Mistake(
            _gate(soft_of=lambda z, n, T: torch.sigmoid((z - n) / T)),
            "The noise is subtracted. What comes in is g1 - g2 already: add it.",
        ),
        "sign of the slope": Mistake(
            _gate(slope=lambda s, h, T: -s * (1 - s) / T),
            "The slope's sign is turned round: the soft gate rises with z.",
        ),
        "slope 1": Mistake(
            _gate(slope=lambda s, h, T: torch.ones_like(s)),
            "A slope of 1 passes the threshold by altogether. Here the gradient is that of the soft gate, soft · (1 - soft) / T.",
        ),
        "slope at open positions only": Mistake(
            _gate(slope=lambda s, h, T: h * s * (1 - s) / T),
            "Closed positions get no slope: they could never open again. The slope is the soft gate's at every position.",
        ),
        "T forgotten in the slope": Mistake(
            _gate(slope=lambda s, h, T: s * (1 - s)),
            "The chain rule through (z + noise) / T leaves a factor 1 / T, which is missing in the slope.",
        ),
        "T multiplied in the slope": Mistake(
            _gate(slope=lambda s, h, T: s * (1 - s) * T),
            "The slope was multiplied by T. The chain rule through (z + noise) / T divides it by T.",
        ),
        "threshold of the score": Mistake(
            _gate(value=lambda s: (s >= 0).float()),
            "Everything is open: the soft gate is always above 0. 0 is the threshold of the score; that of the soft gate is 0.5.",
        ),
        "the other way round": Mistake(
            lambda z, n, T: hard_gate(z, n, T)[::-1],
            "Both are there, in the wrong order: first the gate, then the slope.",
        ),
        "noise forgotten in the gate": Mistake(
            lambda z, n, T: ((z >= 0).to(z.dtype), hard_gate(z, n, T)[1]),
            "The gate is open where z ≥ 0, without the noise: that is for inference. In training the noise decides, too.",
        ),
        "T multiplied": Mistake(
            _gate(lambda z, n, T: torch.sigmoid((z + n) * T)),
            "z + noise was multiplied by the temperature; divide by it.",
        ),
        "noise forgotten": Mistake(
            _gate(lambda z, n, T: torch.sigmoid(z / T)),
            "The noise is missing: the soft gate is sigmoid((z + noise) / T).",
        ),
        "noise after the sigmoid": Mistake(
            _gate(lambda z, n, T: torch.sigmoid(z / T) + n),
            "The noise was added behind the sigmoid. It belongs to the score: sigmoid((z + noise) / T).",
        ),
        "noise not divided": Mistake(
            _gate(lambda z, n, T: torch.sigmoid(z / T + n)),
            "Only z is divided by T here. Add the noise first, then divide the sum.",
        ),
    },
    (Limit(frozenset({"sigmoid_backward"}), 0, "But the slope came from autograd: write it down from s."),),
)


def dilate(mask: Tensor) -> Tensor:
    """A position counts if it or one of its eight neighbours is open: (B, 1, H, W) → (B, 1, H, W)."""
    return (_ones(mask, 3, 3) > 0.5).to(mask.dtype)


def _dilate_cases():
    dots = torch.zeros(2, 1, 6, 7)
    dots[0, 0, 2, 3] = dots[0, 0, 3, 4] = dots[1, 0, 0, 6] = 1.0  # two that touch; one in a corner of the second image
    scattered = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(10)) < 0.08
    return [(dots,), (scattered.float(),)]


def _ones(mask, height, width):
    return F.conv2d(mask, mask.new_ones(1, 1, height, width), padding=(height // 2, width // 2))


def _wrapped(mask):
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return torch.stack([mask.roll(shift, (2, 3)) for shift in shifts]).amax(0)


POOLING = frozenset(
    f"{adaptive}max_pool{n}d{indices}"
    for adaptive in ("", "adaptive_")
    for n in (1, 2, 3)
    for indices in ("", "_with_indices")
) | {"fractional_max_pool2d", "mkldnn_max_pool2d", "quantized_max_pool2d"}
DILATE = Exercise(
    dilate,
    _dilate_cases,
    {
        "not dilated": Mistake(
            lambda m: m, "The mask comes back as it was. The 3 × 3 kernel also looks at the eight neighbours."
        ),
        "sum": Mistake(
            lambda m: _ones(m, 3, 3),
            "Open neighbours are added up, so some positions count 2 or more. Needed is needed, once: a maximum, not a sum.",
        ),
        "mean": Mistake(
            lambda m: F.avg_pool2d(m, 3, stride=1, padding=1),
            "These are fractions, the mean of the neighbours. A position is computed or not: a maximum, not a mean.",
        ),
        "two at least": Mistake(
            lambda m: (_ones(m, 3, 3) > 1).to(m.dtype),
            "Only where two or more of the nine are open. One is enough: count > 0.",
        ),
        "neighbours only": Mistake(
            lambda m: (_ones(m, 3, 3) - m > 0).to(m.dtype),
            "An open position with no open neighbour was left out. It is one of the nine places of its own kernel.",
        ),
        "cross": Mistake(
            lambda m: torch.maximum(F.max_pool2d(m, (3, 1), 1, (1, 0)), F.max_pool2d(m, (1, 3), 1, (0, 1))),
            "The four corners are missing: a 3 × 3 kernel looks at all eight neighbours, not at a cross.",
        ),
        "too far": Mistake(
            lambda m: F.max_pool2d(m, 5, stride=1, padding=2),
            "This reaches two positions far. That is what both convolutions together look at; one 3 × 3 kernel reaches one.",
        ),
        "eroded": Mistake(
            lambda m: -F.max_pool2d(-m, 3, stride=1, padding=1),
            "This keeps a position only if all its neighbours are open: the mask shrinks. It has to grow; take the maximum.",
        ),
        "wrapped round": Mistake(
            _wrapped, "The mask wraps round: what is open at one border shows up at the other. Pad with zeros instead."
        ),
        "padding forgotten": Mistake(
            lambda m: F.max_pool2d(m, 3, stride=1),
            "The border is lost, the result is two rows and columns smaller. Pad by one: padding=1.",
        ),
        "over the batch": Mistake(
            lambda m: F.max_pool2d(m, 3, stride=1, padding=1).amax(0, keepdim=True).expand_as(m),
            "All images get the same mask, open where any of them is open. Every image keeps its own.",
        ),
    },
    (Limit(POOLING, 0, "But find another way than a pooling layer: count the open neighbours, say."),),
)


def price(used: Tensor, total: Tensor, target: float, epoch: float, num_epochs: int) -> Tensor:
    """(total share - t)² + the mean over the blocks of what is above and below their bounds, squared."""
    return sparsity_loss(used, total, target, epoch, num_epochs)


def _price_cases():
    rows = (
        ([90.0, 10.0, 2.0], [100.0, 200.0, 100.0], 0.3, 2, 12),  # both bounds are passed, blocks differ in size
        ([60.0, 30.0], [100.0, 300.0], 0.25, 0, 12),
        ([80.0, 0.0, 30.0], [100.0, 100.0, 200.0], 0.4, 10, 12),  # past the first third
        ([1.0, 2.0], [100.0, 50.0], 0.5, 1, 9),
    )
    return [(torch.tensor(used), torch.tensor(total), *rest) for used, total, *rest in rows]


def _loosened(strictness):
    """The bounds for another p than the one of the text."""
    return lambda p, t, e, m: _bounds(strictness(e / (0.33 * m)), t, e, m)


def _price_with(bounds=None, overall=None, squared=torch.square, reduce=torch.mean):
    """The solution with other bounds, another overall term, another power or another sum over the blocks."""

    def answer(used, total, target, epoch, num_epochs):
        strict = math.cos(min(epoch / (0.33 * num_epochs), 1) * math.pi / 2) ** 2
        upper, lower = (bounds or _bounds)(strict, target, epoch, num_epochs)
        share = used / total
        blocks = squared((share - upper).clamp_min(0)) + squared((lower - share).clamp_min(0))
        off = (overall or _overall)(used, total, target)
        return squared(off) + reduce(blocks)

    return answer


def _bounds(strict, target, epoch, num_epochs):
    return 1 - strict * (1 - target), strict * target


def _overall(used, total, target):
    return used.sum() / total.sum() - target


def _outside(share, target, epoch, num_epochs):
    upper, lower = _bounds(math.cos(min(epoch / (0.33 * num_epochs), 1) * math.pi / 2) ** 2, target, epoch, num_epochs)
    return (share - upper).clamp_min(0) + (lower - share).clamp_min(0)


def _pulled(share, target, epoch, num_epochs):
    upper, lower = _bounds(math.cos(min(epoch / (0.33 * num_epochs), 1) * math.pi / 2) ** 2, target, epoch, num_epochs)
    return (share - upper) ** 2 + (lower - share) ** 2


PRICE = Exercise(
    price,
    _price_cases,
    {
        "mean of the shares": Mistake(
            _price_with(overall=lambda u, n, t: (u / n).mean() - t),
            "The first term is the mean of the blocks' shares. Large blocks cost more: divide the sum of used by the sum of total.",
        ),
        "no bounds": Mistake(
            lambda u, n, t, e, m: (u.sum() / n.sum() - t).square(),
            "Only the share of all blocks together is there; the bounds of each block are missing.",
        ),
        "bounds only": Mistake(
            _price_with(overall=lambda u, n, t: torch.zeros(())),
            "Only the bounds are there; the share of all blocks together, minus the target, is missing.",
        ),
        "bounds never loosened": Mistake(
            _price_with(bounds=lambda p, t, e, m: (t, t)),
            "Every block is held at the target for ever. The bounds open with the epoch, through p.",
        ),
        "p turned round": Mistake(
            _price_with(bounds=lambda p, t, e, m: _bounds(1 - p, t, e, m)),
            "The bounds are wide at first and close in: p is turned round. Strict first (p = 1), free later (p = 0).",
        ),
        "whole training": Mistake(
            _price_with(bounds=lambda p, t, e, m: _bounds(math.cos(e / m * math.pi / 2) ** 2, t, e, m)),
            "The bounds open over the whole training. They are to be open after its first third: epoch / (0.33 · num_epochs).",
        ),
        "cosine not squared": Mistake(
            _price_with(bounds=_loosened(lambda part: math.cos(min(part, 1) * math.pi / 2))),
            "p is the cosine itself; it is the cosine squared.",
        ),
        "cosine past the end": Mistake(
            _price_with(bounds=_loosened(lambda part: math.cos(part * math.pi / 2) ** 2)),
            "After the first third the cosine comes back, and the bounds close again. Stop at its end: min(…, 1).",
        ),
        "straight line": Mistake(
            _price_with(bounds=_loosened(lambda part: 1 - min(part, 1))),
            "p falls along a straight line; it is the cosine squared.",
        ),
        "no upper bound": Mistake(
            _price_with(bounds=lambda p, t, e, m: (1.0, p * t)),
            "The upper bound is missing: a block that computes too much at first pays nothing.",
        ),
        "root": Mistake(
            lambda u, n, t, e, m: price(u, n, t, e, m).sqrt(),
            "The root of the price was taken. Far off must cost much more than a little off: leave it squared.",
        ),
        "half pi forgotten": Mistake(
            _price_with(bounds=_loosened(lambda part: math.cos(min(part, 1)) ** 2)),
            "p never reaches 0: the cosine is 0 at π / 2. Multiply by it.",
        ),
        "no lower bound": Mistake(
            _price_with(bounds=lambda p, t, e, m: (1 - p * (1 - t), 0.0)),
            "The lower bound is missing: a block that closes altogether at first is not called back.",
        ),
        "not squared": Mistake(
            _price_with(squared=torch.abs),
            "The distances are not squared: far off must cost much more than a little off.",
        ),
        "blocks not squared": Mistake(
            lambda u, n, t, e, m: _overall(u, n, t) ** 2 + _outside(u / n, t, e, m).mean(),
            "What lies outside the bounds was not squared, block by block, before the mean.",
        ),
        "bounds as targets": Mistake(
            lambda u, n, t, e, m: _overall(u, n, t) ** 2 + _pulled(u / n, t, e, m).mean(),
            "Blocks between their bounds pay, too. They are free: cut the distances off at 0 with `clamp_min(0)`.",
        ),
        "a third": Mistake(
            _price_with(bounds=lambda p, t, e, m: _bounds(math.cos(min(3 * e / m, 1) * math.pi / 2) ** 2, t, e, m)),
            "The first third is written as 1 / 3; here it is 0.33: epoch / (0.33 · num_epochs).",
        ),
        "summed over blocks": Mistake(
            _price_with(reduce=torch.sum),
            "The blocks' terms are added up, so a deeper net pays more for the same. Take their mean.",
        ),
    },
)

EXERCISES = {"09.hard_gate": HARD_GATE, "09.dilate": DILATE, "09.price": PRICE}

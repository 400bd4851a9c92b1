"""The kernel of a linear map, read from its responses: slabs say how far it reaches, impulses what it weighs with."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..native.definition import CONVS, per_channel
from .behaviour import Behaviour, difference, random_images, window
from .calls import AT_ONCE, Subject

__all__: list[str] = []

FURTHEST, LINES, IMPULSES = 16, 64, 1024  # pixels of a shift; positions along an axis; impulses at most
FRAME = 2  # outputs along a border that may differ
CHANNELS = 512  # impulses up to which each channel gets its own; else a few random mixtures of channels do


@dataclass(eq=False)
class Axis:
    """Along one axis, output ``o`` of ``first`` … ``last`` reads inputs ``start + o·stride`` … for ``size`` of them."""

    size: int
    stride: int
    start: int
    first: int
    last: int

    def inputs(self) -> slice:
        return slice(self.start + self.first * self.stride, self.start + self.last * self.stride + self.size)

    def within(self, frame: int) -> Axis:
        """The same without so many outputs along the border."""
        return replace(self, first=self.first + frame, last=self.last - frame)

    def impulses(self, length: int) -> list[tuple[int, dict[int, int]]]:
        """Fewest inputs by whose responses every tap is seen: for each, which output shows which tap."""
        needed, found = set(range(self.size)), []
        for t in sorted(range(length), key=lambda t: abs(t - length // 2)):
            taps = {o: t - self.start - o * self.stride for o in range(self.first, self.last + 1)}
            new = {o: tap for o, tap in taps.items() if tap in needed}
            if new:
                found.append((t, new))
                needed -= set(new.values())
        return found


@dataclass(eq=False)
class Convolution:
    """A convolution read from responses, on the outputs whose windows lie inside the image.

    Attributes:
        axes: its geometry; weight: (O, C, *kernel), or of m mixtures of channels, given by mixtures (m, C).
        error: on random images; offset: by how much what is added differs from position to position.
    """

    axes: list[Axis]
    weight: Tensor
    bias: Tensor
    mixtures: Tensor | None
    error: float
    offset: float

    def inside(self, y: Tensor) -> Tensor:
        return window(y, [slice(a.first, a.last + 1) for a in self.axes])

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C or m, *S) → the interior of the output, in float64 without the bias."""
        seen = window(x, [a.inputs() for a in self.axes]).to(self.weight)
        out: Tensor = CONVS[len(self.axes)](seen, self.weight, stride=tuple(a.stride for a in self.axes))
        return out


class Linear:
    """The linear part of a function whose affinity has been established."""

    def __init__(self, subject: Subject, found: Behaviour) -> None:
        self.subject, self.zero = subject, found.zero[:1].double() if found.zero is not None else found.y[:1].double()
        self.like, self.exact = found.few, found.exact

    def __call__(self, x: Tensor) -> Tensor:
        """In float64, whatever number of images."""
        size = max(AT_ONCE, len(self.like))
        parts = [self.subject(self._filled(part.to(self.like)))[: len(part)].double() for part in torch.split(x, size)]
        return torch.cat(parts) - self.zero

    def _filled(self, x: Tensor) -> Tensor:
        """At least two images, for functions that want a batch."""
        return x if len(x) > 1 else torch.cat([x, torch.zeros_like(x)])

    def noise(self, images: int, seed: int) -> Tensor:
        return random_images(self.like[:1].expand(images, *self.like.shape[1:]), seed)

    def axis(self, i: int, outputs: int) -> Axis | None:
        """Geometry along axis i, from slabs: images that are empty but for one row; None if no plain convolution has it."""
        length, noise = self.like.shape[2 + i], self.noise(1, 6 + i)
        if outputs == 1:
            return Axis(1, 1, 0, 0, 0) if length == 1 else None
        begin = max(0, length // 2 - LINES // 2)
        rows = range(begin, min(length, begin + LINES))
        slabs = torch.zeros(len(rows), *noise.shape[1:], dtype=noise.dtype, device=noise.device)
        for k, t in enumerate(rows):
            slabs[k].select(1 + i, t).copy_(noise[0].select(1 + i, t))
        answers = self(slabs).movedim(2 + i, 1).flatten(2).norm(dim=2)  # (rows, outputs)
        seen = (answers > self.exact * answers.max()).cpu()
        read = [begin + column.nonzero()[:, 0] for column in seen.T]  # by each output
        reach = [(int(r[0]), int(r[-1])) if len(r) else None for r in read]
        return _axis(reach, rows, length)

    def convolution(self, y: Tensor) -> Convolution | str:
        """The convolution it is, away from the border; or why it is none."""
        axes = [self.axis(i, size) for i, size in enumerate(y.shape[2:])]
        known = [a for a in axes if a is not None]
        if len(known) < len(axes):
            return "moves"
        if any(
            a.size >= s > 1 or a.last == a.first < m - 1
            for a, s, m in zip(known, self.like.shape[2:], y.shape[2:], strict=True)
        ):
            return "large"
        points = [a.impulses(s) for a, s in zip(known, self.like.shape[2:], strict=True)]
        each, channels = math.prod(map(len, points)), self.like.shape[1]
        if each > IMPULSES:
            return "large"
        mixtures = None if each * channels <= CHANNELS else _mixtures(max(1, CHANNELS // each), channels).to(self.like)
        found = self._read(known, points, mixtures)
        noise = _normal((4, found.weight.shape[1], *self.like.shape[2:]), 9).to(self.like)
        whole = noise if mixtures is None else torch.einsum("bm...,mc->bc...", noise, mixtures)
        answers = self(whole)
        self._measure(found, noise, answers)
        if found.error > self.exact:  # what pads, folds or counts may spoil a few rows more
            found.axes = [a.within(FRAME if m > 6 * FRAME else 0) for a, m in zip(known, y.shape[2:], strict=True)]
            self._measure(found, noise, answers)
        return found

    def _measure(self, found: Convolution, noise: Tensor, answers: Tensor) -> None:
        answer = found.inside(answers)
        found.error = difference(found(noise), answer, found.bias.norm().item())
        spread = found.inside(self.zero) - per_channel(found.bias, self.zero)
        found.offset = spread.abs().max().item() / (answer.abs().mean() + found.bias.abs().mean()).item()

    def _read(
        self, axes: list[Axis], points: list[list[tuple[int, dict[int, int]]]], mixtures: Tensor | None
    ) -> Convolution:
        basis = self.like.new_ones(self.like.shape[1]).diag() if mixtures is None else mixtures  # (m, C)
        weight = self.like.new_zeros(0)
        for point in itertools.product(*points):
            impulses = torch.zeros(len(basis), *self.like.shape[1:], dtype=self.like.dtype, device=self.like.device)
            window(impulses, [slice(t, t + 1) for t, _ in point])[...] = basis.reshape(*basis.shape, *(1,) * len(axes))
            answer = self(impulses)  # (m, O, *S')
            if not len(weight):
                weight = answer.new_zeros(answer.shape[1], len(basis), *(a.size for a in axes))
            for pairs in itertools.product(*(shown.items() for _, shown in point)):
                window(weight, [tap for _, tap in pairs])[...] = window(answer, [o for o, _ in pairs]).T
        zero = window(self.zero[0], [(a.first + a.last + 1) // 2 for a in axes])
        return Convolution(axes, weight, zero, mixtures, 0.0, 0.0)

    def shifts(self, y: Tensor) -> list[tuple[int, int]] | None:
        """For each axis (a, b): the image moved by a moves the output by b; None if along one axis no a and b do."""
        found = [self._shift(i, length, y.shape[2 + i]) for i, length in enumerate(self.like.shape[2:])]
        told = [pair for pair in found if pair is not None]
        return told if len(told) == len(found) else None

    def _shift(self, i: int, length: int, outputs: int) -> tuple[int, int] | None:
        if length == outputs == 1:
            return 1, 1
        third = max(1, length // 3)
        content = self.noise(1, 13).narrow(2 + i, 0, third)
        shifts = [s for s in range(min(5, length - 2 * third)) for s in ([s, 2 * s] if s else [0])]
        images = self.like.new_zeros(len(shifts), *self.like.shape[1:])
        for image, s in zip(images, shifts, strict=True):
            image.narrow(1 + i, min(third + s, length - third), third).copy_(content[0])
        answers = dict(zip(shifts, self(images).movedim(2 + i, -1), strict=True))
        for a, b in itertools.product(range(1, 5), range(1, FURTHEST + 1)):
            if a in answers and all(
                self._moved(answers[0], answers[k * a], k * b) for k in (1, 2) if third + k * a <= length - third
            ):
                return a, b
        return None

    def _moved(self, still: Tensor, moved: Tensor, b: int) -> bool:
        if b >= still.shape[-1]:
            return False
        one, other = still[..., :-b], moved[..., b:]
        seen = other.norm() > 0.5 * moved.norm() and one.norm() > 0.5 * still.norm()
        return bool(seen) and difference(one, other) <= 4 * self.exact

    def circular(self, y: Tensor) -> float:
        """How far rolling the images differs from rolling the outputs."""
        if y.shape[2:] != self.like.shape[2:]:
            return math.inf
        x, dims = self.noise(2, 14), tuple(range(2, y.ndim))
        steps = [size // 3 + 1 for size in y.shape[2:]]
        return difference(self(x.roll(steps, dims)), self(x).roll(steps, dims))


def _axis(reach: list[tuple[int, int] | None], rows: range, length: int) -> Axis | None:
    """Windows as at the middle, at equal steps, inside the rows that were looked at; whether they are so is tested later."""
    middle = len(reach) // 2
    here, before = reach[middle], reach[middle - 1]
    if here is None or before is None:
        return None
    size, stride = here[1] - here[0] + 1, here[0] - before[0]
    if size >= length:
        return Axis(size, 1, 0, middle, middle)
    if stride < 1:
        return None
    start = here[0] - middle * stride
    first = max(0, -(-(rows[0] - start) // stride))
    last = min(len(reach) - 1, (rows[-1] + 1 - size - start) // stride)
    return Axis(size, stride, start, first, last)


def _mixtures(number: int, channels: int) -> Tensor:
    return _normal((min(number, channels, FURTHEST), channels), 8) / math.sqrt(channels)


def _normal(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator(device="cpu").manual_seed(seed), device="cpu")

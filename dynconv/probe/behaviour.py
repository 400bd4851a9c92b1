"""What a function does, found by calling it: is it the same each time, image by image, linear?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .calls import Subject
from .tracing import Trace, trace

__all__: list[str] = []

FEW = 8  # images that are enough for a test
FACTORS = (-1.0, 20.0, 3000.0, 0.5, -300.0, 2.0, -0.3, 1.5)  # of the mixtures, one an image


@dataclass(eq=False)
class Behaviour:
    """What was measured; every number is a difference relative to the output, None where the function refused to answer.

    Attributes:
        exact: what counts as none, by the coarsest number format met on the way.
        y: the batch's output; few: its first images; zero: the output for empty images; gain: of the linear part.
        again: between two calls; neighbours: when the other images of the batch are replaced.
        line: from a line through two images of the batch; beyond: from lines through random ones, far to both sides.
        runs: looked into, on the batch, on random images, and on some of these before and after they moved.
        follows: between these last two, the first one's output moved with its image and the other's; inside, if it can move.
    """

    exact: float
    y: Tensor
    few: Tensor
    zero: Tensor | None
    again: float
    neighbours: float | None
    line: float | None
    beyond: float | None
    runs: list[Trace | None]
    follows: float | None

    @property
    def clear(self) -> float:
        """From here on a difference is one; between this and ``exact`` it may be rounding."""
        return 4 * self.exact

    @property
    def random(self) -> bool:
        return self.again > self.clear

    @property
    def entangled(self) -> bool:
        return self.neighbours is not None and self.neighbours > self.clear

    @property
    def affine(self) -> bool | None:
        """True or False if that is beyond rounding."""
        if any(e is not None and e > self.clear for e in (self.line, self.beyond)):
            return False
        defined = self.zero is not None and bool(self.zero.isfinite().all())
        return (
            True if defined and self.beyond is not None and max(self.beyond, self.line or 0.0) <= self.exact else None
        )


def observe(subject: Subject) -> Behaviour:
    y, few = subject.first(), subject.batch[:FEW]
    noise = random_images(few, 1)
    here, there = _canvas(random_images(few, 2))
    runs = [trace(subject, x) for x in (few, noise, here, there)]
    seen = [run[0] if run is not None else None for run in runs]
    if seen[0] is not None and seen[0].unbatched:
        raise ValueError(f"the batch dimension is missing: {tuple(subject.batch.shape)} was taken for one image")
    eps = [torch.finfo(t.dtype).eps for t in (few, y)] + [run.eps for run in seen if run is not None]
    exact = tolerance(max(eps))
    again = difference(runs[0][1] if runs[0] is not None else subject(few), y[: len(few)])
    found = Behaviour(exact, y, few, None, again, _neighbours(subject, y), None, None, seen, None)
    if runs[2] is not None and runs[3] is not None:
        found.follows = _follows(runs[2][1], runs[3][1], few)
    if not found.random and not found.entangled:
        _straight(subject, found, Line(noise, runs[1][1] if runs[1] is not None else subject.attempt(noise)))
    return found


def tolerance(eps: float) -> float:
    """Halves are rounded where they are stored, a few times over; float32 and 64 wherever terms add up."""
    return 16 * eps if eps > 1e-4 else (200 * eps if eps > 1e-10 else 1e5 * eps)


def difference(one: Tensor, other: Tensor, scale: float = 0.0) -> float:
    """Norm of the difference, relative to that of ``other`` (or to ``scale`` if that is larger)."""
    size = max(other.double().norm().item(), scale, 1e-300)
    return (one.double() - other.double()).norm().item() / size if one.shape == other.shape else float("inf")


def window(x: Tensor, places: Sequence[slice | int]) -> Tensor:
    """These along the last axes."""
    index = (..., *places)
    return x[index]


def random_images(like: Tensor, seed: int) -> Tensor:
    """Noise of size 1, in each image and channel about another mean: what is global differs between them, too."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    shape = tuple(like.shape)
    noise = torch.randn(shape, generator=generator, device="cpu")
    mean = torch.randn((*shape[:2], *(1,) * (like.ndim - 2)), generator=generator, device="cpu")
    size = 0.5 + torch.rand((shape[0], *(1,) * (like.ndim - 1)), generator=generator, device="cpu")
    return ((noise + mean) * size).to(like)


def _follows(here: Tensor, there: Tensor, x: Tensor) -> float | None:
    """How far moving the output is from moving the image, by the canvas' steps, without an eighth along each border."""
    if here.ndim != x.ndim:
        return None
    steps = [min(8, x.shape[axis] // 4) if axis in (2, x.ndim - 1) else 0 for axis in range(2, x.ndim)]
    scaled = [s * m / n for s, n, m in zip(steps, x.shape[2:], here.shape[2:], strict=True)]
    if any(s % 1 for s in scaled) or not all(steps[i] for i in (0, -1)):
        return None
    moved = here.roll([int(s) for s in scaled], tuple(range(2, x.ndim)))
    eighths = [-(-m // 8) for m in here.shape[2:]]
    inside = [slice(e, -e) for e in eighths]
    return difference(window(moved, inside), window(there, inside))


def _canvas(noise: Tensor) -> tuple[Tensor, Tensor]:
    """Images with something in their middle only, and the same ones with that moved along the first and last axis."""
    mask = torch.zeros(noise.shape[2:], device=noise.device, dtype=noise.dtype)
    mask[tuple(slice(size // 4, max(size // 2, size // 4 + 1)) for size in noise.shape[2:])] = 1
    here = noise * mask
    axes = sorted({2, noise.ndim - 1})
    return here, here.roll([min(8, noise.shape[axis] // 4) for axis in axes], axes)


def _neighbours(subject: Subject, y: Tensor) -> float | None:
    """The first images once more, now last in a batch of brighter, then of darker ones: it is no business of theirs."""
    own = max(1, len(y) // 2)
    noise, size = random_images(subject.batch[own:], 3), subject.batch.double().abs().max().item() or 1.0
    changes = []
    for sign in (1, -1):
        others = (noise.double() * size / 4 + sign * size).to(noise)
        out = subject.attempt(torch.cat([others, subject.batch[:own]])) if others.isfinite().all() else None
        if out is not None:
            changes.append(difference(out[-own:], y[:own], y.double().norm().item() * (own / len(y)) ** 0.5))
    return max(changes, default=None)


def reaching(few: Tensor) -> Tensor:
    """A factor for each image, as far as the number format allows."""
    most = 20 if torch.finfo(few.dtype).max < 1e5 else 1e9
    steps = torch.tensor([a for a in FACTORS if abs(a) <= most], device="cpu")
    return steps.repeat(1 + len(few) // len(steps))[: len(few)]


@dataclass(eq=False)
class Line:
    """Images to begin a line with, and the function's output for them."""

    x: Tensor
    y: Tensor | None


def _straight(subject: Subject, found: Behaviour, noise: Line) -> None:
    """Along lines through two images of the batch; if straight, far along others, and near those of the batch's size."""
    few = found.few
    batch = Line(few, found.y[: len(few)])
    another = Line(few.roll(1, 0), found.y[: len(few)].roll(1, 0))
    found.line = _bent(subject, batch, another, torch.full((len(few),), 0.5, device=few.device))
    if found.affine is False:
        return
    found.zero = subject.attempt(torch.zeros_like(few))
    steps, own = reaching(few), few.double().std().item()
    x = random_images(few, 4)
    other = Line(x, subject.attempt(x))
    errors = [_bent(subject, noise, other, s) for s in (steps, steps.roll(3))]
    if own > 0:
        x = (random_images(few, 5).double() * own).to(few)
        errors.append(_bent(subject, batch, Line(x, subject.attempt(x)), steps.clamp(-1, 2)))
    told = [e for e in errors if e is not None]
    if len(told) == len(errors) or max(told, default=0.0) > found.clear:
        found.beyond = max(told)


def _bent(subject: Subject, one: Line, other: Line, steps: Tensor) -> float | None:
    """How far f(a·u + (1 - a)·v) is from a·f(u) + (1 - a)·f(v), relative to what rounding can grow with."""
    a = steps.to(one.x.device).double().reshape(-1, *(1,) * (one.x.ndim - 1))
    mixed = (a * one.x.double() + (1 - a) * other.x.double()).to(one.x)
    middle = subject.attempt(mixed) if mixed.isfinite().all() else None
    if middle is None or one.y is None or other.y is None:
        return None
    a = a.flatten()[:, None]
    u, v, m, f, g, h = (t.double().flatten(1) for t in (one.x, other.x, mixed, one.y, other.y, middle))
    gain = (f.norm() / u.norm().clamp_min(1e-300)).maximum(g.norm() / v.norm().clamp_min(1e-300))
    sizes = (a * f).norm(dim=1) + ((1 - a) * g).norm(dim=1) + f.norm(dim=1) + gain * (m.norm(dim=1) + u.norm(dim=1))
    errors = (h - a * f - (1 - a) * g).norm(dim=1) / sizes.clamp_min(1e-300)
    errors = errors[errors.isfinite()]
    return errors.max().item() if len(errors) else None

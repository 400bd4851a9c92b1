"""The weights that can be seen: recorded from our layers, named by the user, or found among a run's products."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .behaviour import Behaviour, difference, random_images
from .calls import Subject
from .hooks import as_rows, hooked, select
from .intervention import intervene
from .recording import record
from .tracing import Factor, factors, local, swappable, trace

__all__: list[str] = []

INTERVENTIONS = ("uniform", "argmax", "shuffled", "frozen")

Named = Callable[..., Tensor | Mapping[str, Tensor]]


@dataclass(eq=False)
class Weights:
    """What was seen, and measured of it.

    Attributes:
        names: of each set, its kind and shape; declared: they are the layers' or the user's own, not found.
        vary: they depend on the image; local: they differ between the positions of an image; None where neither is known.
        convex: positive with sum one; image_variation … position_variation: as in Verdict.
        others: what else depends on the image and multiplies; None if the run could not be looked into.
        matter: whether another image's weights change the output; interventions: by how much, by mode.
    """

    names: list[str] = field(default_factory=list)
    declared: bool = False
    vary: bool = False
    local: bool | None = False
    convex: bool | None = None
    image_variation: float | None = None
    image_gradient: float | None = None
    position_variation: float | None = None
    others: list[str] | None = None
    matter: bool = False
    interventions: dict[str, float] = field(default_factory=dict)


def look(subject: Subject, found: Behaviour, named: Named | None) -> Weights:
    """All that can be seen of what the subject weighs with."""
    seen = Weights()
    own = _named(subject, found, seen, named) if named is not None else _recorded(subject, found, seen)
    run, other = found.runs[:2]
    inside = factors(run, other, *found.runs[2:]) if run is not None and other is not None else None
    if inside is not None:
        _found(subject, found, seen, [f for f in inside if not any(_same_values(f.product.weight, w) for w in own)])
    return seen


# ---------------------------------------------------------------------------------------------------------- declared


def _recorded(subject: Subject, found: Behaviour, seen: Weights) -> list[Tensor]:
    """Those of the layers that say what they weigh with."""
    if subject.module is None or not select(subject.module):
        return []
    with record(subject.module) as here:
        subject(subject.batch)
    records = [r for r in here.values() if r.batches]
    if not records:
        return []
    seen.names = [f"{r.name} over {r.over} {tuple(r.weights.shape)}" for r in records]
    sets = {r.name: (r.weights, r.batched, r.over) for r in records}
    _declare(seen, found, sets)
    if not seen.vary:  # nor by images that differ more
        with record(subject.module) as elsewhere:
            subject.attempt(random_images(found.few, 1))
        seen.vary = any(r.batched and variation(r.weights, 0) > found.exact for r in elsewhere.values() if r.batches)
    seen.image_gradient = image_gradient(subject.module, subject.batch)
    seen.vary |= seen.image_gradient > found.exact
    if not found.random:
        _intervene(subject, found, seen)
    return [w[: len(found.few)] if batched else w for w, batched, _ in sets.values()]


def _named(subject: Subject, found: Behaviour, seen: Weights, named: Named) -> list[Tensor]:
    """Those that the user points at."""

    def ask(x: Tensor) -> dict[str, Tensor]:
        given = named(subject.function, x.clone())
        sets = dict(given) if isinstance(given, Mapping) else {"weights": given}
        for name, w in sets.items():
            if not isinstance(w, Tensor) or not w.is_floating_point() or not w.numel():
                raise TypeError(
                    f"weights must return a floating point tensor (or a dict of them), got {name}: {type(w)}"
                )
        return {name: w.detach() for name, w in sets.items()}

    given = ask(subject.batch)
    seen.names = [f"{name} {tuple(w.shape)}, named by you" for name, w in given.items()]
    sets = {}
    for name, w in given.items():
        follows = w.ndim == subject.batch.ndim and math.prod(w.shape[2:]) > 1
        sets[name] = (w, w.shape[:1] == subject.batch.shape[:1], "positions" if follows else "")
    _declare(seen, found, sets)
    elsewhere = ask(random_images(found.few, 1)).values()
    seen.vary |= any(w.shape[:1] == found.few.shape[:1] and variation(w, 0) > found.exact for w in elsewhere)
    return [w[: len(found.few)] if batched else w for w, batched, _ in sets.values()]


def _declare(seen: Weights, found: Behaviour, sets: dict[str, tuple[Tensor, bool, str]]) -> None:
    """``sets``: weights, whether the first axis is the image, what they belong to."""
    exact = found.exact
    seen.declared = True
    seen.image_variation = max(variation(w, 0) if batched else 0.0 for w, batched, _ in sets.values())
    seen.vary = seen.image_variation > exact
    placed = [variation(w.flatten(2), -1) for w, _, over in sets.values() if over == "positions"]
    seen.position_variation = max(placed, default=0.0)  # weights over anything else have no position
    seen.local = seen.position_variation > exact
    seen.convex = all(_convex(as_rows(w, over, batched), exact) for w, batched, over in sets.values())


def variation(weights: Tensor, axis: int) -> float:
    """Largest standard deviation along an axis, over the largest weight."""
    values = weights.double()
    return (values.std(axis, correction=0).max() / values.abs().max().clamp_min(1e-300)).item()


def _convex(rows: Tensor, exact: float) -> bool:
    return bool((rows >= 0).all() and ((rows.double().sum(1) - 1).abs() <= 4 * exact).all())


def image_gradient(module: nn.Module, batch: Tensor) -> float:
    """‖d (v · weights) / d image‖ · ‖image‖ / ‖weights‖ for a random unit v, on average over the images.

    A hard gate's gradient is zero: that it depends on the image shows in its variation.
    """
    x = batch.detach().clone().requires_grad_()
    kept: list[Tensor] = []
    with torch.enable_grad(), hooked(select(module), lambda name: lambda m, args, weights: kept.append(weights)):
        module(x.clone())
    generator, total = torch.Generator(device="cpu").manual_seed(0), x.new_zeros(())
    squares = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for weights in kept:
        # one for all images
        direction = torch.randn((1, *weights.shape[1:]), generator=generator, device="cpu").to(weights)
        total = total + (weights * direction / direction.norm()).sum()
        own = weights.detach().double().square()
        squares += own.reshape(len(x), -1).sum(1) if len(own) == len(x) else own.sum()
    gradient = torch.autograd.grad(total, x, allow_unused=True)[0] if total.requires_grad else None
    if gradient is None:
        return 0.0
    norms = [t.detach().double().flatten(1).norm(dim=1) for t in (gradient, x)]
    return float((norms[0] * norms[1] / squares.sqrt().clamp_min(1e-300)).mean())


def _intervene(subject: Subject, found: Behaviour, seen: Weights) -> None:
    for mode in INTERVENTIONS:
        try:
            with intervene(subject.module, mode):  # type: ignore[arg-type]
                seen.interventions[mode] = difference(subject(subject.batch), found.y)
        except ValueError:  # a layer that sees one row for all images has nothing to shuffle
            continue


# ------------------------------------------------------------------------------------------------------------- found


def _found(subject: Subject, found: Behaviour, seen: Weights, inside: list[Factor]) -> None:
    """Add what was seen in the run to what was declared."""
    images = len(found.few)
    squashed = [f for f in inside if f.product.kind in ("softmax", "sigmoid")]
    varying = [f for f in inside if f.varies]
    seen.others = [_describe(f) for f in varying if seen.declared or f not in squashed]
    seen.matter = _matters(subject, found, seen, varying, images)
    if not seen.declared and squashed:
        seen.names = [_describe(f) for f in squashed]
        seen.image_variation = max(_variation(f, images) for f in squashed)
        seen.vary = any(f.varies for f in squashed)
        seen.convex = all(f.product.kind == "softmax" for f in squashed)
    run = found.runs[0]
    assert run is not None
    places = [local(f, run.positions, images) for f in (inside if not seen.declared else varying)]
    seen.local = True if seen.local or any(p for p in places) else None if None in places else False


def _matters(subject: Subject, found: Behaviour, seen: Weights, varying: list[Factor], images: int) -> bool:
    """Whether the output changes when each image gets the factors of another."""
    if found.random or not varying:
        return False
    numbers = frozenset(f.number for f in varying if swappable(f, images))
    swapped = trace(subject, found.few, numbers) if numbers else None
    change = difference(swapped[1], found.y[: len(found.few)]) if swapped is not None else 0.0
    if swapped is not None and not seen.declared:
        seen.interventions["shuffled"] = change
    return change > found.clear or len(numbers) < len(varying) or swapped is None


def _describe(factor: Factor) -> str:
    p = factor.product
    what = {"norm": f"a division in {p.operation}", "": f"a factor of {p.operation.strip('_')}"}.get(p.kind, p.kind)
    return f"{p.module + ': ' if p.module else ''}{what} {tuple(p.weight.shape)}"


def _variation(factor: Factor, images: int) -> float:
    weight = factor.product.weight
    if not factor.varies or not weight.ndim or len(weight) % images:
        return 0.0
    return variation(weight.reshape(images, -1), 0)


def _same_values(one: Tensor, other: Tensor) -> bool:
    return one.numel() == other.numel() and torch.equal(one.flatten(), other.flatten().to(one))

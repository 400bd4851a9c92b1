"""The verdict: is it dynamic, is it attention, does it fold? Answered by measuring, for any module or function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape

import torch
from torch import Tensor, nn

from .fit import EXACT, fit_errors, relative_error
from .hooks import hooked, select
from .intervention import intervene
from .recording import record

__all__ = ["Verdict", "verdict"]

INTERVENTIONS = ("uniform", "argmax", "shuffled", "frozen")


@dataclass(frozen=True)
class Verdict:
    """What :func:`verdict` measured. None means that the question does not arise, or that the batch cannot tell.

    Example:
        >>> import torch
        >>> found = verdict(torch.nn.Conv2d(2, 3, 3), torch.randn(4, 2, 16, 16))
        >>> found.folds, found.fold_error < 1e-5, found.convex
        (True, True, None)

    Attributes:
        name: what was looked at.
        weights: name, kind and shape of each set of weights that was recorded.
        same_for_every_image, same_at_every_position, convex, folds: the answers.
        image_variation: largest standard deviation of a weight across images, over the largest weight.
        image_gradient: norm of d weights / d image, times the image's norm, over the norm of the weights.
        position_variation: largest standard deviation of a weight across positions of an image, over the largest weight.
        fold_error: error of the best single convolution for all images, over the output's norm.
        image_fit_error: the same with a convolution for each image, the worst of them.
        interventions: relative change of the output when the weights are replaced, by mode.
    """

    name: str
    weights: tuple[str, ...] = ()
    same_for_every_image: bool | None = None
    same_at_every_position: bool | None = None
    convex: bool | None = None
    folds: bool | None = None
    image_variation: float | None = None
    image_gradient: float | None = None
    position_variation: float | None = None
    fold_error: float | None = None
    image_fit_error: float | None = None
    interventions: dict[str, float] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, str, str]]:
        """(question, answer, what was measured)."""
        varies = _said(self.image_variation, "varies across images by {:.2g}")
        gradient = _said(self.image_gradient, "gradient from the image {:.2g}")
        together = _said(self.fold_error, "the best convolution is off by {:.2g}")
        alone = _said(self.image_fit_error, "one for each image by {:.2g}")
        rows = [
            ("weights", ", ".join(self.weights) or "none to be seen", ""),
            (
                "the same for every image?",
                _answer(self.same_for_every_image),
                "; ".join(filter(None, (varies, gradient))),
            ),
            (
                "the same at every position?",
                _answer(self.same_at_every_position),
                _said(self.position_variation, "varies across positions by {:.2g}"),
            ),
            ("convex (positive, sum to 1)?", _answer(self.convex), ""),
            (
                "folds into one plain conv?",
                _answer(self.folds),
                "; ".join(filter(None, (together, alone))),
            ),
        ]
        return rows + [
            (f"output when weights are {m}", f"changes by {c:.2g}", "") for m, c in self.interventions.items()
        ]

    def __repr__(self) -> str:
        width = max(len(question) for question, _, _ in self.rows())
        lines = [f"  {q:<{width}}  {a}" + (f"  ({m})" if m else "") for q, a, m in self.rows()]
        return "\n".join([f"Verdict on {self.name}", *lines])

    def _repr_html_(self) -> str:
        cells = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(q)}</th><td style="text-align:left"><b>{escape(a)}</b></td>'
            f'<td style="text-align:left">{escape(m)}</td></tr>'
            for q, a, m in self.rows()
        )
        return f"<table><caption>Verdict on {escape(self.name)}</caption><tbody>{cells}</tbody></table>"


def _answer(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "no"


def _said(value: float | None, sentence: str) -> str:
    return "" if value is None else sentence.format(value)


def verdict(
    function: nn.Module | Callable[[Tensor], Tensor], batch: Tensor, *, kernel_size: int | None = None
) -> Verdict:
    r"""Measure what makes ``function`` dynamic, if anything does.

    Reference: the table of answers to https://ai.stackexchange.com/questions/34748

    - *Image*: do the recorded weights differ between the images, and does their gradient with respect to the image vanish?
    - *Position*: do they differ between the positions of one image?
    - *Convex*: are they positive with sum one (over kernels, classes or channels)?
    - *Fold*: the best convolution in the sense of least squares, from all images together; how far off is it?
    - *Intervention*: how much does the output change when the weights are replaced (:func:`intervene`)?

    A function that shows no weights is judged by its behaviour: if one convolution explains all images, everything about
    it is static; if each image needs one of its own, it depends on the image; if not even that fits, on the position.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d, StaticMixConv2d
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(6, 2, 16, 16)
        >>> verdict(StaticMixConv2d(2, 3, 3), x).folds, verdict(DynamicConv2d(2, 3, 3, temperature=0.1), x).folds
        (True, False)

    Args:
        function: from images (B, C, *S) to a tensor, or to a tuple of which the first is meant. Left in its mode and without
            hooks; measured in eval mode.
        batch: (B, C, *S) with B of at least 2, images that differ.
        kernel_size: of the convolution that is fitted; None takes the module's own, or tries 1, 3, 5 and 7.

    Raises:
        ValueError: fewer than 2 images, or one that holds NaN or infinity; TypeError: they are no floating point tensor.
    """
    if not isinstance(batch, Tensor):
        raise TypeError(f"batch must be a tensor, got {type(batch).__name__}")
    if batch.ndim < 3 or len(batch) < 2:
        raise ValueError(f"batch must hold at least 2 images (B, C, *spatial), got {tuple(batch.shape)}")
    if not batch.is_floating_point():
        raise TypeError(f"batch must be floating point, got {batch.dtype}")
    if batch.device.type != "meta" and not batch.isfinite().all():
        raise ValueError(f"batch must be finite, got {int((~batch.isfinite()).sum())} values that are NaN or infinite")
    name = type(function).__name__ if isinstance(function, nn.Module) else getattr(function, "__name__", "function")
    module = function if isinstance(function, nn.Module) else None
    with _evaluating(module):
        y = _first(function(batch)).detach()
        together, alone = fit_errors(function, module, batch, y, kernel_size)
        facts = {"fold_error": together, "image_fit_error": alone, "folds": _small(together)}
        shown = _look_at_weights(module, batch) if module is not None else {}
        facts |= shown or _behaviour(together, alone)
        if shown:
            facts["interventions"] = _interventions(module, batch, y)
    if y.ndim < 3:  # no positions: nothing to be the same at, nothing to fold
        facts |= {"same_at_every_position": None, "position_variation": None}
    return Verdict(name, **facts)


@contextmanager
def _evaluating(module: nn.Module | None) -> Iterator[None]:
    """Eval mode, and every submodule back in its own mode afterwards."""
    modes = {} if module is None else {m: m.training for m in module.modules()}
    if module is not None:
        module.eval()
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training


def _first(output) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def _small(error: float | None) -> bool | None:
    return None if error is None else error < EXACT


# -------------------------------------------------------------------------------------------------------- the weights


def _look_at_weights(module: nn.Module, batch: Tensor) -> dict:
    with torch.no_grad(), record(module) as seen:
        module(batch)
    records = [r for r in seen.values() if r.batches]
    if not records:
        return {}
    variation = max(_image_variation(r) for r in records)
    gradient = _image_gradient(module, batch)
    positions = [_position_variation(r) for r in records if r.over == "positions"]
    return {
        "weights": tuple(f"{r.name} over {r.over} {tuple(r.weights.shape)}" for r in records),
        "image_variation": variation,
        "image_gradient": gradient,
        "same_for_every_image": variation < EXACT and gradient < EXACT,
        "position_variation": max(positions, default=0.0),  # weights over anything else have no position
        "same_at_every_position": max(positions, default=0.0) < EXACT,
        "convex": all(_convex(r) for r in records),
    }


def _image_variation(record) -> float:
    if not record.batched:
        return 0.0  # one set of weights was used for all of them
    weights = record.weights.double()
    return (weights.std(0, correction=0).max() / weights.abs().max().clamp_min(1e-30)).item()


def _position_variation(record) -> float:
    weights = record.weights.double().flatten(2)  # (N, 1, positions)
    return (weights.std(-1, correction=0).max() / weights.abs().max().clamp_min(1e-30)).item()


def _convex(record) -> bool:
    rows = record.weights.flatten(1) if record.batched else record.weights.reshape(-1, record.weights.shape[-1])
    return bool((rows >= 0).all() and ((rows.sum(1) - 1).abs() < EXACT).all())


def _image_gradient(module: nn.Module, batch: Tensor) -> float:
    """‖d (Σ v·weights) / d image‖ for a random v, made free of units. A hard gate's gradient is zero: variance tells then."""
    x = batch.detach().clone().requires_grad_()
    kept: list[Tensor] = []
    with torch.enable_grad(), hooked(select(module), lambda name: lambda m, args, weights: kept.append(weights)):
        module(x)
    generator, norm, total = torch.Generator().manual_seed(0), 0.0, x.new_zeros(())
    for weights in kept:
        direction = torch.randn(weights.shape, generator=generator).to(weights)
        total = total + (weights * direction).sum()
        norm += weights.detach().square().sum().item()
    if not total.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad(total, x, allow_unused=True)
    return 0.0 if gradient is None else ((gradient.norm() * x.norm()).item() / math.sqrt(norm or 1.0)) / len(x)


def _interventions(module: nn.Module, batch: Tensor, y: Tensor) -> dict[str, float]:
    changes = {}
    for mode in INTERVENTIONS:
        with torch.no_grad(), intervene(module, mode):
            changes[mode] = relative_error(_first(module(batch)) - y, y)
    return changes


# ------------------------------------------------------------------------------------------------------ the behaviour


def _behaviour(together: float | None, alone: float | None) -> dict:
    """What the fits say about a function that shows no weights."""
    if together is not None and together < EXACT:
        return {"same_for_every_image": True, "same_at_every_position": True}
    if alone is None:
        return {}
    position = alone < EXACT
    # if no convolution fits even one image, whether images differ besides cannot be told from outside
    return {
        "same_for_every_image": False if position else None,
        "same_at_every_position": position,
    }

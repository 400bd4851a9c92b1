"""The verdict: is it dynamic, is it attention, does it fold? Answered by measuring, for any module or function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from .answers import NOTHING, Answer, apart, folded, folds, of_linear, same_at_every_position, same_for_every_image
from .behaviour import Behaviour, observe, random_images, reaching
from .calls import Subject, undisturbed
from .fit import Fit, best_fit, fit_one, geometries
from .pictures import table
from .weights import Weights, look

__all__ = ["Answer", "Verdict", "verdict"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """What :func:`verdict` measured. Each answer is yes, no, or open with its reason; True, False or None as a number.

    Example:
        >>> import torch
        >>> found = verdict(torch.nn.Conv2d(2, 3, 3), torch.randn(4, 2, 16, 16))
        >>> found.folds, found.fold_error < 1e-5, found.convex
        (True, True, None)
        >>> found.kernel.shape, str(found.convexity), found.convexity.reason
        (torch.Size([3, 2, 3, 3]), 'open', 'no weights are to be seen')

    Attributes:
        name: what was looked at.
        weights: name, kind and shape of each set of weights that was seen.
        image, position, convexity, fold: the answers, each with its reason.
        notes: what else has to be known, such as "measured in eval mode".
        image_variation: largest standard deviation of a weight across images, over the largest weight.
        image_gradient: norm of d weights / d image, times the image's norm, over the norm of the weights.
        position_variation: largest standard deviation of a weight across positions of an image, over the largest weight.
        fold_error: error of the best single convolution for all images, over the output's norm.
        image_fit_error: the same with a convolution for each image, the worst of them.
        interventions: relative change of the output when the weights are replaced, by mode.
        kernel: (O, C, *kernel), of that best convolution; residual: (B, O, *S'), what it leaves over.
    """

    name: str
    weights: tuple[str, ...]
    image: Answer
    position: Answer
    convexity: Answer
    fold: Answer
    notes: tuple[str, ...] = ()
    image_variation: float | None = None
    image_gradient: float | None = None
    position_variation: float | None = None
    fold_error: float | None = None
    image_fit_error: float | None = None
    interventions: dict[str, float] = field(default_factory=dict)
    kernel: Tensor | None = field(default=None, repr=False)
    residual: Tensor | None = field(default=None, repr=False)

    @property
    def same_for_every_image(self) -> bool | None:
        return self.image.value

    @property
    def same_at_every_position(self) -> bool | None:
        return self.position.value

    @property
    def convex(self) -> bool | None:
        return self.convexity.value

    @property
    def folds(self) -> bool | None:
        return self.fold.value

    def rows(self) -> list[tuple[str, str, str]]:
        """(question, answer, what was measured)."""
        rows = [
            ("weights", ", ".join(self.weights) or "none to be seen", ""),
            ("the same for every image?", str(self.image), self.image.reason),
            ("the same at every position?", str(self.position), self.position.reason),
            ("convex (positive, sum to 1)?", str(self.convexity), self.convexity.reason),
            ("folds into one plain conv?", str(self.fold), self.fold.reason),
        ]
        rows += [(f"output when weights are {m}", f"changes by {c:.2g}", "") for m, c in self.interventions.items()]
        return rows + [("note", note, "") for note in self.notes]

    def __repr__(self) -> str:
        width = max(len(question) for question, _, _ in self.rows())
        lines = [f"  {q:<{width}}  {a}" + (f"  ({m})" if m else "") for q, a, m in self.rows()]
        return "\n".join([f"Verdict on {self.name}", *lines])

    def _repr_html_(self) -> str:
        return table(f"Verdict on {self.name}", self.rows(), self.kernel, self.residual)


def verdict(
    function: nn.Module | Callable[..., object],
    batch: Tensor,
    *,
    kernel_size: int | None = None,
    weights: Callable[..., Tensor | Mapping[str, Tensor]] | None = None,
) -> Verdict:
    r"""Measure what makes ``function`` dynamic, if anything does.

    Reference: the table of answers to https://ai.stackexchange.com/questions/34748

    Behaviour decides. Beside the batch, random images go through the function, far larger ones and negative ones, too:

    - *Call it twice*: is it random? *Other images beside it*: does it look at its neighbours? Then nothing else is asked.
    - *Straight lines*: f(a·u + (1 − a)·v) = a·f(u) + (1 − a)·f(v)? Then it is static and linear; slabs and impulses give the
      kernel, of any size, stride and dilation, and random images say whether it is one convolution, away from the border.
    - *Weights*: our layers say what they weigh with, and so may you; softmaxes, sigmoids and whatever else depends on the
      image and multiplies is found by looking into a run. What follows a moved image differs from position to position.
    - *Fit*: one convolution for all images, one for each; *intervention*: what do other weights change (:func:`intervene`)?

    What none of this settles stays open, with the reason. A difference counts from the rounding of the number format on.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d, StaticMixConv2d
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(6, 2, 16, 16)
        >>> verdict(StaticMixConv2d(2, 3, 3), x).folds, verdict(DynamicConv2d(2, 3, 3, temperature=0.1), x).folds
        (True, False)
        >>> verdict(torch.relu, x.abs()).fold.reason.split("; ")[-1]
        'linear between these images, off by 0.49 beyond them'

    Args:
        function: from images (B, C, *S) to a tensor, or to a tuple of which the first is meant. Left in its mode and without
            hooks; measured in eval mode.
        batch: (B, C, *S) with B of at least 2.
        kernel_size: of the convolution that is fitted if it is not linear; None takes the module's own, or 1, 3, 5 and 7.
        weights: names them where they cannot be seen: a function of (function, images) that returns a tensor, one row an
            image (or one for all), or a dict of tensors.

    Raises:
        ValueError: fewer than 2 images, one that holds NaN or infinity, an output that does, or that has not a row an image.
        TypeError: images or output are no floating point tensors, or the function needs more than one input.
    """
    module = function if isinstance(function, nn.Module) else None
    with undisturbed(module, batch) as training:
        subject = Subject(function, batch)
        found = observe(subject)
        seen = look(subject, found, weights)
        facts = _judge(subject, found, seen, kernel_size)
    return Verdict(subject.name, tuple(seen.names), notes=_notes(subject, found, training), **facts)


def _judge(subject: Subject, found: Behaviour, seen: Weights, kernel_size: int | None) -> dict[str, Any]:
    convexity = Answer(seen.convex, "no weights are to be seen" if seen.convex is None else "")
    facts: dict[str, Any] = {"convexity": convexity, "interventions": seen.interventions}
    for name in ("image_variation", "image_gradient", "position_variation"):
        facts[name] = getattr(seen, name)
    special = apart(found)
    if special is not None:
        never = Answer(False, special.reason, special.name)
        return facts | {"image": special, "position": special, "fold": never}
    position, linear, read = of_linear(subject, found) if found.affine else (None, None, None)
    fit = None if read is not None else _fit(subject, found, kernel_size)
    if position is None and (
        found.y.ndim != subject.batch.ndim or found.y[0, 0].numel() == 1 or subject.batch[0, 0].numel() == 1
    ):
        position = Answer(None, "there is one position, or none")
    own = fit is not None and not found.affine and _fits_each(subject, found, fit)
    facts["image"] = same_for_every_image(found, seen, fit, own)
    if linear is not None and linear.reason == NOTHING:
        facts["image"] = linear
    facts["position"] = same_at_every_position(found, seen, own, position)
    facts["fold"] = folds(found, fit, linear)
    if read is not None:
        facts["fold_error"], facts["residual"] = folded(read, found)
        facts["kernel"] = read.weight if read.mixtures is None else None
    elif fit is not None:
        facts |= {
            "fold_error": fit.together,
            "image_fit_error": fit.alone,
            "kernel": fit.weight,
            "residual": fit.residual,
        }
    return facts


def _fit(subject: Subject, found: Behaviour, kernel_size: int | None) -> Fit | None:
    if found.y.ndim != subject.batch.ndim:
        return None
    candidates = geometries(subject.module, subject.batch, found.y, kernel_size)
    return best_fit(subject.batch, found.y, candidates, found.exact)


def _fits_each(subject: Subject, found: Behaviour, fit: Fit) -> bool:
    """Whether one convolution fits each image of the batch, and each random one as well."""
    if fit.alone is None or fit.alone > found.exact:
        return False
    noise = random_images(found.few, 1)
    sizes = reaching(found.few).abs().reshape(-1, *(1,) * (noise.ndim - 1))
    noise = noise * sizes.to(noise)
    answer = subject.attempt(noise)
    beside = fit_one(noise, answer, fit.geometry) if answer is not None and answer.isfinite().all() else None
    return beside is not None and beside.alone is not None and beside.alone <= found.exact


def _notes(subject: Subject, found: Behaviour, training: bool) -> tuple[str, ...]:
    batch = subject.batch.double()
    notes = ["measured in eval mode, though it was in train mode"] if training else []
    if (batch == batch[:1]).all():
        notes.append("the images are identical: that weights could vary shows only on the random images beside them")
    if batch.flatten(1).std(1).max() == 0 and batch[0].numel() > 1:
        notes.append("the images are constant: they tell little, random ones were used beside them")
    return tuple(notes)

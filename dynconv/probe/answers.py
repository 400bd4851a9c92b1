"""From what was measured to yes, no or open, each with its reason in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..native.definition import per_channel
from .behaviour import Behaviour, difference
from .calls import Subject
from .fit import Fit
from .responses import Convolution, Linear
from .weights import Weights

__all__: list[str] = []

UNLIKE = 0.1  # what follows a moved image by less than this, counts as the same at every position
NOTHING = "the output does not depend on the image"
NOT_SMALL = "static and linear, but not one small convolution"


@dataclass(frozen=True)
class Answer:
    """Yes, no, or open (None); the reason, with its numbers; and what it is called if it has a name of its own."""

    value: bool | None
    reason: str
    name: str = ""

    def __str__(self) -> str:
        word = "open" if self.value is None else "yes" if self.value else "no"
        return f"{word}: {self.name}" if self.name else word


def apart(found: Behaviour) -> Answer | None:
    """What comes before all questions: a function of chance, or of the other images."""
    if found.random:
        return Answer(None, f"two calls differ by {found.again:.2g}", "different at every call")
    if found.entangled:
        reason = f"with other images beside it, an image's output changes by {found.neighbours:.2g}"
        return Answer(None, reason, "depends on the other images of the batch")
    return None


def not_linear(found: Behaviour) -> str:
    """How far from linear, and where."""
    line, beyond = found.line or 0.0, found.beyond or 0.0
    if line <= found.exact:
        return f"linear between these images, off by {beyond:.2g} beyond them"
    return f"off a straight line by {max(line, beyond):.2g}"


def undecided(found: Behaviour) -> str:
    if found.beyond is None:
        return "it takes no random images, and these alone cannot tell"
    return f"off a straight line by {max(found.beyond, found.line or 0):.2g}, too near to rounding, {found.exact:.1g}"


def same_for_every_image(found: Behaviour, seen: Weights, fit: Fit | None, own: bool) -> Answer:
    """``own``: each image has a convolution of its own, and random images have one, too."""
    varies = _said(seen.image_variation, "the weights vary across images by {:.2g}")
    varies += _said(seen.image_gradient, "; gradient from the image {:.2g}")
    if seen.declared and seen.vary:
        return Answer(False, varies + ("; but the output does not" if found.affine else ""))
    if found.affine:
        off = max(found.beyond or 0.0, found.line or 0.0)
        return Answer(True, "; ".join(filter(None, (varies, f"off a straight line by {off:.1g}, which is rounding"))))
    if seen.matter:
        change = seen.interventions.get("shuffled")
        words = f"; another image's weights change the output by {change:.2g}" if change and not seen.declared else ""
        also = f"{'beside these ' if varies else ''}the image decides {_list(seen.others or seen.names)}"
        return Answer(False, "; ".join(filter(None, (varies, also))) + words)
    if own and fit is not None and fit.together > found.clear:
        return Answer(False, "each image has a convolution of its own")
    if found.affine is None:
        return Answer(None, undecided(found))
    if seen.others is None:
        return Answer(None, f"{not_linear(found)}; one cannot look into it, so its weights are not known")
    if seen.names and not seen.vary:
        return Answer(True, f"{varies}; nothing else that multiplies depends on the image")
    why = "no weights are to be seen, only what a fixed activation could do"
    if seen.vary:
        why = f"{varies}, but another image's weights change nothing"
    return Answer(None, f"{not_linear(found)}; {why}")


def same_at_every_position(found: Behaviour, seen: Weights, own: bool, placed: Answer | None) -> Answer:
    """``placed``: what the responses of a linear function say; ``own``: one convolution fits each image, random ones too."""
    if placed is not None:
        return placed
    varies = _said(seen.position_variation, "the weights vary across positions by {:.2g}")
    if own:
        return Answer(True, f"{varies}; one convolution fits each image".removeprefix("; "))
    if seen.local and (seen.position_variation or seen.matter):
        moving = f"what the image decides moves with it: {_list(seen.others or seen.names)}"
        return Answer(False, varies if seen.position_variation else moving)
    if found.affine is None:
        return Answer(None, undecided(found))
    if found.follows is not None and found.follows > UNLIKE:
        return Answer(None, f"moving the image moves the output only to {found.follows:.2g}, weights aside")
    if (seen.names or seen.others) and seen.local is False:
        return Answer(True, varies or "the weights have no position")
    return Answer(None, f"{not_linear(found)}; no weights are to be seen, and an activation decides at each position")


def folds(found: Behaviour, fit: Fit | None, linear: Answer | None) -> Answer:
    """``linear``: what the responses of a linear function say."""
    best = ""
    if fit is not None:
        best = f"the best convolution is off by {fit.together:.2g}" + _said(fit.alone, "; one for each image by {:.2g}")
    if linear is not None:
        return Answer(linear.value, "; ".join(filter(None, (linear.reason, best))), linear.name)
    if found.affine is None:
        return Answer(None, undecided(found))
    return Answer(False, "; ".join(filter(None, (best, not_linear(found)))))


def of_linear(subject: Subject, found: Behaviour) -> tuple[Answer, Answer, Convolution | None]:
    """Of a function that is linear (up to what it adds): the same at every position? one convolution?"""
    y, x, linear = found.y, found.few, Linear(subject, found)
    why = ""
    if y.ndim != x.ndim:
        why = f"the output {tuple(y.shape)} is no image: it has no positions"
    elif math.prod(y.shape[2:]) == 1 or math.prod(x.shape[2:]) == 1:
        why = "with one position, any linear function is a convolution"
    elif not linear(linear.noise(4, 15)).norm() > found.exact * linear.zero.norm():
        why = NOTHING
    if why:
        return Answer(None, why), Answer(None, why), None
    read = linear.convolution(y)
    if isinstance(read, str) or read.error > found.clear:
        return (*_no_convolution(linear, found, read), None)
    if read.error > found.exact or found.clear >= read.offset > found.exact:
        why = f"the kernel read from impulses is off by {read.error:.2g}, near to rounding"
        return Answer(None, why), Answer(None, why), None
    if read.offset > found.clear:
        reason = f"what is added differs from position to position by {read.offset:.2g}; the weights do not"
        return Answer(False, reason), Answer(False, reason, NOT_SMALL), None
    size = " × ".join(str(a.size) for a in read.axes)
    stride = " × ".join(str(a.stride) for a in read.axes)
    at_stride = f" at stride {stride}" if any(a.stride > 1 for a in read.axes) else ""
    reason = f"a {size} convolution{at_stride}, read from impulses, is off by {read.error:.2g}"
    return Answer(True, reason), Answer(True, reason), read


def _no_convolution(linear: Linear, found: Behaviour, read: Convolution | str) -> tuple[Answer, Answer]:
    if any(1 < size < 6 for size in linear.like.shape[2:]):
        reason = f"images of {tuple(linear.like.shape[2:])} are too small to tell; give larger ones"
        return Answer(None, reason), Answer(None, reason)
    if read == "large" and linear.circular(found.y) <= found.exact:
        reason = "rolled images give rolled outputs, and every output reads the whole image"
        return Answer(True, reason), Answer(False, reason, NOT_SMALL)
    pairs = linear.shifts(found.y)
    if pairs is None:
        reason = "moving the image does not move the output"
        return Answer(False, reason), Answer(False, reason, NOT_SMALL)
    moved = "; ".join(sorted({f"moving the image by {a} moves the output by {b}" for a, b in pairs}))
    if any(min(pair) > 1 for pair in pairs):
        return Answer(None, f"only {moved}: between, they may differ"), Answer(False, moved, NOT_SMALL)
    if any(b > 1 for _, b in pairs):
        return Answer(True, moved), Answer(False, moved, NOT_SMALL)
    large = "its kernel is as large as these images; larger ones would tell"
    return Answer(True, moved), Answer(None, large if read == "large" else "no kernel read from impulses explains it")


def folded(read: Convolution, found: Behaviour) -> tuple[float, Tensor | None]:
    """How far the batch's output is from the convolution that was read, and what is left over."""
    if read.mixtures is not None:
        return read.error, None
    whole = read.inside(found.y[: len(found.few)].double())
    left = whole - read(found.few) - per_channel(read.bias, whole)
    return difference(whole - left, whole), left


def _said(value: float | None, sentence: str) -> str:
    return "" if value is None else sentence.format(value)


def _list(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

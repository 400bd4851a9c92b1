"""What each of the three networks is asked, and how right its answers are: one score an image, 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from .lines import lines, pages
from .networks import characters

__all__ = ["SIZES", "Task", "task"]

SIZES = {"direction": 300, "direction-loose": 300, "detector": 24, "recogniser": 80}  # images a seed
THRESHOLD, UNCLIP, MATCH = 0.3, 1.6, 0.5  # RapidOCR's first two; boxes that overlap by half are one
OTHERS = 10_000  # seeds of the images that gates are frozen on


@dataclass(eq=False)
class Task:
    """Images, and how to judge what a network says of them.

    Attributes:
        images: (N, 3, H, W); others: such as these, to take means over before freezing; hard: (N,) blurred or faint.
        answer: a batch of outputs → what is kept of each image; score: number of an image, its answer → 0 to 1.
        words: what the score is.
    """

    images: Tensor
    others: Tensor
    hard: Tensor
    answer: Callable[[Tensor], Tensor]
    score: Callable[[int, Tensor], float]
    words: str


def task(name: str, seed: int, images: int | None = None) -> Task:
    """The task of one network, with images of one seed.

    Example:
        >>> one = task("direction", seed=0, images=6)
        >>> one.images.shape, one.score(0, torch.tensor(0)) + one.score(0, torch.tensor(1))
        (torch.Size([6, 3, 48, 192]), 1.0)

    Args:
        name: see :func:`experiments.trained.networks.network`, or "direction-loose", lines not cut out as a detector does;
            seed: of the images; images: how many, SIZES if None.
    """
    number = SIZES[name] if images is None else images
    loose = partial(_direction, loose=True)
    return {"direction": _direction, "direction-loose": loose, "detector": _detector, "recogniser": _recogniser}[name](
        number, seed
    )


def _direction(number: int, seed: int, loose: bool = False) -> Task:
    made, others = lines(number, seed, loose=loose), lines(max(2, number // 2), seed + OTHERS, loose=loose)

    def score(i: int, answer: Tensor) -> float:
        return float(bool(answer) == bool(made.flipped[i]))

    return Task(made.images, others.images, made.hard, lambda y: y.argmax(1), score, "lines whose direction is right")


def _recogniser(number: int, seed: int) -> Task:
    made = lines(number, seed, width=320, flips=False)
    others = lines(max(2, number // 2), seed + OTHERS, width=320, flips=False)

    def score(i: int, answer: Tensor) -> float:
        text = made.texts[i]
        return max(0.0, 1 - distance(decoded(answer, _characters()), text) / len(text))

    return Task(made.images, others.images, made.hard, lambda y: y.argmax(2), score, "characters read right")


def _detector(number: int, seed: int) -> Task:
    made, others = pages(number, seed), pages(max(2, number // 2), seed + OTHERS)

    def score(i: int, answer: Tensor) -> float:
        return f1(found_boxes(answer.numpy()), made.boxes[i])

    return Task(made.images, others.images, made.hard, lambda y: y[:, 0] > THRESHOLD, score, "F1 of the lines found")


_characters = cache(characters)


def decoded(classes: Tensor, alphabet: list[str]) -> str:
    """Greedy CTC: repeats are one, then blanks, class 0, fall out.

    Reference: Graves et al., https://doi.org/10.1145/1143844.1143891

    Example:
        >>> decoded(torch.tensor([0, 1, 1, 0, 1, 2]), ["", "a", "b"])
        'aab'
    """
    return "".join(alphabet[k] for k in torch.unique_consecutive(classes).tolist()).strip()


def distance(one: str, other: str) -> int:
    """Letters to insert, delete or replace (Levenshtein).

    Example:
        >>> distance("kitten", "sitting")
        3
    """
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def found_boxes(mask: np.ndarray) -> np.ndarray:
    """Upright boxes about the connected parts of a text map, grown to the line's size: (n, 4).

    Reference: Liao et al., *Real-time Scene Text Detection with Differentiable Binarization*, section 3.5,
    https://arxiv.org/abs/1911.08947: the map shows shrunk lines, to be grown by area · 1.6 / perimeter

    Example:
        >>> mask = np.zeros((20, 40), dtype=bool)
        >>> mask[8:12, 10:30] = True
        >>> found_boxes(mask).round(1).tolist()
        [[7.3, 5.3, 32.7, 14.7]]
    """
    boxes = []
    for left, top, right, bottom in _parts(mask):
        width, height = right - left, bottom - top
        if min(width, height) >= 3:
            grown = width * height * UNCLIP / (2 * (width + height))
            boxes.append((left - grown, top - grown, right + grown, bottom + grown))
    return np.array(boxes, dtype=float).reshape(-1, 4)


def _parts(mask: np.ndarray) -> list[list[int]]:
    """The box of each connected part (left, top, right, bottom): runs of a row join those that they touch in the row above."""
    boxes: dict[int, list[int]] = {}
    above: list[tuple[int, int, int]] = []  # start, end, and the number of the part
    for y, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(np.int8), [0])))).tolist()
        here: list[tuple[int, int, int]] = []
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            touched = sorted({part for a, b, part in above if a <= end and start <= b})
            number = y * mask.shape[1] + start  # a new one for what is joined here
            joined = [boxes.pop(part) for part in touched] + [[start, y, end, y + 1]]
            boxes[number] = [
                f(column) for f, column in zip((min, min, max, max), zip(*joined, strict=True), strict=True)
            ]
            above, here = (
                [(a, b, number if part in touched else part) for a, b, part in runs] for runs in (above, here)
            )
            here.append((start, end, number))
        above = here
    return list(boxes.values())


def f1(found: np.ndarray, true: np.ndarray) -> float:
    """Of boxes: harmonic mean of the share of found ones that are true and of true ones that are found, one to one.

    Example:
        >>> f1(np.array([[0, 0, 4, 2], [8, 8, 9, 9]]), np.array([[0, 0, 4, 3]]))
        0.6666666666666666
    """
    if not len(found) and not len(true):
        return 1.0
    overlaps = np.array([[overlap(a, b) for b in true] for a in found]).reshape(len(found), len(true))
    matched = 0
    while overlaps.size and overlaps.max() >= MATCH:
        i, j = np.unravel_index(overlaps.argmax(), overlaps.shape)
        overlaps[i], overlaps[:, j] = 0, 0
        matched += 1
    return 2 * matched / (len(found) + len(true))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Of two boxes: the area in both over the area in either."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    return float(both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both))

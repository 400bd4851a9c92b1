"""Exercises of lesson 06, is it really dynamic?"""

from __future__ import annotations

import torch
from torch import Tensor

from .exercise import Exercise, Mistake

__all__ = ["EXERCISES"]


def _attention(*shape: int, seed: int) -> Tensor:
    return torch.softmax(2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def variation(attention: Tensor) -> Tensor:
    """The largest, over kernels, of the standard deviations over images."""
    return attention.std(dim=0, unbiased=False).max()


VARIATION = Exercise(
    variation,
    lambda: [(_attention(5, 4, seed=0),), (_attention(3, 2, seed=1),), (_attention(4, 3, seed=2)[:1].repeat(4, 1),)],
    {
        "over kernels": Mistake(
            lambda a: a.std(dim=1, unbiased=False).max(),
            "That is how uneven one image's weights are: the deviation runs over kernels. It has to run over images, dim 0.",
        ),
        "over everything": Mistake(
            lambda a: a.std(unbiased=False),
            "One deviation over all numbers mixes kernels with images; take it over images, for each kernel on its own.",
        ),
        "divided by N - 1": Mistake(
            lambda a: a.std(dim=0).max(),
            "Nearly: torch divides by N - 1 unless told otherwise; these images are all there are, so divide by N.",
        ),
        "mean over kernels": Mistake(
            lambda a: a.std(dim=0, unbiased=False).mean(),
            "The mean over kernels hides one that varies among many that do not; take the largest.",
        ),
        "variance": Mistake(
            lambda a: a.var(dim=0, unbiased=False).max(), "That is the variance; the deviation is its square root."
        ),
        "over kernels, divided by N - 1": Mistake(
            lambda a: a.std(dim=1).max(),
            "The deviation runs over dim 1, the kernels of one image (and divides by N - 1). Take dim 0, and divide by N.",
        ),
        "everything, divided by N - 1": Mistake(
            lambda a: a.std(),
            "Without a dim, std mixes all numbers, kernels with images (and divides by N - 1). Take dim 0, and divide by N.",
        ),
        "one for each kernel": Mistake(
            lambda a: a.std(dim=0, unbiased=False),
            "So far, so good: one number for each kernel. Now the largest of them.",
        ),
        "mean deviation": Mistake(
            lambda a: (a - a.mean(0)).abs().mean(0).max(),
            "That is the mean of the absolute deviations. The standard deviation squares them, and takes the root of the mean.",
        ),
        "largest deviation": Mistake(
            lambda a: (a - a.mean(0)).abs().max(),
            "That is the largest single deviation, which one odd image decides. Take the standard deviation.",
        ),
        "smallest": Mistake(
            lambda a: a.std(dim=0, unbiased=False).min(),
            "The smallest was taken: the kernel that varies least. Take the largest.",
        ),
        "summed over kernels": Mistake(
            lambda a: a.std(dim=0, unbiased=False).sum(),
            "The deviations of the kernels were added up; take the largest of them.",
        ),
        "range": Mistake(
            lambda a: (a.amax(0) - a.amin(0)).max(),
            "That is the range, largest minus smallest, which one odd image decides. Take the standard deviation.",
        ),
    },
)


def shuffled(attention: Tensor) -> Tensor:
    """Row b gets row b + 1, the last one the first."""
    return attention.roll(-1, dims=0)


SHUFFLED = Exercise(
    shuffled,
    lambda: [(_attention(5, 4, seed=3),), (_attention(3, 2, seed=4),)],
    {
        "over kernels": Mistake(
            lambda a: a.roll(-1, dims=1),
            "The kernels were moved, within each image: every image still has its own weights, on the wrong kernels.",
        ),
        "the other way": Mistake(
            lambda a: a.roll(1, dims=0), "Image b has the weights of image b - 1 here; roll the other way."
        ),
        "reversed": Mistake(
            lambda a: a.flip(0), "Turned upside down, the image in the middle keeps its own weights; nobody should."
        ),
        "unchanged": Mistake(lambda a: a.clone(), "Nothing was moved: every image has its own weights still."),
        "last one keeps its own": Mistake(
            lambda a: torch.cat([a[1:], a[-1:]]),
            "The last image still has its own weights. It gets those of the first: go around.",
        ),
        "in place": Mistake(
            lambda a: torch.cat([a[1:], a[1:2]]),
            "The last image got the weights of the second. Row by row in place, the first row was overwritten before "
            "the last one needed it: write into a copy.",
        ),
        "last one empty": Mistake(
            lambda a: torch.cat([a[1:], torch.zeros_like(a[:1])]),
            "The last image gets zeros. It gets the weights of the first: go around.",
        ),
        "everyone the mean": Mistake(
            lambda a: a.mean(0, keepdim=True).expand_as(a),
            "Everyone gets the mean: that is frozen. Shuffled weights keep their rows, and change images.",
        ),
        "last one dropped": Mistake(
            lambda a: a[1:], "One image too few: the last one gets nothing. It gets the weights of the first."
        ),
        "all numbers rolled": Mistake(
            lambda a: a.roll(-1),
            "Without dims, roll moves single numbers through the flat tensor; whole rows have to move.",
        ),
    },
)

EXERCISES = {"06.variation": VARIATION, "06.shuffled": SHUFFLED}

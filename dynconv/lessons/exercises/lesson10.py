"""Exercises of lesson 10, cost and speed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .exercise import Exercise, Mistake
from .watching import CONVOLUTIONS, Limit

__all__ = ["EXERCISES"]


def grouped(x: Tensor, kernels: Tensor) -> Tensor:
    """One convolution in which every image is a group with a kernel of its own; padding 1."""
    batch, channels, height, width = x.shape
    y = F.conv2d(x.reshape(1, batch * channels, height, width), kernels.flatten(0, 1), padding=1, groups=batch)
    return y.reshape(batch, -1, height, width)


def _grouped_cases():
    generator, cases = torch.Generator().manual_seed(10), []
    for batch, channels, out, size in ((3, 2, 4, 6), (2, 3, 3, 5), (1, 2, 2, 4)):
        shapes = (batch, channels, size, size + 1), (batch, out, channels, 3, 3)
        cases.append(tuple(torch.randn(shape, generator=generator) for shape in shapes))
    return cases


def _one_group(x, kernels):
    return F.conv2d(x, kernels[0], padding=1)


def _wrong_order(x, kernels):
    batch, channels, height, width = x.shape
    stacked = x.transpose(0, 1).reshape(1, batch * channels, height, width)
    y = F.conv2d(stacked, kernels.flatten(0, 1), padding=1, groups=batch)
    return y.reshape(batch, -1, height, width)


def _no_way_back(x, kernels):
    return F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels.flatten(0, 1), padding=1, groups=x.shape[0])


def _back_in_the_wrong_order(x, kernels):
    y = _no_way_back(x, kernels)
    return y.reshape(-1, x.shape[0], *y.shape[2:]).transpose(0, 1)


def _kernels_in_the_wrong_order(x, kernels):
    batch, channels, height, width = x.shape
    stacked = x.reshape(1, batch * channels, height, width)
    y = F.conv2d(stacked, kernels.transpose(0, 1).flatten(0, 1), padding=1, groups=batch)
    return y.reshape(batch, -1, height, width)


GROUPED = Exercise(
    grouped,
    _grouped_cases,
    {
        "first kernel for all": Mistake(
            _one_group, "All images got the kernel of image 1. Image b has to meet kernels[b] and no other."
        ),
        "mean kernel": Mistake(
            lambda x, kernels: F.conv2d(x, kernels.mean(0), padding=1),
            "The kernels were averaged over the batch. Each image has its own: nothing is averaged.",
        ),
        "channels before images": Mistake(
            _wrong_order,
            "The channels of different images are interleaved. All channels of image 1 come first, then those of image 2: "
            "reshape x without a transpose.",
        ),
        "batch not restored": Mistake(
            _no_way_back, "The result still is one image with B · O channels. Reshape it to (B, O, H, W)."
        ),
        "channels mixed up on the way back": Mistake(
            _back_in_the_wrong_order,
            "The output channels went to the wrong images. Group b wrote channels b · O to b · O + O − 1: "
            "reshape to (B, O, H, W) without a transpose.",
        ),
        "kernels transposed": Mistake(
            _kernels_in_the_wrong_order,
            "The kernels are interleaved: those of image 1 come first, all O of them, then those of image 2. "
            "`kernels.flatten(0, 1)` keeps that order.",
        ),
        "padding forgotten": Mistake(
            lambda x, kernels: torch.cat([F.conv2d(i[None], k) for i, k in zip(x, kernels, strict=True)]),
            "The padding of 1 is missing, so the output is smaller than the input.",
        ),
    },
    (Limit(CONVOLUTIONS, 1, "But make it *one* convolution for all images, with `groups=B`.", least=1),),
)


def macs(batch: int, channels: int, out: int, height: int, width: int, kernel: int, num_kernels: int) -> Tensor:
    """Multiply-adds of convolving once an image, and of mixing its kernel."""
    one_kernel = out * channels * kernel * kernel
    return torch.tensor([batch * height * width * one_kernel, batch * num_kernels * one_kernel])


def _mac_cases():
    return [(2, 3, 5, 8, 6, 3, 4), (1, 16, 32, 7, 7, 1, 2), (32, 4, 4, 10, 10, 5, 8)]


def _changed(convolution=1.0, mixing=1.0):
    def answer(*sizes):
        factors = [f(*sizes) if callable(f) else f for f in (convolution, mixing)]
        return (macs(*sizes) * torch.tensor(factors)).round().long()

    return answer


MACS = Exercise(
    macs,
    _mac_cases,
    {
        "mixed once": Mistake(
            _changed(mixing=lambda b, *_: 1 / b),
            "The mixing is counted once. Each image has attention of its own, so B kernels are mixed: times batch.",
        ),
        "K convolutions": Mistake(
            _changed(convolution=lambda *s: float(s[-1])),
            "The convolution is counted K times. The kernels are mixed first; then each image is convolved once.",
        ),
        "one image convolved": Mistake(
            _changed(convolution=lambda b, *_: 1 / b),
            "The convolutions of one image are counted. There are B images: times batch.",
        ),
        "one image": Mistake(
            _changed(lambda b, *_: 1 / b, lambda b, *_: 1 / b),
            "This is for one image, twice. All B images are convolved, and each has a kernel mixed for it: times batch.",
        ),
        "other way round": Mistake(
            lambda *s: macs(*s).flip(0), "Both are right, in the wrong order: first the convolutions, then the mixing."
        ),
        "output channels forgotten": Mistake(
            _changed(lambda *s: 1 / s[2], lambda *s: 1 / s[2]),
            "That is one output channel. Each of them has numbers of its own: times out.",
        ),
        "K forgotten": Mistake(
            _changed(mixing=lambda *s: 1 / s[6]),
            "The mixing is counted as one multiply-add for each of a kernel's numbers. It takes K of them, one a kernel.",
        ),
        "added up": Mistake(
            lambda *s: macs(*s).sum(),
            "Both were added up. Return them as a tensor of two: the convolutions, the mixing.",
        ),
        "not a tensor": Mistake(
            lambda *s: tuple(macs(*s).tolist()),
            "The two numbers are right; put them into a tensor: `torch.tensor([…, …])`.",
        ),
        "kernel side": Mistake(
            _changed(convolution=lambda *s: 1 / s[5], mixing=lambda *s: 1 / s[5]),
            "A kernel has kernel · kernel places, not kernel.",
        ),
        "mixing at every position": Mistake(
            _changed(mixing=lambda *s: float(s[3] * s[4])),
            "The mixing is counted at every position. An image's kernel is mixed once and used at all its positions.",
        ),
        "flops": Mistake(
            _changed(2.0, 2.0),
            "These are FLOPs, a multiplication and an addition counted apart; count the pair as one.",
        ),
    },
)

EXERCISES = {"10.grouped": GROUPED, "10.macs": MACS}

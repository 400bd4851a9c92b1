"""Exercises of lesson 12, have you seen it before?"""

from __future__ import annotations

import torch
from torch import Tensor

from .exercise import Exercise, Mistake

__all__ = ["EXERCISES"]


def fold_norm(
    weight: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Kernel and bias of the one convolution that does what a convolution and a batch norm in eval mode do."""
    scale = gamma / torch.sqrt(var + eps)  # (O,)
    return weight * scale[:, None, None, None], beta - mean * scale


def _norm_cases():
    generator = torch.Generator().manual_seed(0)
    cases = []
    for out, channels, eps in ((4, 2, 1e-1), (3, 3, 1e-2)):
        gamma, beta, mean = torch.randn(3, out, generator=generator)
        var = 0.2 + torch.rand(out, generator=generator)
        cases.append((torch.randn(out, channels, 3, 3, generator=generator), gamma, beta, mean, var, eps))
    return cases


def _per_output(weight: Tensor, scale: Tensor) -> Tensor:
    return weight * scale[:, None, None, None]


FOLD_NORM = Exercise(
    fold_norm,
    _norm_cases,
    {
        "bias forgotten": Mistake(
            lambda w, g, b, m, v, e: (_per_output(w, g / (v + e).sqrt()), b),
            "The kernel is right. The mean is subtracted before the scaling, so the bias is beta − mean · scale.",
        ),
        "mean not scaled": Mistake(
            lambda w, g, b, m, v, e: (_per_output(w, g / (v + e).sqrt()), b - m),
            "The kernel is right. In the bias the mean is scaled like everything else: beta − mean · scale.",
        ),
        "bias scaled twice": Mistake(
            lambda w, g, b, m, v, e: (_per_output(w, g / (v + e).sqrt()), (b - m) * g / (v + e).sqrt()),
            "The kernel is right. beta is added after the scaling, so only the mean is scaled.",
        ),
        "the mean added": Mistake(
            lambda w, g, b, m, v, e: (_per_output(w, g / (v + e).sqrt()), b + m * g / (v + e).sqrt()),
            "The kernel is right. In the bias the mean has the wrong sign: it is subtracted.",
        ),
        "variance as deviation": Mistake(
            lambda w, g, b, m, v, e: (_per_output(w, g / (v + e)), b - m * g / (v + e)),
            "It is divided by the variance; a batch norm divides by the deviation, the square root of var + eps.",
        ),
        "eps outside the root": Mistake(
            lambda w, g, b, m, v, e: (_per_output(w, g / (v.sqrt() + e)), b - m * g / (v.sqrt() + e)),
            "eps is added to the deviation here; it belongs under the root: sqrt(var + eps).",
        ),
        "eps forgotten": Mistake(
            lambda w, g, b, m, v, e: (_per_output(w, g / v.sqrt()), b - m * g / v.sqrt()),
            "eps is missing: the root is of var + eps.",
        ),
        "gamma forgotten": Mistake(
            lambda w, g, b, m, v, e: (_per_output(w, 1 / (v + e).sqrt()), b - m / (v + e).sqrt()),
            "gamma is missing: the scale is gamma / sqrt(var + eps).",
        ),
        "swapped": Mistake(
            lambda w, g, b, m, v, e: fold_norm(w, g, b, m, v, e)[::-1],
            "Kernel and bias are swapped: return the kernel first.",
        ),
        "along the width": Mistake(
            lambda w, g, b, m, v, e: (w * (g / (v + e).sqrt()), b - m * g / (v + e).sqrt()),
            "The scale meets the kernel's last dimension, its width. It belongs to the first, the output channels: "
            "scale[:, None, None, None].",
        ),
    },
)


def select(maps: Tensor, logits: Tensor) -> Tensor:
    """(B, K, C, H, W) and (B, K, C) → (B, C, H, W): a softmax over the K branches for each image and channel."""
    return torch.einsum("bkchw,bkc->bchw", maps, torch.softmax(logits, dim=1))


def _select_cases():
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, 3, 4, 5, 6), (3, 2, 2, 4, 3), (4, 2, 3, 2, 5))
    return [(torch.randn(s, generator=generator), 2 * torch.randn(s[:3], generator=generator)) for s in shapes]


def _selected_with(weights_of):
    return lambda maps, z: torch.einsum("bkchw,bkc->bchw", maps, weights_of(z).expand_as(z))


SELECT = Exercise(
    select,
    _select_cases,
    {
        "over channels": Mistake(
            _selected_with(lambda z: z.softmax(2)),
            "The softmax runs over the channels, dim 2: they would compete with one another. The branches do, dim 1.",
        ),
        "over images": Mistake(
            _selected_with(lambda z: z.softmax(0)),
            "The softmax runs over the batch, dim 0: then an image's weights depend on its neighbours. Take dim 1.",
        ),
        "over branches and channels": Mistake(
            _selected_with(lambda z: z.flatten(1).softmax(1).view_as(z)),
            "The softmax runs over branches and channels together; each channel shares out among its own K branches, dim 1.",
        ),
        "sigmoid": Mistake(
            _selected_with(torch.sigmoid), "With a sigmoid each branch is for itself, and nothing sums to one: softmax."
        ),
        "no softmax": Mistake(
            _selected_with(lambda z: z),
            "The logits themselves are the weights here; they need a softmax over the branches.",
        ),
        "one weight a branch": Mistake(
            _selected_with(lambda z: z.mean(2, keepdim=True).softmax(1)),
            "All channels of a branch have one weight here, as in dynamic convolution; a selective kernel has one for each.",
        ),
        "the same for all images": Mistake(
            _selected_with(lambda z: z.mean(0, keepdim=True).softmax(1)),
            "All images have the same weights here: the mean over the batch has no place in it.",
        ),
        "mean over branches": Mistake(
            lambda maps, z: (maps * z.softmax(1)[..., None, None]).mean(1),
            "The weighted branches are averaged; the weights sum to one already, so add them up.",
        ),
        "winner only": Mistake(
            _selected_with(lambda z: torch.nn.functional.one_hot(z.argmax(1), z.shape[1]).movedim(-1, 1).to(z.dtype)),
            "Only the strongest branch of each channel is left, the limit of T → 0; weigh all of them with the softmax.",
        ),
        "not added up": Mistake(
            lambda maps, z: maps * z.softmax(1)[..., None, None],
            "The K branches are weighed, but not added: sum over dim 1.",
        ),
    },
)


def rescaled(weight: Tensor, pi: Tensor, new: Tensor) -> Tensor:
    """The kernels that give with the weights ``new`` the output that ``weight`` gives with ``pi``."""
    return weight * (pi / new)[:, None, None, None, None]


def _rescaled_cases():
    generator = torch.Generator().manual_seed(2)
    pairs = ((2, (0.9, 0.1), (0.1, 0.9)), (4, (0.4, 0.3, 0.2, 0.1), (0.25, 0.25, 0.2, 0.3)))
    return [
        (torch.randn(K, 3, 2, 5, K, generator=generator), torch.tensor(pi), torch.tensor(new)) for K, pi, new in pairs
    ]


def _resized_by(factor):
    return lambda w, p, n: w * factor(p, n)[:, None, None, None, None]


RESCALED = Exercise(
    rescaled,
    _rescaled_cases,
    {
        "upside down": Mistake(
            _resized_by(lambda p, n: n / p),
            "Upside down: a kernel whose weight shrinks must grow, so the factor is pi / new.",
        ),
        "multiplied": Mistake(
            _resized_by(lambda p, n: p * n),
            "Multiplied instead of divided: new_k times the new kernel must be pi_k times the old one.",
        ),
        "not divided": Mistake(
            _resized_by(lambda p, n: p),
            "That is pi_k W_k, what each kernel adds. Divide it by new_k, by which it will be multiplied.",
        ),
        "difference": Mistake(
            _resized_by(lambda p, n: 1 + p - n), "Weights multiply, so a ratio is needed, not a difference: pi / new."
        ),
        "one factor for all": Mistake(
            _resized_by(lambda p, n: (p[0] / n[0]).expand_as(p)),
            "All kernels have got the factor of the first; each has one of its own.",
        ),
        "unchanged": Mistake(
            lambda w, p, n: w.clone(), "The kernels are as they were: with new weights the output would be another one."
        ),
        "mixed": Mistake(
            lambda w, p, n: torch.einsum("k,k...->...", p, w),
            "That is the one mixed kernel; asked for are K kernels that mix to it with the new weights.",
        ),
        "along the width": Mistake(
            lambda w, p, n: w * (p / n),
            "The factors meet the last dimension, the kernel's width. They belong to the first: [:, None, None, None, None].",
        ),
    },
)

EXERCISES = {"12.fold_norm": FOLD_NORM, "12.select": SELECT, "12.rescaled": RESCALED}

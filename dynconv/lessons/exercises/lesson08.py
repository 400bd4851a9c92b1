"""Exercises of lesson 08, the attention and the normalisation of U-GAT-IT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...functional.cam import auxiliary_classifier_loss
from ...functional.normalization import adaptive_layer_instance_norm
from .exercise import Exercise, Mistake

__all__ = ["EXERCISES"]


def cam_attention(f: Tensor, average: Tensor, maximum: Tensor, v: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The attended features, and the logits of the two classifiers whose weights attend."""
    return _attended(f, average, maximum, v, b), _logits(f, average, maximum)


def _attended(f, average, maximum, v, b, activation=torch.relu):
    weighed = torch.cat([f * w[..., None, None] for w in (average, maximum)], dim=1)  # (B, 2C, H, W)
    return activation(F.conv2d(weighed, v, b))  # (B, C, H, W)


def _logits(f, average, maximum):
    return torch.stack([f.mean((2, 3)) @ average, f.amax((2, 3)) @ maximum], dim=1)  # (B, 2)


def _attention_cases():
    generator, cases = torch.Generator().manual_seed(8), []
    for batch, channels in ((2, 3), (3, 5)):
        shapes = (batch, channels, 4, 3), (channels,), (channels,), (channels, 2 * channels, 1, 1), (channels,)
        cases.append(tuple(torch.randn(shape, generator=generator) for shape in shapes))
    return cases


def _changed(change):
    """The solution with the weights (of the attended features, not of the logits) changed."""

    def answer(f, average, maximum, v, b):
        average_, maximum_ = change(f, average, maximum)
        return _attended(f, average_, maximum_, v, b), _logits(f, average, maximum)

    return answer


CAM_ATTENTION = Exercise(
    cam_attention,
    _attention_cases,
    {
        "order swapped": Mistake(
            _changed(lambda f, a, m: (m, a)),
            "The two halves stand in the wrong order: the average branch's channels come first, then the maximum's.",
        ),
        "sums for means": Mistake(
            lambda f, a, m, v, b: (
                _attended(f, a, m, v, b),
                torch.stack([f.sum((2, 3)) @ a, f.amax((2, 3)) @ m], dim=1),
            ),
            "The average branch's logit is made of sums. It is the *mean* of each channel that its classifier sees.",
        ),
        "softmax": Mistake(
            _changed(lambda f, a, m: (a.softmax(0), m.softmax(0))),
            "A softmax was put on the weights. These are a classifier's weights, used as they are, negative ones too.",
        ),
        "sigmoid": Mistake(
            _changed(lambda f, a, m: (a.sigmoid(), m.sigmoid())),
            "A sigmoid was put on the weights, as in Squeeze-and-Excitation. Here a classifier's weights are used as they are.",
        ),
        "weights of the image": Mistake(
            _changed(lambda f, a, m: (a * f.mean((2, 3)), m * f.amax((2, 3)))),
            "The features were multiplied with w · pooled, which each image would have of its own. "
            "The pooled values go into the logits only; the features are multiplied with w alone.",
        ),
        "pooled as weights": Mistake(
            _changed(lambda f, a, m: (f.mean((2, 3)), f.amax((2, 3)))),
            "The features were multiplied with what was pooled from them, much as Squeeze-and-Excitation does. "
            "Here they are multiplied with the classifiers' weights, `average` and `maximum`.",
        ),
        "no activation": Mistake(
            lambda f, a, m, v, b: (_attended(f, a, m, v, b, lambda y: y), _logits(f, a, m)),
            "The ReLU after the 1×1 convolution is missing.",
        ),
        "no bias": Mistake(
            lambda f, a, m, v, b: (_attended(f, a, m, v, None), _logits(f, a, m)),
            "The 1×1 convolution's bias b is missing.",
        ),
        "mean twice": Mistake(
            lambda f, a, m, v, b: (
                _attended(f, a, m, v, b),
                torch.stack([f.mean((2, 3)) @ a, f.mean((2, 3)) @ m], dim=1),
            ),
            "Both logits are of the means; the second classifier sees the maximum of each channel.",
        ),
        "logits transposed": Mistake(
            lambda f, a, m, v, b: (_attended(f, a, m, v, b), _logits(f, a, m).T),
            "The logits are (2, B), a row for each classifier. Stack along dim 1: a row for each image, (B, 2).",
        ),
        "probabilities": Mistake(
            lambda f, a, m, v, b: (_attended(f, a, m, v, b), _logits(f, a, m).sigmoid()),
            "A sigmoid was put on the logits. The loss brings one of its own; return the logits as they are.",
        ),
        "logits swapped": Mistake(
            lambda f, a, m, v, b: (_attended(f, a, m, v, b), _logits(f, a, m).flip(1)),
            "The two logits are in the wrong order: the average branch's first, then the maximum's.",
        ),
        "average's weights twice": Mistake(
            _changed(lambda f, a, m: (a, a)),
            "Both halves were multiplied with the average branch's weights; the second takes the maximum branch's.",
        ),
        "other way round": Mistake(
            lambda f, a, m, v, b: (_logits(f, a, m), _attended(f, a, m, v, b)),
            "Both are there, in the wrong order: first the attended features, then the logits.",
        ),
        "logits added": Mistake(
            lambda f, a, m, v, b: (_attended(f, a, m, v, b), _logits(f, a, m).sum(1)),
            "The two logits were added up. They stay two, (B, 2): each classifier gets a loss of its own.",
        ),
    },
)


def attention_loss(source: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy: the source's logits to 1, the target's to 0."""
    return auxiliary_classifier_loss(source, target)


def _loss_cases():
    generator = torch.Generator().manual_seed(9)
    cases = [tuple(3 * torch.randn(2, batch, 2, generator=generator)) for batch in (3, 5)]
    return [*cases, tuple(100 * scores for scores in cases[0])]  # the last so large that σ is 0 or 1 in float32


ATTENTION_LOSS = Exercise(
    attention_loss,
    _loss_cases,
    {
        "labels swapped": Mistake(
            lambda s, t: F.softplus(s).mean() + F.softplus(-t).mean(),
            "The labels are the wrong way round: 1 is for the source, 0 for the target.",
        ),
        "source only": Mistake(
            lambda s, t: F.softplus(-s).mean(),
            "Only the source has a say. A classifier that answers 1 to everything would be perfect.",
        ),
        "sigmoid twice": Mistake(
            lambda s, t: F.softplus(-s.sigmoid()).mean() + F.softplus(t.sigmoid()).mean(),
            "The sigmoid was taken twice: `binary_cross_entropy_with_logits` has one in itself.",
        ),
        "squared error": Mistake(
            lambda s, t: (s - 1).square().mean() + t.square().mean(),
            "That is the squared error, which the discriminator's attention gets; the generator's gets cross entropy.",
        ),
        "logarithm of the sigmoid": Mistake(
            lambda s, t: -(s.sigmoid().log().mean() + (1 - t.sigmoid()).log().mean()),
            "Right for small logits; large ones give inf, for the sigmoid is rounded to 0 or 1 before its logarithm is taken. "
            "`F.binary_cross_entropy_with_logits` takes both in one step.",
        ),
        "cross entropy of the sigmoid": Mistake(
            lambda s, t: -(s.sigmoid().log().clamp_min(-100).mean() + (1 - t.sigmoid()).log().clamp_min(-100).mean()),
            "Right for small logits; for large ones `F.binary_cross_entropy` cuts the logarithm of a rounded sigmoid off at "
            "−100. `F.binary_cross_entropy_with_logits` takes sigmoid and logarithm in one step.",
        ),
        **{
            f"clamped at {least:g}": Mistake(
                lambda s, t, least=least: (
                    -(s.sigmoid().clamp_min(least).log().mean() + (1 - t.sigmoid()).clamp_min(least).log().mean())
                ),
                f"The sigmoid is kept away from 0 by {least:g}: large logits then cost too little, and have no gradient. "
                "`F.binary_cross_entropy_with_logits` takes sigmoid and logarithm in one step.",
            )
            for least in (1e-12, 1e-8, 1e-7, 1e-6, 1e-5)
        },
        "one label for both": Mistake(
            lambda s, t: F.softplus(-s).mean() + F.softplus(-t).mean(),
            "Both kinds were labelled 1. The target's label is 0: `torch.zeros_like(target)`.",
        ),
        "sign": Mistake(
            lambda s, t: -F.softplus(-s).mean() - F.softplus(t).mean(),
            "The sign is turned round: logarithms of probabilities are negative, and the loss is minus their mean.",
        ),
        "target only": Mistake(
            lambda s, t: F.softplus(t).mean(),
            "Only the target has a say. A classifier that answers 0 to everything would be perfect.",
        ),
        "summed over the classifiers": Mistake(
            lambda s, t: F.softplus(-s).sum(1).mean() + F.softplus(t).sum(1).mean(),
            "The two classifiers' losses were added up: twice too much. Take the mean over all logits of a kind.",
        ),
        "subtracted": Mistake(
            lambda s, t: F.softplus(-s).mean() - F.softplus(t).mean(),
            "One loss was subtracted from the other, so a wrong answer about the target would be rewarded. Add them.",
        ),
        "one mean": Mistake(
            lambda s, t: torch.cat([F.softplus(-s), F.softplus(t)]).mean(),
            "One mean over both kinds gives half the loss; take a mean for each kind and add the two.",
        ),
        "summed": Mistake(
            lambda s, t: F.softplus(-s).sum() + F.softplus(t).sum(),
            "The losses of the images were summed up; take the mean, or a larger batch would count more.",
        ),
    },
)


def adalin(x: Tensor, rho: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """AdaLIN with rho clamped to 0 … 1."""
    return adaptive_layer_instance_norm(x, rho.clamp(0, 1), gamma, beta)


def _adalin_cases():
    generator, cases = torch.Generator().manual_seed(10), []
    # a first case inside 0 … 1, so that a forgotten clamp is not all that is ever noticed
    for batch, rho in ((2, [0.1, 0.6, 0.9]), (3, [-0.4, 0.3, 1.7, 1.0])):
        shapes = (batch, len(rho), 4, 3), (batch, len(rho)), (batch, len(rho))
        x, gamma, beta = (torch.randn(shape, generator=generator) for shape in shapes)
        cases.append((2 * x + 1, torch.tensor(rho), gamma, beta))
    return cases


def _normalised(x, dims, unbiased=True):
    return (x - x.mean(dims, keepdim=True)) * torch.rsqrt(x.var(dims, keepdim=True, unbiased=unbiased) + 1e-5)


def _adalin_with(
    instance=(2, 3), layer=(1, 2, 3), unbiased=True, mix=lambda r: r.clamp(0, 1), scale=lambda g, b: (g, b)
):
    def answer(x, rho, gamma, beta):
        r = mix(rho)[:, None, None]
        gamma, beta = (value[..., None, None] for value in scale(gamma, beta))
        both = r * _normalised(x, instance, unbiased) + (1 - r) * _normalised(x, layer, unbiased)
        return gamma * both + beta

    return answer


def _blend(x, rho, gamma, beta):
    both = rho * _normalised(x, (2, 3)) + (1 - rho) * _normalised(x, (1, 2, 3))
    return gamma[..., None, None] * both + beta[..., None, None]


def _of_parts(x, rho, gamma, beta, norm):
    r = rho.clamp(0, 1)[:, None, None]
    both = r * norm(x, (2, 3)) + (1 - r) * norm(x, (1, 2, 3))
    return gamma[..., None, None] * both + beta[..., None, None]


ADALIN = Exercise(
    adalin,
    _adalin_cases,
    {
        "rho turned round": Mistake(
            _adalin_with(mix=lambda r: 1 - r.clamp(0, 1)),
            "rho is turned round: 1 is all instance norm, 0 all layer norm.",
        ),
        "no clamp": Mistake(
            _adalin_with(mix=lambda r: r),
            "rho is used as it is. One below 0 or above 1 has to be clamped first; look at the second case.",
        ),
        "sigmoid": Mistake(
            _adalin_with(mix=torch.sigmoid),
            "A sigmoid was put on rho. That would keep it inside, but never reach 0 or 1; rho is clamped.",
        ),
        "batch norm": Mistake(
            _adalin_with(instance=(0, 2, 3)),
            "The instance norm's mean and variance run over the batch, too: that is a batch norm, and images would mix.",
        ),
        "layer norm over channels": Mistake(
            _adalin_with(layer=(1,)),
            "The layer norm's mean and variance are over channels at each position; take channels *and* positions together.",
        ),
        "layer norm over the batch": Mistake(
            _adalin_with(layer=(0, 1, 2, 3)),
            "The layer norm's mean and variance run over the batch, too, and images would mix. Take dims 1, 2 and 3.",
        ),
        "rho along the width": Mistake(
            lambda x, rho, g, b: _blend(x, rho.clamp(0, 1), g, b),
            "rho (C,) met the last dimension, the width, and not the channels. Make it (C, 1, 1) first.",
        ),
        "divided by n": Mistake(
            _adalin_with(unbiased=False),
            "Nearly: these variances are divided by n; U-GAT-IT's are divided by n - 1, as torch's `var` does unless told otherwise.",
        ),
        "variance for deviation": Mistake(
            lambda x, rho, g, b: _of_parts(
                x, rho, g, b, lambda x, d: (x - x.mean(d, keepdim=True)) / (x.var(d, keepdim=True) + 1e-5)
            ),
            "It is divided by the variance. Divide by its square root, the deviation.",
        ),
        "mean kept": Mistake(
            lambda x, rho, g, b: _of_parts(x, rho, g, b, lambda x, d: x * torch.rsqrt(x.var(d, keepdim=True) + 1e-5)),
            "The means are not taken away: a norm subtracts the mean before it divides.",
        ),
        "no gamma": Mistake(_adalin_with(scale=lambda g, b: (torch.ones_like(g), b)), "The scale gamma is missing."),
        "gamma and beta swapped": Mistake(
            _adalin_with(scale=lambda g, b: (b, g)), "gamma and beta are swapped: gamma scales, beta shifts."
        ),
        "no beta": Mistake(_adalin_with(scale=lambda g, b: (g, 0 * b)), "The shift beta is missing."),
        "one scale for all": Mistake(
            _adalin_with(scale=lambda g, b: (g.mean(0), b.mean(0))),
            "gamma and beta were averaged over the batch; each image has its own row.",
        ),
    },
)

EXERCISES = {"08.attention": CAM_ATTENTION, "08.loss": ATTENTION_LOSS, "08.adalin": ADALIN}

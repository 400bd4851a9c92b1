"""Exercises of lesson 04, squeeze and excitation."""

from __future__ import annotations

import torch
from torch import Tensor

from .exercise import Exercise, Mistake

__all__ = ["EXERCISES"]


def _scores(x, w1, b1, w2, b2):
    return torch.relu(x.mean((2, 3)) @ w1.T + b1) @ w2.T + b2  # (B, C)


def _gated(x, gate):
    return x * gate[:, :, None, None]


def squeeze_excite(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """x times sigmoid(relu(mean(x) W1ᵀ + b1) W2ᵀ + b2), channel by channel and image by image."""
    return _gated(x, torch.sigmoid(_scores(x, w1, b1, w2, b2)))


def _excite_cases():
    generator = torch.Generator().manual_seed(4)
    cases = []
    for batch, channels, hidden in ((3, 4, 4), (2, 6, 3)):
        shapes = ((batch, channels, 4, 5), (hidden, channels), (hidden,), (channels, hidden), (channels,))
        x, *layers = (torch.randn(shape, generator=generator) for shape in shapes)
        cases.append((3 * x + 0.5, *layers))
    return cases


SQUEEZE_EXCITE = Exercise(
    squeeze_excite,
    _excite_cases,
    {
        "softmax": Mistake(
            lambda x, w1, b1, w2, b2: _gated(x, torch.softmax(_scores(x, w1, b1, w2, b2), 1)),
            "The channels compete: a softmax makes their gates sum to one. A gate is the sigmoid of its own score.",
        ),
        "no sigmoid": Mistake(
            lambda x, w1, b1, w2, b2: _gated(x, _scores(x, w1, b1, w2, b2)),
            "The scores themselves multiply x here. A sigmoid brings them between 0 and 1 first.",
        ),
        "no ReLU": Mistake(
            lambda x, w1, b1, w2, b2: _gated(x, torch.sigmoid((x.mean((2, 3)) @ w1.T + b1) @ w2.T + b2)),
            "The ReLU between the two layers is missing; without it they are one linear layer.",
        ),
        "not transposed": Mistake(
            lambda x, w1, b1, w2, b2: _gated(x, torch.sigmoid(torch.relu(x.mean((2, 3)) @ w1 + b1) @ w2 + b2)),
            "The layers' weights are (out, in), as in nn.Linear: multiply with w1.T and w2.T.",
        ),
        "two sigmoids": Mistake(
            lambda x, w1, b1, w2, b2: _gated(x, torch.sigmoid(torch.sigmoid(x.mean((2, 3)) @ w1.T + b1) @ w2.T + b2)),
            "There is a sigmoid after the first layer too. Between the layers stands a ReLU.",
        ),
        "ReLU at the end": Mistake(
            lambda x, w1, b1, w2, b2: _gated(x, torch.relu(_scores(x, w1, b1, w2, b2))),
            "The gates go through a ReLU: they may exceed 1. The last step before multiplying is the sigmoid.",
        ),
        "no bias": Mistake(
            lambda x, w1, b1, w2, b2: _gated(x, torch.sigmoid(_scores(x, w1, 0, w2, 0))),
            "The biases b1 and b2 are not used. Add b1 before the ReLU and b2 before the sigmoid.",
        ),
        "squeezed over the batch": Mistake(
            lambda x, w1, b1, w2, b2: _gated(x, torch.sigmoid(_scores(x.mean(0, keepdim=True), w1, b1, w2, b2))),
            "The images are averaged before the layers see them, so all get the same gates. Squeeze over dims 2 and 3 only.",
        ),
        "gates averaged over the batch": Mistake(
            lambda x, w1, b1, w2, b2: _gated(x, torch.sigmoid(_scores(x, w1, b1, w2, b2)).mean(0, keepdim=True)),
            "All images get the batch's mean gates. Every image keeps its own row.",
        ),
        "sum instead of mean": Mistake(
            lambda x, w1, b1, w2, b2: _gated(x, torch.sigmoid(torch.relu(x.sum((2, 3)) @ w1.T + b1) @ w2.T + b2)),
            "The squeeze adds the pixels up; then larger images give larger scores. Take the mean.",
        ),
        "maximum": Mistake(
            lambda x, w1, b1, w2, b2: _gated(x, torch.sigmoid(torch.relu(x.amax((2, 3)) @ w1.T + b1) @ w2.T + b2)),
            "The squeeze takes the largest pixel of each channel. The exercise asks for the mean.",
        ),
        "added": Mistake(
            lambda x, w1, b1, w2, b2: x + torch.sigmoid(_scores(x, w1, b1, w2, b2))[:, :, None, None],
            "The gates are added. A gate multiplies: 0 closes its channel, 1 lets it through.",
        ),
        "added to x": Mistake(
            lambda x, w1, b1, w2, b2: x + squeeze_excite(x, w1, b1, w2, b2),
            "The gated x is added to x, so no gate can close. Return x times the gates alone.",
        ),
        "closed for open": Mistake(
            lambda x, w1, b1, w2, b2: x - squeeze_excite(x, w1, b1, w2, b2),
            "x is multiplied by 1 - gate: what should pass is closed. Multiply by the gate.",
        ),
        "gates only": Mistake(
            lambda x, w1, b1, w2, b2: torch.sigmoid(_scores(x, w1, b1, w2, b2)),
            "These are the gates. The last step is missing: multiply x by them.",
        ),
    },
)


def own_kernels(weight: Tensor, bias: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Each image's kernel and bias: output channel c scaled by gate c."""
    return torch.einsum("bo,oikl->boikl", gate, weight), gate * bias


def _kernel_cases():
    generator = torch.Generator().manual_seed(14)
    cases = []
    for batch, out, channels in ((3, 4, 4), (2, 3, 3)):  # as many channels in as out: scaling the wrong side runs too
        shapes = ((out, channels, 3, 3), (out,), (batch, out))
        weight, bias, scores = (torch.randn(shape, generator=generator) for shape in shapes)
        cases.append((weight, bias, torch.sigmoid(scores)))
    return cases


OWN_KERNELS = Exercise(
    own_kernels,
    _kernel_cases,
    {
        "input channels": Mistake(
            lambda w, b, g: (torch.einsum("bi,oikl->boikl", g, w), g * b),
            "The gates scale the input channels. They stand after this convolution, so gate c belongs to output channel c.",
        ),
        "bias not scaled": Mistake(
            lambda w, b, g: (torch.einsum("bo,oikl->boikl", g, w), b.expand_as(g)),
            "The biases are not scaled. The gate multiplies all of the output, the bias with it.",
        ),
        "weight not scaled": Mistake(
            lambda w, b, g: (w.expand(len(g), *w.shape), g * b),
            "Only the biases are scaled: every image still has the layer's own kernel. Scale both.",
        ),
        "no batch": Mistake(
            lambda w, b, g: (torch.einsum("o,oikl->oikl", g.mean(0), w), g.mean(0) * b),
            "There is one kernel for all images, from their mean gates. Each image has its own: the result starts with B.",
        ),
        "gates averaged": Mistake(
            lambda w, b, g: own_kernels(w, b, g.mean(0, keepdim=True).expand_as(g)),
            "Every image gets the mean of the gates. Row b of the gates belongs to image b.",
        ),
        "one gate an image": Mistake(
            lambda w, b, g: own_kernels(w, b, g.mean(1, keepdim=True).expand_as(g)),
            "All channels of an image are scaled alike. Every output channel has a gate of its own.",
        ),
        "normalised": Mistake(
            lambda w, b, g: own_kernels(w, b, g / g.sum(1, keepdim=True)),
            "The gates are divided by their sum. They need not sum to one: use them as they are.",
        ),
        "added": Mistake(
            lambda w, b, g: (g[:, :, None, None, None] + w, g + b),
            "The gates are added. They multiply: each output channel's kernel, and its bias.",
        ),
        "sigmoid again": Mistake(
            lambda w, b, g: own_kernels(w, b, torch.sigmoid(g)),
            "The gates have been through the sigmoid already; here they go through it again.",
        ),
    },
)

EXERCISES = {"04.squeeze_excite": SQUEEZE_EXCITE, "04.kernels": OWN_KERNELS}

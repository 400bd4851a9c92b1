"""Is the largest weight the most important kernel? Every kernel left out once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynconv.functional import conv
from dynconv.lessons.tasks import Split
from dynconv.probe import intervene, record

from .common import Numbers, each_loss, layer_of, percent, pm, task, train
from .statistics import spearman

__all__ = ["CASES", "SEEDS", "run", "tell"]

SEEDS = range(20)
CASES = {f"{name}, {system}": (name, system) for name in ("restoration", "clutter") for system in ("mix", "dynamic")}
GUESSES, WAYS = ("weight", "adds"), ("dropped", "renormalised")


def run(case: str, seed: int) -> Numbers:
    """Train a layer of four kernels at T = 1, and compare weights with what breaks without each kernel.

    *dropped* sets one kernel's weight to 0; *renormalised* then divides by what is left, so that the weights sum to one
    again. *weight* and *adds* (the mean square of weight times map) are the two guesses at which kernel matters.
    """
    name, system = CASES[case]
    torch.manual_seed(seed)
    model = train(task(name).network(system, num_kernels=4, temperature=1.0), task(name), seed)
    return rank(model, task(name).test)


def rank(model: nn.Module, split: Split) -> Numbers:
    """Rank correlation of both guesses with both kinds of importance, over the kernels of one trained layer."""
    with record(model) as seen:
        before = each_loss(model, split)  # (N,)
    (weights,) = (layer.weights for layer in seen.values())  # (N, K), or (K,) of a mix
    whole = {way: _without(model, split, weights, way) - before[:, None] for way in WAYS}  # (N, K): how the loss grows
    parts = _adds(model, split, weights)  # (N, K)
    guesses = {"weight": weights.expand_as(parts), "adds": parts}
    found: Numbers = {}
    for way, growth in whole.items():
        for guess, value in guesses.items():
            found[f"{guess}, {way}"] = spearman(value.mean(0), growth.mean(0)).item()
            found[f"{guess}, {way}, first"] = float(value.mean(0).argmax() == growth.mean(0).argmax())
            if weights.ndim == 2:  # what differs from image to image can also be ranked image by image
                found[f"{guess}, {way}, image"] = spearman(value, growth).nanmean().item()
    return found | {"test_loss": before.mean().item(), "largest": weights.expand_as(parts).amax(1).mean().item()}


def _without(model: nn.Module, split: Split, weights: Tensor, way: str) -> Tensor:
    """Loss of each image without each kernel, (N, K)."""
    losses = []
    for k in range(weights.shape[-1]):
        left = weights.clone()
        left[..., k] = 0
        if way == "renormalised":
            left = left / left.sum(-1, keepdim=True).clamp_min(torch.finfo(left.dtype).tiny)
        with intervene(model, "given", attention=left):
            losses.append(each_loss(model, split))
    return torch.stack(losses, dim=1)


@torch.no_grad()
def _adds(model: nn.Module, split: Split, weights: Tensor) -> Tensor:
    """Mean square of what each kernel adds to the layer's output, for each image: (N, K)."""
    layer, inputs = layer_of(model), []
    handle = layer.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    model(split.inputs)
    handle.remove()
    biases = [None] * layer.num_kernels if layer.bias is None else list(layer.bias)
    maps = (conv(inputs[0], w, b, **layer.geometry()) for w, b in zip(layer.weight, biases, strict=True))
    return torch.stack([y.square().flatten(1).mean(1) for y in maps], dim=1) * weights.square()


def tell(found: dict[str, list[Numbers]]) -> list[str]:
    """The tables."""
    text = ["| layer | seeds | largest weight | " + " | ".join(f"{g}, {w}" for w in WAYS for g in GUESSES) + " |"]
    text += ["| --- | --: | --: |" + " --: |" * 4]
    first = ["| layer | " + " | ".join(f"{g}, {w}" for w in WAYS for g in GUESSES) + " |", "| --- |" + " --: |" * 4]
    within = list(first)
    for case, lines in found.items():
        cells = [f"{guess}, {way}" for way in WAYS for guess in GUESSES]
        text.append(f"| {case} | {len(lines)} | {percent(lines, 'largest')} % | {_row(lines, cells, '+.2f')} |")
        first.append(f"| {case} | {' | '.join(_hits(lines, f'{cell}, first') for cell in cells)} |")
        if f"{cells[0]}, image" in lines[0]:
            within.append(f"| {case} | {_row(lines, [f'{cell}, image' for cell in cells], '+.2f')} |")
    return [
        "Four kernels, T = 1. Each is left out once: its weight set to 0 (*dropped*), or what is left made to sum to one again "
        "(*renormalised*); how much the test loss grows is its importance. Two guesses: its mean *weight*, and what it *adds*, the mean "
        "square of weight times map. Rank correlation (Spearman's) of guess and importance over the four kernels of a layer, mean ± "
        "standard deviation over seeds (1: the same order, 0: none):",
        "\n".join(text),
        "How often the first by the guess is the most important one (one in four by chance):",
        "\n".join(first),
        "The same within each image, whose weights are its own (mean over the images, then over seeds):",
        "\n".join(within),
    ]


def _row(lines: list[Numbers], cells: list[str], form: str) -> str:
    return " | ".join(pm(lines, cell, form) for cell in cells)


def _hits(lines: list[Numbers], name: str) -> str:
    return f"{sum(line[name] == 1 for line in lines)} of {len(lines)}"

"""Do branches that fold pay? Trained with branches, one convolution when it counts."""

from __future__ import annotations

import torch
from torch import nn

from dynconv.cost import summary
from dynconv.layers import BranchedConv2d
from dynconv.lessons.tasks import measure
from dynconv.surgery import fold

from .common import Numbers, percent, pm, task, train

__all__ = ["CASES", "SEEDS", "run", "tell"]

SEEDS = range(5)
KINDS: dict[str, tuple] = {
    "one convolution": (3,),
    "ACNet": (3, (1, 3), (3, 1)),
    "RepVGG": (3, 1),  # and the identity, where as many channels come out as go in
    "diverse branches": (3, 1, "sequence", "average"),
}
WIDTHS = {"two layers": (8, 16), "four layers": (8, 16, 16, 16)}
CASES = {
    f"{name}, {depth}, {kind}": (name, depth, kind)
    for name, depth in (("digits", "two layers"), ("digits", "four layers"), ("clutter", "two layers"))
    for kind in KINDS
}


def network(depth: str, kind: str) -> nn.Sequential:
    """Convolutions, each in branches with a norm each; ReLU between; the mean over positions, and classes."""
    layers: list[nn.Module] = []
    for channels, out in zip((1, *WIDTHS[depth]), WIDTHS[depth], strict=False):
        branches = (*KINDS[kind], "identity") if kind == "RepVGG" and channels == out else KINDS[kind]
        layers += [BranchedConv2d(channels, out, 3, branches), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[depth][-1], 10))


def run(case: str, seed: int) -> Numbers:
    """Train, fold every layer into one plain convolution, and measure what is left: the same network for all kinds."""
    name, depth, kind = CASES[case]
    on = task(name)
    torch.manual_seed(seed)
    model = network(depth, kind)
    trained = sum(p.numel() for p in model.parameters())
    losses: dict[int, float] = {}
    stops = (on.recipe["epochs"] // 3, on.recipe["epochs"])
    train(
        model, on, seed, after=lambda epoch: epoch in stops and losses.update({epoch: measure(model, on)["test_loss"]})
    )
    folded = fold(model)
    cost = summary(folded, on.test.inputs[:1])
    numbers = measure(folded, on) | {"parameters": cost.parameters, "macs": cost.macs, "trained": trained}
    return numbers | {"early": losses[stops[0]], "off": abs(losses[stops[1]] - numbers["test_loss"])}


def tell(found: dict[str, list[Numbers]]) -> list[str]:
    """The table."""
    text = [
        "| network | parameters trained | when folded | multiply-adds | after a third | test loss | paired | accuracy % |"
    ]
    text += ["| --- |" + " --: |" * 7]
    for case, lines in found.items():
        name, depth, _ = CASES[case]
        cost = " | ".join(f"{int(lines[0][key]):,}" for key in ("trained", "parameters", "macs"))
        losses = f"{pm(lines, 'early')} | {pm(lines, 'test_loss')} | {_paired(lines, found.get(f'{name}, {depth}, one convolution', []))}"
        text.append(f"| {case} | {cost} | {losses} | {percent(lines, 'test_accuracy')} |")
    worst = max(line["off"] for lines in found.values() for line in lines)
    return [
        "The same network, recipe (one learning rate for all) and seeds; each convolution is trained as one, or as [ACNet](https://arxiv.org/abs/1908.03930)'s, "
        "[RepVGG](https://arxiv.org/abs/2101.03697)'s or [diverse](https://arxiv.org/abs/2103.13425) branches, each with a batch norm. "
        "Measured folded: then all of a group cost the same and differ in their numbers only "
        f"(folding changes the test loss by at most {worst:.0e}). *paired*: test loss against one convolution, seed by seed (negative is "
        "better).",
        "\n".join(text),
    ]


def _paired(lines: list[Numbers], others: list[Numbers]) -> str:
    if lines is others:
        return "–"
    return pm([{"d": a["test_loss"] - b["test_loss"]} for a, b in zip(lines, others, strict=False)], "d", "+.4f")

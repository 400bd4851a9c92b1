"""Does a sum of one pay? Softmax weights against others on the same networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dynconv import KernelAttention, SignedAttention
from dynconv.lessons.systems import LOOK, look
from dynconv.lessons.tasks import measure
from dynconv.probe import record

from .common import Numbers, layer_of, percent, pm, task, train

__all__ = ["CASES", "SEEDS", "run", "tell"]

SEEDS, BLENDING = range(5), 0.3  # the signed weights begin as one kernel alone; the share of the epochs this takes


class Scores(KernelAttention):
    """The scores themselves: any sign, any sum."""

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x)


class Divided(KernelAttention):
    """Sigmoids divided by their sum: a sum of one, without a softmax."""

    def forward(self, x: Tensor) -> Tensor:
        gates = super().forward(x)
        return gates / gates.sum(1, keepdim=True)


KINDS: dict[str, tuple[bool, Callable[..., nn.Module]]] = {  # name → (sums to one, attention)
    "softmax": (True, lambda channels, r: KernelAttention(channels, 4, r, temperature=1.0)),
    "sigmoid / sum": (True, lambda channels, r: Divided(channels, 4, r, temperature=1.0, activation="sigmoid")),
    "sigmoid": (False, lambda channels, r: KernelAttention(channels, 4, r, temperature=1.0, activation="sigmoid")),
    "signed": (False, lambda channels, r: SignedAttention(channels, 4, r)),
    "unnormalised": (False, lambda channels, r: Scores(channels, 4, r)),
}
CASES = {f"{name}, {kind}": (name, kind) for name in ("clutter", "digits", "restoration") for kind in KINDS}


def run(case: str, seed: int) -> Numbers:
    """Four kernels weighed in one of five ways: the same network, recipe and seed, and the same first scores."""
    name, kind = CASES[case]
    on = task(name)
    torch.manual_seed(seed)
    model = on.network("dynamic", num_kernels=4, temperature=1.0)
    attend(model, kind, seed)
    train(model, on, seed, after=lambda epoch: blend(model, epoch / (BLENDING * on.recipe["epochs"])))
    with record(model) as seen:
        numbers = measure(model, on)
    (weights,) = (layer.weights for layer in seen.values())
    sums = weights.sum(1)
    return numbers | {"sum": sums.mean().item(), "sum spread": sums.std().item(), "least": weights.min().item()}


def attend(model: nn.Module, kind: str, seed: int) -> None:
    """Put another attention into the network's layer, with first scores that depend on the seed alone."""
    layer = layer_of(model)
    torch.manual_seed(1000 + seed)
    if isinstance(layer.attention, nn.Sequential):  # a layer of one channel looks with a stem
        layer.attention = nn.Sequential(*look(), KINDS[kind][1](LOOK, 1))
    else:
        layer.attention = KINDS[kind][1](layer.in_channels, 1)  # of two hidden units often neither is ever above 0


def blend(model: nn.Module, over: float) -> None:
    """KernelWarehouse's way in: kernel 1 alone, then in a straight line the learned weights."""
    for module in model.modules():
        if isinstance(module, SignedAttention):
            module.blend.fill_(max(0.0, 1.0 - over))


def tell(found: dict[str, list[Numbers]]) -> list[str]:
    """The table, and the one comparison in which nothing but the sum differs."""
    text = [
        "| weights | sum to one | test loss | accuracy % | sum of the weights | spread between images | least weight |"
    ]
    text += ["| --- | --- | --: | --: | --: | --: | --: |"]
    for case, lines in found.items():
        cells = " | ".join(pm(lines, key, ".2f") for key in ("sum", "sum spread", "least"))
        one = "yes" if KINDS[CASES[case][1]][0] else "no"
        text.append(f"| {case} | {one} | {pm(lines, 'test_loss')} | {percent(lines, 'test_accuracy')} | {cells} |")
    names = [name for name in dict.fromkeys(name for name, _ in CASES.values()) if f"{name}, sigmoid / sum" in found]
    pairs = [f"{name}, {_paired(found, name)}" for name in names]
    return [
        "Four kernels, the same network, recipe and first scores; only what is made of the scores differs: a softmax (T = 1), sigmoids, "
        "sigmoids divided by their sum, the scores divided by the sum of their sizes after a start with one kernel alone (*signed*, "
        "[KernelWarehouse](https://arxiv.org/abs/2406.07879)), or the scores themselves (*unnormalised*). A batch norm follows in "
        "*clutter* and *digits*, none in *restoration*; there the attention has as many hidden units as channels, 8.",
        "\n".join(text),
        f"Sigmoids with a sum of one against those without, test loss, paired (negative: the sum of one helps): {'; '.join(pairs)}.",
    ]


def _paired(found: dict[str, list[Numbers]], name: str) -> str:
    one, free = (found.get(f"{name}, {kind}", []) for kind in ("sigmoid / sum", "sigmoid"))
    both = [{"d": a["test_loss"] - b["test_loss"]} for a, b in zip(one, free, strict=False)]
    return pm(both, "d", "+.4f")

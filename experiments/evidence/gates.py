"""Gates: accuracy, and time, against the budget of multiply-adds, on digits in clutter; with noise to the end or not."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from dynconv.functional import sparsity_loss
from dynconv.lessons.data import digits_in_clutter
from dynconv.lessons.networks import GatedNet
from dynconv.lessons.train import fit
from dynconv.probe import record
from experiments.bench.measure import interleaved

__all__ = ["BUDGETS", "COLUMNS", "QUIET", "run"]

BUDGETS, QUIET = (1.0, 0.5, 0.25, 0.1), (0.0, 0.2)
COLUMNS = (
    *("budget", "quiet", "seed", "test_accuracy", "used", "inside", "outside", "times_as_fast"),
    *("seconds", "torch", "command"),
)
EPOCHS, PRICE, TIMED = 15, 10.0, 16


def run(budget: float, quiet: float = 0.0, seed: int = 0) -> dict:
    """Train from one seed to use a share ``budget`` of the blocks' multiply-adds, and measure: one line of gates.csv.

    Reference: Verelst and Tuytelaars, figure 5, https://arxiv.org/abs/1912.03203; without noise for the last fifth, as their
    code has it

    Args:
        budget: 0 to 1; reached in a straight line from 1 during the first third of the training.
        quiet: share of the training, at its end, in which the gates have no noise.
        seed: of first weights, order and noise.

    Returns:
        COLUMNS → value; "inside" and "outside" are the shares of open positions, over both blocks, in the digit's box and
        out of it; "times_as_fast": the time of the whole net that computes everywhere over that of the net that skips, for
        16 test pictures, one after the other.
    """
    started, train, test = time.perf_counter(), digits_in_clutter("train", 1200), digits_in_clutter("test", 500)
    torch.manual_seed(seed)
    net, now = GatedNet(), {"epoch": 0}
    net.eval()

    def loss(output: tuple, labels: Tensor) -> Tensor:
        logits, used, total = output
        target = 1 - (1 - budget) * min(
            1.0, 3 * now["epoch"] / EPOCHS
        )  # all open first: what does not compute cannot learn
        return F.cross_entropy(logits, labels) + PRICE * sparsity_loss(used, total, target, now["epoch"], EPOCHS)

    options = {"epochs": EPOCHS, "batch_size": 64, "lr": 1e-2, "seed": seed, "progress": False}
    for epoch in fit(net, train.images, train.labels, loss=loss, **options):
        now["epoch"] = epoch["epoch"]
        for block in net.blocks:
            block.gate.noise = now["epoch"] < (1 - quiet) * EPOCHS
    measured = _measure(net, test) | {"times_as_fast": _times_as_fast(net, test.images[:TIMED])}
    command = f"python -m experiments.evidence --gates --budget {budget} --quiet {quiet} --seed {seed}"
    extra = {"seconds": round(time.perf_counter() - started, 1), "torch": torch.__version__.split("+")[0]}
    return {"budget": budget, "quiet": quiet, "seed": seed} | measured | extra | {"command": command}


@torch.no_grad()
def _times_as_fast(net: GatedNet, images: Tensor) -> float:
    def one_after_the_other(skips: bool) -> None:
        for block in net.blocks:
            block.sparse = skips
        for image in images.split(1):
            net(image)

    took = interleaved({str(skips): lambda skips=skips: one_after_the_other(skips) for skips in (False, True)})
    return took["False"] / took["True"]


@torch.no_grad()
def _measure(net: GatedNet, test) -> dict[str, float]:
    with record(net) as seen:
        logits, used, total = net(test.images)
    open_at = torch.cat([layer.weights for layer in seen.values()], dim=1)  # (N, blocks, h, w)
    scale = test.images.shape[-1] // open_at.shape[-1]
    inside = torch.zeros(len(test.images), *open_at.shape[2:], dtype=torch.bool)
    for mask, (top, left, bottom, right) in zip(inside, (test.boxes // scale).tolist(), strict=True):
        mask[top:bottom, left:right] = True
    share = open_at.mean(1)  # of the blocks that compute at a position
    accuracy = (logits.argmax(1) == test.labels).float().mean().item()
    shares = {"inside": share[inside].mean().item(), "outside": share[~inside].mean().item()}
    return {"test_accuracy": accuracy, "used": (used.sum() / sum(total)).item()} | shares

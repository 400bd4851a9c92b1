"""Gates: accuracy against the budget of multiply-adds, on digits in clutter."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import digits_in_clutter
from ..functional import sparsity_loss
from ..layers import SparseBlock
from ..probe import record
from ..train import fit

__all__ = ["BUDGETS", "COLUMNS", "GatedNet", "run"]

BUDGETS = (1.0, 0.5, 0.25, 0.1)
COLUMNS = ("budget", "seed", "test_accuracy", "used", "inside", "outside", "seconds", "torch", "command")
EPOCHS, PRICE = 15, 10.0


class GatedNet(nn.Module):
    """A small classifier with two sparse blocks; gives logits, and what each block used of its multiply-adds.

    Reference: Verelst and Tuytelaars, https://arxiv.org/abs/1912.03203

    Example:
        >>> import torch
        >>> logits, used, total = GatedNet()(torch.rand(2, 1, 40, 40))
        >>> logits.shape, used.shape, len(total)
        (torch.Size([2, 10]), torch.Size([2]), 2)

    Args:
        channels: of the blocks.
        classes: of the images.

    Shape:
        (B, 1, H, W) → logits (B, classes), used (blocks,), total: a number a block.
    """

    def __init__(self, channels: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.blocks = nn.ModuleList([SparseBlock(channels), SparseBlock(channels)])
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        x, costs = self.stem(x), []  # (B, C, H/2, W/2)
        for block in self.blocks:
            x, cost = block(x, return_cost=True)
            costs.append(cost)
        return self.head(x.amax((2, 3))), torch.stack([c.used for c in costs]), [c.total for c in costs]


def run(budget: float, seed: int = 0) -> dict:
    """Train from one seed to use a share ``budget`` of the blocks' multiply-adds, and measure: one line of gates.csv.

    Reference: Verelst and Tuytelaars, figure 5, https://arxiv.org/abs/1912.03203

    Example:
        >>> run.__name__
        'run'

    Args:
        budget: 0 to 1; reached in a straight line from 1 during the first third of the training.
        seed: of first weights, order and noise.

    Returns:
        COLUMNS → value; "inside" and "outside" are the shares of open positions, over both blocks, in the digit's box and
        out of it.
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
    measured = _measure(net, test)
    command = f"python run.py evidence --gates --budget {budget} --seed {seed}"
    extra = {"seconds": round(time.perf_counter() - started, 1), "torch": torch.__version__.split("+")[0]}
    return {"budget": budget, "seed": seed} | measured | extra | {"command": command}


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

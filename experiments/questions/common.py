"""What the questions share: tasks, training, one layer in question, and rows that are kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynconv.layers.kernel_stack import KernelStack
from dynconv.lessons import tasks
from dynconv.lessons.tables import mean_and_std
from dynconv.lessons.tasks import Split, Task
from dynconv.lessons.train import fit

__all__ = ["Numbers", "each_loss", "layer_of", "percent", "pm", "task", "train"]

Numbers = dict[str, float]


@cache
def task(name: str) -> Task:
    """A task, loaded once."""
    return tasks.task(name)


def train(
    model: nn.Module,
    on: Task,
    seed: int,
    *,
    anneal: tuple[float, float, float] | None = None,
    after: Callable[[int], object] = lambda epoch: None,
) -> nn.Module:
    """Train by the task's own recipe; ``after`` is called with 0 before the first epoch, and after each."""
    data, options = (on.train.inputs, on.train.targets), {"loss": on.loss, "anneal": anneal, "seed": seed}
    for record in fit(model.eval(), *data, progress=False, **options, **on.recipe):
        after(record["epoch"])
    return model


def layer_of(model: nn.Module) -> KernelStack:
    """The one mix of K kernels in a network."""
    (found,) = (module for module in model.modules() if isinstance(module, KernelStack))
    return found


@torch.no_grad()
def each_loss(model: nn.Module, split: Split) -> Tensor:
    """The loss of every image for itself, (N,): all in one batch, as an intervention wants them."""
    output = model(split.inputs)
    if split.targets.is_floating_point():
        return (output - split.targets).square().flatten(1).mean(1)
    return F.cross_entropy(output, split.targets, reduction="none")


def pm(lines: list[Numbers], name: str, form: str = ".4f", scale: float = 1.0) -> str:
    """Mean ± standard deviation over seeds."""
    if not lines or name not in lines[0]:
        return "–"
    mean, std = mean_and_std([{name: scale * line[name]} for line in lines], name) or (0.0, 0.0)
    return f"{mean:{form}} ± {std:{form.lstrip('+')}}"


def percent(lines: list[Numbers], name: str) -> str:
    return pm(lines, name, ".1f", 100)

"""Training runs recorded epoch by epoch, to be played back side by side."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dynconv.layers import DynamicConv2d
from dynconv.lessons.data import DEGRADATIONS, damaged_window
from dynconv.lessons.tasks import Task, measure, task
from dynconv.lessons.train import fit
from dynconv.probe import record

from .rows import Row

__all__ = ["record_training", "watch"]


def record_training(
    name: str = "restoration",
    temperatures: Sequence[str] = ("1", "30", "30-1"),
    num_kernels: int = 4,
    seed: int = 0,
    epochs: int | None = None,
) -> dict:
    """Train a task's dynamic network once for each temperature, from the same seed; keep what it did after every epoch.

    Reference: Chen et al., section 3.3 and figure 4, https://arxiv.org/abs/1912.03458

    The first weights and the order of the images are the same in every run: what differs comes from the temperature.

    Example:
        >>> kept = record_training("digits", ["30"], num_kernels=2, epochs=1)
        >>> records = kept["runs"]["T = 30"]
        >>> len(records), len(records[1]["attention"]), records[1]["loss"] > 0
        (2, 10, True)

    Args:
        name: of the task, see :func:`dynconv.lessons.tasks.task`.
        temperatures: "30" for a fixed one, "30-1" for a line from 30 to 1 over the first 30 % of the steps.
        num_kernels: K.
        seed: of the first weights and of the order of the images.
        epochs: fewer, or more, than the task's recipe says.

    Returns:
        What :func:`dynconv.lessons.data.recordings.recording` reads, numbers rounded to 4 significant digits and kernels to a
        thousandth of their largest value, which is finer than a palette of 256 colours.
    """
    chosen = task(name)
    recipe = chosen.recipe | ({} if epochs is None else {"epochs": epochs})
    runs = {
        f"T = {T.replace('-', ' → ')}": _run(chosen, Row(name, "dynamic", num_kernels, T), recipe, seed)
        for T in temperatures
    }
    versions = {"torch": torch.__version__.split("+")[0], "python": platform.python_version()}
    origin = {"task": name, "num_kernels": num_kernels, "seed": seed, "versions": versions}
    classes = chosen.classes or list(DEGRADATIONS)  # restoration's classes are its kinds of damage
    known = {name: loss for name, loss in chosen.references.items() if "photo" not in name}  # of what all photos share
    return origin | {"classes": classes, "references": _round(known), "window": chosen.window, "runs": runs}


def _run(chosen: Task, row: Row, recipe: dict, seed: int) -> list[dict]:
    torch.manual_seed(seed)
    model = chosen.network(row.system, **row.options()).eval()
    options = {"loss": chosen.loss, "anneal": row.anneal(), "seed": seed, "progress": False, **recipe}
    epochs = fit(model, chosen.train.inputs, chosen.train.targets, evaluate=lambda m: watch(m, chosen), **options)
    return [_round(epoch) for epoch in epochs]


@torch.no_grad()
def watch(model: nn.Module, task: Task) -> dict:
    """What is worth seeing of a network with one dynamic layer: how good it is, what attends to what, its kernels.

    Reference: :func:`dynconv.probe.record`; the effective number is exp(entropy), https://doi.org/10.2307/1934352

    Example:
        >>> from dynconv.lessons.tasks import task
        >>> digits = task("digits")
        >>> seen = watch(digits.network("dynamic", num_kernels=2).eval(), digits)
        >>> sorted(seen)
        ['attention', 'effective', 'kernels', 'test_accuracy', 'test_loss']

    Args:
        model: in eval mode, with one :class:`DynamicConv2d`.
        task: whose test images it is shown.

    Returns:
        What :func:`dynconv.lessons.tasks.measure` says; "attention" (classes × K), the mean over a class's images; "effective"
        (classes), the mean of their effective numbers of kernels; "kernels" (K × pixels), from the first input channel to
        the first output channel; where the task has a window, "shares" (pictures × K), the attention of each of its
        damaged pictures, and "biases" (K).
    """
    layer = next(module for module in model.modules() if isinstance(module, DynamicConv2d))
    with record(model) as seen:
        found = measure(model, task)
    (weights,) = (r.weights for r in seen.values())  # (N, K)
    groups = [weights[task.test.classes == c] for c in range(int(task.test.classes.max()) + 1)]
    effective = [torch.special.entr(group).sum(1).exp().mean() for group in groups]
    attention, kernels = torch.stack([group.mean(0) for group in groups]), layer.weight[:, 0, 0].flatten(1)
    found |= {"attention": attention, "effective": torch.stack(effective), "kernels": kernels}
    if not task.window:
        return found
    biases = {} if layer.bias is None else {"biases": layer.bias[:, 0]}
    return found | {"shares": layer.attention(_pictures(task.window))} | biases


def _pictures(window: dict) -> Tensor:
    """The damaged pictures of a window, as a batch."""
    damaged, _ = damaged_window(**window)
    return torch.stack(list(damaged.values()))


def _round(record: dict) -> dict:
    """Plain numbers with as many digits as a picture needs."""
    plain = {name: v.tolist() if isinstance(v, Tensor) else v for name, v in record.items()}
    kernels = {"kernels": [_relative(row) for row in plain.pop("kernels")]} if "kernels" in plain else {}
    return {name: _significant(value) for name, value in plain.items()} | kernels


def _significant(value):
    if isinstance(value, list):
        return [_significant(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _relative(row: list[float]) -> list[float]:
    decimals = 3 - math.ceil(math.log10(max(map(abs, row)) or 1))
    return [round(v, decimals) + 0.0 for v in row]  # + 0.0: no "-0.0"

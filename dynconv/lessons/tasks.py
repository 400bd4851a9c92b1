"""What the systems are compared on: data, network, loss and recipe of each task, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import best_filter, cifar10, cue, digits_in_clutter, digits_split, fashion_mnist, image_folder, restoration
from .systems import classifier, filter_network

__all__ = ["TASKS", "Split", "Task", "measure", "task"]


@dataclass(frozen=True)
class Split:
    """Inputs and targets, and the class of each image that attention is watched by."""

    inputs: Tensor
    targets: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Task:
    """A task: what to train on, what with and how.

    Attributes:
        name: of the task.
        train, test: the data.
        network: from a system's name, ``num_kernels`` and ``temperature`` to a network.
        loss: from (output, target) to the mean over a batch.
        recipe: arguments of :func:`dynconv.lessons.train.fit`.
        references: name → test loss that is known without training.
        classes: the classes' names.
        window: of :func:`dynconv.lessons.data.damaged_window`, what is watched being restored; empty where nothing is.
    """

    name: str
    train: Split
    test: Split
    network: Callable[..., nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    recipe: dict
    references: dict[str, float] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    window: dict = field(default_factory=dict)


@torch.no_grad()
def measure(model: nn.Module, task: Task, batch_size: int = 1000) -> dict[str, float]:
    """Test loss, and test accuracy where there are classes to get right.

    Reference: none; means over the whole test set, whatever the batch size

    Example:
        >>> from dynconv.lessons.tasks import task
        >>> digits = task("digits")
        >>> sorted(measure(digits.network("static").eval(), digits))
        ['test_accuracy', 'test_loss']

    Args:
        model: in eval mode; runs where its parameters are.
        task: see :func:`task`.
        batch_size: images at a time.
    """
    device = next(model.parameters()).device
    sums: dict[str, float] = {}
    for x, y in zip(task.test.inputs.split(batch_size), task.test.targets.split(batch_size), strict=True):
        x, y = x.to(device), y.to(device)
        output = model(x.float() / 255 if x.dtype == torch.uint8 else x)
        values = {"test_loss": task.loss(output, y).item()}
        if not y.is_floating_point():
            values["test_accuracy"] = (output.argmax(1) == y).float().mean().item()
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value * len(x)
    return {name: total / len(task.test) for name, total in sums.items()}


def _restoration() -> Task:
    edge = 4  # what a 9 × 9 filter does not reach without padding
    train, test = restoration("train", per_photo=30, size=24), restoration("test", per_photo=30, size=32)

    def split(data) -> Split:
        return Split(data.degraded, data.clean[..., edge:-edge, edge:-edge].contiguous(), data.kind)

    def one_for_each(group: Callable) -> float:
        """Test loss of one filter for each group of images, found by least squares on the training patches."""
        restored = torch.empty_like(clean)
        for g in group(test).unique():
            own, theirs = group(train) == g, group(test) == g
            restored[theirs] = F.conv2d(test.degraded[theirs], best_filter(train.degraded[own], train.clean[own]))
        return F.mse_loss(restored, clean).item()

    clean = split(test).targets
    references = {
        "one filter": one_for_each(lambda data: torch.zeros_like(data.kind)),
        "one filter for each degradation": one_for_each(lambda data: data.kind),
        "one filter for each degradation and photo": one_for_each(lambda data: 4 * data.photo + data.kind),
    }
    recipe = {"optimizer": "lbfgs", "lr": 1.0, "epochs": 25}
    window = {"name": "chelsea", "size": 64}
    return Task("restoration", split(train), split(test), filter_network, F.mse_loss, recipe, references, window=window)


def _cue() -> Task:
    train, test = (cue(name, per_photo=40, size=24) for name in ("train", "test"))
    one = best_filter(train.images, F.pad(train.edges, (2, 2, 2, 2)), 5)
    references = {
        "one filter": F.mse_loss(F.conv2d(test.images, one), test.edges).item(),
        "one filter for each cue": 0.0,
    }
    recipe = {"optimizer": "lbfgs", "lr": 1.0, "epochs": 20}

    def network(system: str, **options) -> nn.Module:
        return filter_network(system, kernel_size=5, **options)

    return Task(
        "cue",
        Split(*train),
        Split(*test),
        network,
        F.mse_loss,
        recipe,
        references,
        ["bright: along x", "dark: along y"],
    )


def _classes(name: str, splits: Iterable[tuple[Tensor, Tensor]], recipe: dict, classes: list[str]) -> Task:
    train, test = (Split(images, labels, labels) for images, labels in splits)
    channels = train.inputs.shape[1]

    def network(system: str, **options) -> nn.Module:
        return classifier(system, len(classes), in_channels=channels, **options)

    return Task(name, train, test, network, F.cross_entropy, recipe, {}, classes)


BOTH = ("train", "test")
TEN = [str(digit) for digit in range(10)]
CLOTHES = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
THINGS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SMALL = {"optimizer": "adam", "lr": 1e-2, "epochs": 15, "batch_size": 64}
LARGE = {"optimizer": "adam", "lr": 4e-3, "epochs": 10, "batch_size": 256, "weight_decay": 1e-4}


def _folder(path: str | Path = "", size: int = 64, grey: bool = False) -> Task:
    if not str(path):
        raise ValueError("the task 'folder' needs a path; in a configuration: [data] path = '…'")
    found = image_folder(path, size, grey=grey)
    order = torch.randperm(len(found.images), generator=torch.Generator().manual_seed(0))
    held = max(1, len(order) // 5)  # a fifth for testing
    test, train = order[:held], order[held:]
    if not len(train):
        raise ValueError(f"{path} holds {len(found.images)} image; at least 2 are needed to train and test")
    parts = [(found.images[part], found.labels[part]) for part in (train, test)]
    return _classes("folder", parts, LARGE, found.classes)


TASKS: dict[str, Callable[..., Task]] = {
    "restoration": _restoration,
    "cue": _cue,
    "digits": lambda: _classes("digits", map(digits_split, BOTH), SMALL, TEN),
    "clutter": lambda: _classes(
        "clutter", (digits_in_clutter(name, 1500, 24, pieces=4)[:2] for name in BOTH), SMALL, TEN
    ),
    "fashion_mnist": lambda: _classes("fashion_mnist", map(fashion_mnist, BOTH), LARGE, CLOTHES),
    "cifar10": lambda: _classes("cifar10", map(cifar10, BOTH), LARGE, THINGS),
    "folder": _folder,
}


def task(name: str, **options) -> Task:
    """A task by its name.

    Reference: the data's are in :mod:`dynconv.lessons.data`

    Example:
        >>> cue = task("cue")
        >>> len(cue.train), len(cue.test), {name: round(loss, 2) for name, loss in cue.references.items()}
        (560, 560, {'one filter': 0.54, 'one filter for each cue': 0.0})

    Args:
        name: "restoration", "cue", "digits", "clutter", "fashion_mnist", "cifar10" or "folder".
        options: of "folder": path, size, grey.

    Raises:
        ValueError: unknown name, or options of a task that has none; what loading the data raises.
    """
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(map(repr, TASKS))}, got {name!r}")
    if options and name != "folder":
        raise ValueError(f"only the task 'folder' has options, got {', '.join(options)} for {name!r}")
    return TASKS[name](**options)

"""A small, clear training loop: seeded, watched epoch by epoch, with the temperature on a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from .schedule import TemperatureSchedule
from .surgery import temperatures

__all__ = ["fit"]


def fit(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    batch_size: int = 32,
    lr: float = 1e-2,
    anneal: tuple[float, float, float] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.mse_loss,
    seed: int = 0,
    progress: bool = True,
) -> Iterator[dict]:
    """Train with Adam and a cosine learning rate; yield a record before the first and after every epoch.

    Reference: Kingma and Ba, https://arxiv.org/abs/1412.6980; Loshchilov and Hutter, https://arxiv.org/abs/1608.03983

    A generator: what you do with a record — print it, draw it, stop — is done between two epochs, on the model as it is.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> records = list(fit(nn.Linear(3, 1), x, x.sum(1, keepdim=True), epochs=20, progress=False))
        >>> records[0]["epoch"], records[-1]["epoch"], records[-1]["loss"] < records[1]["loss"]
        (0, 20, True)

    Args:
        model: trained in place; left in the mode it came in.
        inputs, targets: N of each.
        epochs: how many times all of them are seen.
        batch_size: images a step.
        lr: Adam's learning rate at the start.
        anneal: (T at the start, T at the end, fraction of all steps it takes), or None to leave temperatures alone.
        loss: from (output, target) to a number.
        seed: of the order of the images.
        progress: show a bar.

    Yields:
        {"epoch": 0 … epochs, "loss": mean training loss of the epoch or None before the first, "temperature": T or None}

    Raises:
        ValueError: inputs and targets differ in number, or a number is below 1.
    """
    if len(inputs) != len(targets) or not len(inputs):
        raise ValueError(f"inputs and targets must be equally many and not empty, got {len(inputs)} and {len(targets)}")
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, got {epochs} and {batch_size}")
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * math.ceil(len(inputs) / batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    schedules = [rates]
    if anneal:
        start, end, fraction = anneal
        schedules.append(TemperatureSchedule(model, max(1, round(steps * fraction)), start, end))
    yield {"epoch": 0, "loss": None, "temperature": _temperature(model)}
    for epoch in tqdm(range(1, epochs + 1), unit="epoch", disable=not progress):
        was_training, total = model.training, 0.0
        model.train()
        for index in torch.randperm(len(inputs), generator=generator).split(batch_size):
            optimizer.zero_grad()
            value = loss(model(inputs[index]), targets[index])
            value.backward()
            optimizer.step()
            for schedule in schedules:
                schedule.step()
            total += value.item() * len(index)
        model.train(was_training)
        yield {"epoch": epoch, "loss": total / len(inputs), "temperature": _temperature(model)}


def _temperature(model: nn.Module) -> float | None:
    return next((buffer.item() for buffer in temperatures(model)), None)

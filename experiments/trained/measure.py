"""Ask a network with its gates as they are, and with others in their place; and see how much they vary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from dynconv.probe import intervene, record

__all__ = ["MODES", "TRAINED", "answers", "variations"]

TRAINED = "as trained"
MODES = ("uniform", "argmax", "shuffled", "frozen")


@torch.no_grad()
def answers(
    net: nn.Module,
    images: Tensor,
    others: Tensor,
    mode: str = TRAINED,
    gates: Sequence[str] | None = None,
    answer: Callable[[Tensor], Tensor] = lambda y: y,
    batch: int = 50,
    seed: int = 0,
) -> Tensor:
    """What a network says of each image under one of :func:`dynconv.probe.intervene`'s modes.

    Example:
        >>> from dynconv import SqueezeExcitation
        >>> net, x = nn.Sequential(SqueezeExcitation(8)), torch.rand(6, 8, 4, 4)
        >>> bool(torch.allclose(answers(net, x, x, batch=3), net(x)))
        True

    Args:
        net: in eval mode; images: (N, C, H, W); others: images whose mean gates are frozen, in one batch.
        mode: "as trained", or one of MODES; gates: names of weightings, None for all.
        answer: a batch of outputs → what is kept of it; batch: at least so many images at once, if there are as many;
            seed: which shuffle.
    """
    with nullcontext() if mode == TRAINED else intervene(net, mode, gates, seed=seed):
        if mode == "frozen":
            net(others)
        return torch.cat([answer(net(x)) for x in images.tensor_split(max(1, len(images) // batch))])


@torch.no_grad()
def variations(net: nn.Module, images: Tensor, batch: int = 50) -> dict[str, float]:
    """How much each gate varies: the standard deviation over the images, as a share of the mean, over all its weights.

    Example:
        >>> from dynconv import SqueezeExcitation
        >>> found = variations(nn.Sequential(SqueezeExcitation(8)), torch.ones(6, 8, 4, 4))
        >>> {name: round(value, 6) for name, value in found.items()}  # the last bits hang on how rows are multiplied
        {'0.gate': 0.0}
    """
    with record(net) as seen:
        for x in images.tensor_split(max(1, len(images) // batch)):
            net(x)
    return {name: _variation(one.weights.flatten(1).double()) for name, one in seen.items()}


def _variation(weights: Tensor) -> float:
    return (weights.std(0, correction=0).mean() / weights.mean().clamp_min(1e-12)).item()


def each(gates: Sequence[str]) -> Iterator[tuple[str, list[str] | None]]:
    """All gates together, then each alone: how a table names it, and for :func:`answers`."""
    yield "all", None
    for name in gates:
        yield name.rpartition(".")[2], [name]

"""Three modules to judge blind: what they are is not to be read from their names, only measured."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import DynamicConv2d, MixedOperation

__all__ = ["suspects"]


class Suspect(nn.Module):
    """Something from four channels to four; what it holds does not say what it amounts to."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x)


class _Loudness(nn.Module):
    """One kernel for all images, times the image's own strength."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * x.square().mean((1, 2, 3), keepdim=True).sqrt()


def suspects(channels: int = 4, seed: int = 0) -> dict[str, nn.Module]:
    """Modules A, B and C of lesson 11: look at what :func:`dynconv.probe.verdict` says of them before you look in here.

    Reference: :mod:`dynconv.probe`; the bets "11.suspect-a" to "11.suspect-c" say what they are

    Example:
        >>> x = torch.randn(2, 4, 8, 8)
        >>> {name: tuple(module(x).shape) for name, module in suspects().items()}
        {'A': (2, 4, 8, 8), 'B': (2, 4, 8, 8), 'C': (2, 4, 8, 8)}

    Args:
        channels: of what comes in and goes out.
        seed: of their numbers.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        twin = DynamicConv2d(channels, channels, 3, padding=1, reduction=1, temperature=1.0, bias=False)
        branches = [nn.Sequential(nn.ReLU(), nn.Conv2d(channels, channels, k, padding=k // 2)) for k in (1, 3, 5)]
        search = MixedOperation(branches)
        nn.init.normal_(search.mix.attention.logits)
        loud = _Loudness(channels)
    twin.weight.data.copy_(twin.weight.data[:1].expand_as(twin.weight).clone())  # K kernels, all the same
    return {name: Suspect(one).eval() for name, one in zip("ABC", (twin, search, loud), strict=True)}

"""The systems of the question and its answers as small networks for the same place, ready to be compared."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..cost import summary
from ..layers import CondConv2d, DynamicConv2d, KernelAttention, ODConv2d, Routing, SqueezeExcitation
from ..layers import StaticMixConv2d as StaticMix

__all__ = ["SYSTEMS", "classifier", "filter_network", "matched_width"]

SYSTEMS = ("static", "static-parameters", "static-flops", "mix", "se", "dynamic", "condconv", "odconv")
LOOK = 16  # channels the attention looks at an image with


def look() -> list[nn.Module]:
    """What the attention of a one-channel layer looks with: edges of 16 kinds, how much there is of each, on one scale."""
    see = [nn.InstanceNorm2d(1), nn.Conv2d(1, LOOK, 3, stride=2), nn.ReLU()]  # (B, 16, H', W')
    return [*see, nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(LOOK)]  # (B, 16, 1, 1)


def filter_network(
    system: str, kernel_size: int = 9, num_kernels: int = 4, temperature: float = 30.0, width: int | None = None
) -> nn.Module:
    """One image to one image through one layer: the place is a k × k convolution of one channel.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458; Yang et al., https://arxiv.org/abs/1904.04971;
    Li et al., https://openreview.net/forum?id=DmpCfq6Mg39; Hu et al., https://arxiv.org/abs/1709.01507

    "static" is that convolution and "mix" the question's. The systems that look at the image all look with the same small
    stem, since a grey patch's own mean says nothing. "static-…" and "se" are conv → ReLU → 1 × 1 conv, so not linear, with as
    many channels as the dynamic system has parameters, or multiply-adds, for.

    Example:
        >>> import torch
        >>> filter_network("dynamic")(torch.randn(2, 1, 32, 32)).shape
        torch.Size([2, 1, 24, 24])

    Args:
        system: one of SYSTEMS.
        kernel_size: k, odd.
        num_kernels: K, for those that have it.
        temperature: of "mix" and "dynamic".
        width: channels of the systems that are matched; found by :func:`matched_width` if left out.

    Raises:
        ValueError: unknown system.
    """
    _check(system)
    if system == "static":
        return nn.Conv2d(1, 1, kernel_size)
    if system == "mix":
        return StaticMix(1, 1, kernel_size, num_kernels=num_kernels, temperature=temperature)
    if system == "dynamic":
        decide = KernelAttention(LOOK, num_kernels=num_kernels, reduction=1, temperature=temperature)
        return DynamicConv2d(1, 1, kernel_size, num_kernels=num_kernels, attention=nn.Sequential(*look(), decide))
    if system == "condconv":
        routed = CondConv2d(1, 1, kernel_size, num_kernels=num_kernels)
        routed.add_module("attention", _Looking(Routing(LOOK, num_kernels)))
        return routed
    if system == "odconv":
        layer = ODConv2d(1, 1, kernel_size, num_kernels=num_kernels)
        layer.attention.fc = nn.Linear(
            LOOK, layer.attention.fc.out_features, bias=False
        )  # it squeezes the stem's channels
        layer.add_module("attention", nn.Sequential(*look(), layer.attention))
        return layer
    if width is None:
        x = torch.zeros(1, 1, 32, 32)
        return matched_width(
            lambda w: filter_network(system, kernel_size, width=w), filter_network("dynamic", kernel_size), x, system
        )
    gate = [SqueezeExcitation(width, reduction=2)] if system == "se" else []
    return nn.Sequential(nn.Conv2d(1, width, kernel_size), nn.ReLU(), *gate, nn.Conv2d(width, 1, 1))


class _Looking(nn.Sequential):
    """A stem before an attention that is called with a second argument."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__(nn.Sequential(*look()), attention)

    def forward(self, x, given=None):
        return self[1](self[0](x), given)


def classifier(
    system: str,
    classes: int = 10,
    num_kernels: int = 4,
    temperature: float = 30.0,
    width: int | None = None,
    in_channels: int = 1,
) -> nn.Module:
    """A small network for classes of small images; the place is its second convolution, 8 → 16 channels, 3 × 3.

    Reference: see :func:`filter_network`; here every attention squeezes the layer's own input, as in its paper

    Example:
        >>> import torch
        >>> classifier("condconv")(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])

    Args:
        system: one of SYSTEMS.
        classes: of the images.
        num_kernels, temperature, width: see :func:`filter_network`; width is that of the place's output, 16 if not matched.
        in_channels: of the images.

    Raises:
        ValueError: unknown system.
    """
    _check(system)
    if system.startswith("static-") and width is None:
        target, x = classifier("dynamic", classes, in_channels=in_channels), torch.zeros(1, in_channels, 8, 8)
        build = lambda w: classifier(system, classes, width=w, in_channels=in_channels)  # noqa: E731
        return matched_width(build, target, x, system)
    out = width or 16
    place = {
        "mix": lambda: StaticMix(8, out, 3, padding=1, bias=False, num_kernels=num_kernels, temperature=temperature),
        "dynamic": lambda: DynamicConv2d(
            8, out, 3, padding=1, bias=False, num_kernels=num_kernels, temperature=temperature
        ),
        "condconv": lambda: CondConv2d(8, out, 3, padding=1, bias=False, num_kernels=num_kernels),
        "odconv": lambda: ODConv2d(8, out, 3, padding=1, bias=False, num_kernels=num_kernels),
    }.get(system, lambda: nn.Conv2d(8, out, 3, padding=1, bias=False))()
    gate = [SqueezeExcitation(out, reduction=4)] if system == "se" else []
    stem = [nn.Conv2d(in_channels, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    head = [nn.BatchNorm2d(out), nn.ReLU(), *gate, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(out, classes)]
    return nn.Sequential(*stem, place, *head)


def matched_width(build: Callable[[int], nn.Module], target: nn.Module, x: torch.Tensor, system: str) -> nn.Module:
    """The widest network of a family that costs no more than ``target``: in multiply-adds for "…-flops", else parameters.

    Reference: :func:`dynconv.cost.summary`, checked against torch's own counter

    Example:
        >>> wide = matched_width(lambda w: nn.Conv2d(1, w, 3), nn.Conv2d(1, 7, 3), torch.zeros(1, 1, 8, 8), "static-flops")
        >>> wide.out_channels
        7

    Args:
        build: from a width of at least 1 to a network.
        target: what it must not cost more than.
        x: one input.
        system: its name ends in "flops" to match multiply-adds.
    """

    def cost(model: nn.Module) -> int:
        if not system.endswith("flops"):
            return sum(p.numel() for p in model.parameters())
        return summary(model.eval(), x).macs

    most, width = cost(target), 1
    state = torch.random.get_rng_state()  # trying widths draws weights: the one that is returned is drawn as if first
    while cost(build(width + 1)) <= most:
        width += 1
    torch.random.set_rng_state(state)
    return build(width)


def _check(system: str) -> None:
    if system not in SYSTEMS:
        raise ValueError(f"system must be one of {', '.join(map(repr, SYSTEMS))}, got {system!r}")

"""Plain convolutions become mixes of K kernels that compute the same to begin with."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from ..layers.dynamic import DynamicConv1d, DynamicConv2d, DynamicConv3d
from ..layers.kernel_stack import KernelStack
from ..layers.static_mix import StaticMixConv1d, StaticMixConv2d, StaticMixConv3d
from .replace import replace_modules

__all__ = ["convert", "from_conv"]

FAMILIES = {
    "dynamic": {nn.Conv1d: DynamicConv1d, nn.Conv2d: DynamicConv2d, nn.Conv3d: DynamicConv3d},
    "static": {nn.Conv1d: StaticMixConv1d, nn.Conv2d: StaticMixConv2d, nn.Conv3d: StaticMixConv3d},
}
Where = str | Iterable[str] | Callable[[str, nn.Module], bool] | None


def from_conv(
    conv: nn.Module,
    num_kernels: int = 4,
    *,
    family: str = "dynamic",
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    **options,
) -> KernelStack:
    r"""A mix of K kernels that computes, to begin with, what the plain convolution ``conv`` computes.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458

    .. math:: W_k = W + \sigma\,(\varepsilon_k - \bar\varepsilon), \qquad b_k = b

    All K kernels start as W, and softmax weights sum to one, so the function is unchanged whatever the attention says.
    Equal kernels give the attention no gradient: ``noise`` tells them apart while their mean stays W.

    Example:
        >>> import torch
        >>> conv = torch.nn.Conv2d(16, 32, 3, padding=1)
        >>> layer, x = from_conv(conv, num_kernels=4), torch.randn(2, 16, 8, 8)
        >>> bool(torch.allclose(layer(x), conv(x), atol=1e-5))
        True

    Args:
        conv: an nn.Conv1d, nn.Conv2d or nn.Conv3d; left alone.
        num_kernels: K, at least 1.
        family: "dynamic" (attention from the image) or "static" (K learned numbers).
        noise: σ in units of the standard deviation of W; 0 preserves the function exactly.
        generator: where the noise is drawn from.
        options: passed on to the layer: ``temperature``, ``reduction``, ``method``, ...

    Returns:
        DynamicConvNd or StaticMixConvNd with the geometry, device, dtype, mode and ``requires_grad`` of ``conv``.

    Raises:
        TypeError: conv is of another type (a subclass may compute something else), or is parametrized.
        ValueError: family or noise is unknown, or conv has hooks, which would be lost.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(map(repr, FAMILIES))}, got {family!r}")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be finite and at least 0, got {noise}")
    _check_replaceable(conv)
    layer = FAMILIES[family][type(conv)](
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups,
        conv.bias is not None, conv.padding_mode, conv.weight.device, conv.weight.dtype, num_kernels=num_kernels, **options,
    )  # fmt: skip
    with torch.no_grad():
        layer.weight.copy_(conv.weight.expand_as(layer.weight))
        if noise:
            drawn = torch.randn(layer.weight.shape, generator=generator).to(layer.weight)
            layer.weight.add_(noise * conv.weight.std(correction=0) * (drawn - drawn.mean(0)))
        if conv.bias is not None:
            layer.bias.copy_(conv.bias.expand_as(layer.bias))
            layer.bias.requires_grad_(conv.bias.requires_grad)
    layer.weight.requires_grad_(conv.weight.requires_grad)
    return layer.train(conv.training)


def _check_replaceable(conv: nn.Module) -> None:
    if type(conv) not in FAMILIES["dynamic"]:
        raise TypeError(
            f"only nn.Conv1d, nn.Conv2d and nn.Conv3d themselves can be replaced, got {type(conv).__name__}"
        )
    if not isinstance(conv.weight, nn.Parameter):
        raise TypeError(f"the weight of {conv} is computed (weight or spectral norm?); remove that first")
    hooks = [name for name in vars(conv) if name.endswith("_hooks") and vars(conv)[name]]
    if hooks:
        raise ValueError(f"{conv} has {', '.join(hooks)}, which would be lost; remove them first")


def convert(
    model: nn.Module,
    num_kernels: int = 4,
    *,
    where: Where = None,
    family: str = "dynamic",
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    inplace: bool = False,
    **options,
) -> nn.Module:
    """Replace the plain convolutions of any model by mixes of K kernels that compute the same to begin with.

    Reference: Chen et al., section 4, https://arxiv.org/abs/1912.03458 (all convolutions but the first)

    Example:
        >>> import torch, torchvision
        >>> model = torchvision.models.resnet18().eval()
        >>> dynamic = convert(model, num_kernels=4, where=lambda name, conv: name != "conv1")
        >>> type(dynamic.layer1[0].conv1).__name__, type(dynamic.conv1).__name__
        ('DynamicConv2d', 'Conv2d')

    Args:
        model: any module (torchvision's and timm's too).
        num_kernels, family, noise, generator, options: see :func:`from_conv`.
        where: which convolutions: None for every nn.ConvNd, a dotted name or a list of names with ``*`` as a wildcard, or
            a function of (name, module). Subclasses of nn.ConvNd and transposed convolutions are left alone.
        inplace: change ``model`` itself instead of a copy.

    Returns:
        The model with its convolutions replaced; one that is used in two places stays one.

    Raises:
        ValueError: a name fits no convolution, nothing was left to replace, or a weight is shared between convolutions.
        TypeError: a chosen convolution is parametrized.
    """
    model = model if inplace else copy.deepcopy(model)
    candidates = [(n, m) for n, m in model.named_modules() if type(m) in FAMILIES["dynamic"]]
    chosen = _choose(candidates, where)
    if not chosen:
        raise ValueError(
            f"{type(model).__name__} has no convolution to convert" + (f" where {where!r}" if where else "")
        )
    _check_untied(model, chosen)
    new = {m: from_conv(m, num_kernels, family=family, noise=noise, generator=generator, **options) for _, m in chosen}
    return replace_modules(model, new)


def _choose(candidates: list[tuple[str, nn.Module]], where: Where) -> list[tuple[str, nn.Module]]:
    if where is None:
        return candidates
    if callable(where):
        return [(name, module) for name, module in candidates if where(name, module)]
    patterns = [where] if isinstance(where, str) else list(where)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name, _ in candidates):
            names = ", ".join(name or "(the model itself)" for name, _ in candidates)
            raise ValueError(f"{pattern!r} fits no convolution; there are: {names}")
    return [(name, module) for name, module in candidates if any(fnmatchcase(name, p) for p in patterns)]


def _check_untied(model: nn.Module, chosen: list[tuple[str, nn.Module]]) -> None:
    owners: dict[Tensor, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(parameter, []).append(name)
    for name, module in chosen:
        if isinstance(module.weight, nn.Parameter) and len(owners[module.weight]) > 1:
            raise ValueError(f"the weight of {name} is shared by {owners[module.weight]}; converting would untie it")

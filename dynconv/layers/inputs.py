"""What a layer asks of the images it is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..functional.checks import check_together
from ..native.operation import tracing

__all__: list[str] = []


def check_images(
    module: nn.Module, x: Tensor, channels: int, sizes: str = "*spatial", least: int = 1, like: Tensor | None = None
) -> None:
    """Raise unless x is (B, channels, ``sizes``), of at least ``least`` each, of ``like``'s, or the module's, device and dtype.

    ``sizes`` are "*spatial" (any number, at least one), "[*spatial]" (or none) or "H, W". ValueError for a shape, TypeError
    for a dtype, RuntimeError for a device: each names what it got.
    """
    if isinstance(x, torch.fx.Proxy):  # while torch.fx traces there is nothing to look at
        return
    name, shape = type(module).__name__, tuple(x.shape)
    fits = x.ndim == 4 if sizes == "H, W" else x.ndim >= (2 if sizes == "[*spatial]" else 3)
    sizes = sizes.strip("[]")
    if not fits or shape[1] != channels:
        raise ValueError(f"{name} expects (B, {channels}, {sizes}), got {shape}")
    if not torch.compiler.is_compiling() and min(shape[2:], default=least) < least:  # a tracer's are not looked at
        raise ValueError(f"{name} expects (B, {channels}, {sizes}) with sizes of at least {least}, got {shape}")
    if not x.is_floating_point():
        raise TypeError(f"{name} expects floating point input, got {x.dtype}")
    if like is None or (like.dtype, like.device) != (x.dtype, x.device):
        check_together(x=x, **(dict(islice(module.named_parameters(), 1)) if like is None else {"weight": like}))


def refuse_torchscript(module: nn.Module) -> None:
    """Raise while torch.jit.trace looks on: it would write down the number of images as a constant, without a word."""
    if tracing():
        raise RuntimeError(
            f"torch.jit.trace, and torch.onnx.export with dynamo=False, would fix the number of images in "
            f"{type(module).__name__}, which has a kernel for each: use torch.export.export, or torch.onnx.export with "
            "dynamo=True, where dynamic_shapes leaves it free"
        )


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor inside of lists, tuples, mappings and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors(part)
    elif hasattr(value, "__dataclass_fields__"):
        yield from tensors(vars(value))

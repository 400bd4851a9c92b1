"""What every function and layer asks of its arguments: whole numbers, known names, maps, one device, one dtype."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from numbers import Integral

import torch
from torch import Tensor

__all__: list[str] = []


def check_counts(**values: int) -> None:
    """Raise ValueError unless every value is an integer of at least 1."""
    for name, value in values.items():
        if not isinstance(value, (int, Integral)) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def check_choice(name: str, value: str, known: Collection[str]) -> None:
    """Raise ValueError unless the value is one of those that are known."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")


def check_maps(name: str, x: Tensor) -> None:
    """Raise unless x is (B, C, *spatial), one spatial dimension at least, and floating point."""
    if x.ndim < 3:
        raise ValueError(f"{name} must be (B, C, *spatial), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {x.dtype}")


def sizes(value: int | Sequence[int], n: int, name: str, least: int) -> tuple[int, ...]:
    """One integer, or ``n`` of them, as a tuple of ``n``; none so large that sums of them overflow."""
    if type(value) is tuple and len(value) == n and all(type(v) is int and least <= v < 2**31 for v in value):
        return value  # a layer's, at every call
    many = (value,) * n if isinstance(value, (int, Integral)) else value
    fits = isinstance(many, Sequence) and len(many) == n
    if not fits or not all(isinstance(v, (int, Integral)) and v >= least for v in many):
        raise ValueError(f"{name} must be one or {n} integers of at least {least}, got {value!r}")
    if any(v >= 2**31 for v in many):
        raise ValueError(f"{name} must be below 2**31, got {value!r}")
    return tuple(int(v) for v in many)


def check_together(*, dtypes: bool = True, **tensors: Tensor | None) -> None:
    """Raise unless the tensors lie on one device (RuntimeError, as torch's) and have one dtype (TypeError).

    Not every operation of torch looks: some read another device's memory as numbers. Under autocast dtypes may differ,
    for torch casts them.
    """
    given = [tensor for tensor in tensors.values() if tensor is not None]
    device, dtype = given[0].device, given[0].dtype
    for tensor in given[1:]:
        if tensor.device != device:
            raise RuntimeError(f"tensors must be on one device, got {_listed(tensors, 'device')}")
        if dtypes and tensor.dtype != dtype and not autocasts(tensor):
            raise TypeError(f"tensors must have one dtype, got {_listed(tensors, 'dtype')}")


def _listed(tensors: dict[str, Tensor | None], attribute: str) -> str:
    return ", ".join(f"{name}: {getattr(t, attribute)}" for name, t in tensors.items() if t is not None)


def autocasts(x: Tensor) -> bool:
    """Whether torch casts what is multiplied where x lies."""
    # first, for to ask for a device's name takes long
    if not (torch.compiler.is_compiling() or torch._C._is_any_autocast_enabled()):
        return False
    device = x.device.type
    known = device in ("cpu", "cuda") or torch.amp.is_autocast_available(device)  # which older compilers cannot follow
    return known and torch.is_autocast_enabled(device)

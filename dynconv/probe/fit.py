"""How far is a map from being one plain convolution? The best one, by least squares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..functional.methods import patches
from ..functional.padding import total_padding
from ..native.definition import CONVS

__all__ = ["best_convolution"]

MOST = 1500  # unknowns of a fit: its time grows with their square

Geometry = dict[str, Any]  # kernel_size, stride, padding, dilation of a convolution


def best_convolution(
    x: Tensor,
    y: Tensor,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    padding: tuple[int, ...] | str = "valid",
    dilation: tuple[int, ...] | None = None,
) -> tuple[Tensor, Tensor, float]:
    r"""The one convolution that comes closest to a map from x to y, by least squares in float64.

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.linalg.lstsq.html

    .. math:: \min_{W, b} \sum_{p} \lVert y_p - W \cdot \mathrm{patch}_p(x) - b \rVert^2

    over every position p whose patch lies inside the image (so that padding plays no part).

    Example:
        >>> import torch
        >>> conv, x = torch.nn.Conv2d(2, 3, 3), torch.randn(4, 2, 9, 9)
        >>> weight, bias, error = best_convolution(x, conv(x).detach(), (3, 3))
        >>> bool(torch.allclose(weight.float(), conv.weight, atol=1e-4)), error < 1e-5
        (True, True)

    Args:
        x: (B, C, *S) and y: (B, O, *S').
        kernel_size, stride, padding, dilation: geometry of the convolution; one number an axis.

    Returns:
        weight (O, C, *kernel), bias (O,), and the error: the norm of what is left over, relative to that of y.

    Raises:
        ValueError: no patch lies inside the image.
    """
    ones = (1,) * (x.ndim - 2)
    stride, dilation = stride or ones, dilation or ones
    geometry: Geometry = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
    # gelsd, for any rank, runs on the CPU
    source, target = (t.detach().cpu().double() for t in _inside(x, y, geometry))
    rows = patches(source, kernel_size, stride, dilation)  # (B, C·kernel, *S')
    rows = rows.flatten(2).transpose(1, 2).flatten(0, 1)  # (equations, unknowns - 1)
    rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
    target = target.flatten(2).transpose(1, 2).flatten(0, 1)  # (equations, O)
    solution = torch.linalg.lstsq(rows, target, driver="gelsd").solution
    error = ((rows @ solution - target).norm() / target.norm().clamp_min(1e-300)).item()
    return solution[:-1].T.unflatten(1, (x.shape[1], *kernel_size)), solution[-1], error


@dataclass(eq=False)
class Fit:
    """The best convolution of a batch: its error, the worst of those with one for each image, kernel, what is left over."""

    geometry: Geometry
    together: float
    alone: float | None
    weight: Tensor
    residual: Tensor


def best_fit(batch: Tensor, y: Tensor, candidates: Iterable[Geometry], exact: float) -> Fit | None:
    """The first geometry that fits exactly, or the one that fits best; None if the positions are too few for any."""
    fits: list[Fit] = []
    for geometry in candidates:
        fit = fit_one(batch, y, geometry)
        if fit is not None:
            fits.append(fit)
            if min(fit.together, fit.together if fit.alone is None else fit.alone) <= exact:
                return fit
    return min(fits, key=lambda fit: fit.together, default=None)


def fit_one(batch: Tensor, y: Tensor, geometry: Geometry) -> Fit | None:
    """The best convolution of this geometry."""
    unknowns = batch.shape[1] * math.prod(geometry["kernel_size"]) + 1
    inside = math.prod(len(_interior(batch, y, geometry, i)[0]) for i in range(y.ndim - 2))
    if inside * len(batch) < 2 * unknowns or unknowns > MOST:  # too few equations: anything would fit
        return None
    weight, bias, together = best_convolution(batch, y, **geometry)
    source, target = (t.detach().cpu().double() for t in _inside(batch, y, geometry))
    convolve = CONVS[y.ndim - 2]
    residual = target - convolve(source, weight, bias, geometry["stride"], dilation=geometry["dilation"])
    single = [best_convolution(x[None], z[None], **geometry)[2] for x, z in zip(batch, y, strict=True)]
    return Fit(geometry, together, max(single) if inside >= 2 * unknowns else None, weight, residual)


def _inside(x: Tensor, y: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """The outputs whose windows lie inside the image, and what they read."""
    spans = [_interior(x, y, geometry, i) for i in range(x.ndim - 2)]
    if not all(outputs for outputs, _ in spans):
        raise ValueError(f"no kernel of size {geometry['kernel_size']} lies inside images of size {tuple(x.shape[2:])}")
    for i, (outputs, inputs) in enumerate(spans):
        x = x.narrow(2 + i, inputs.start, len(inputs))
        y = y.narrow(2 + i, outputs.start, len(outputs))
    return x, y


def geometries(module: nn.Module | None, batch: Tensor, y: Tensor, kernel_size: int | None) -> Iterator[Geometry]:
    """The module's own geometry; of its convolutions one after the other; or centred kernels with the stride that y suggests."""
    n = batch.ndim - 2
    modules = [] if module is None or kernel_size is not None else module.modules()
    own = [g for m in modules if (g := _own(m, n)) is not None]
    if own:
        yield _composed(own, n)
    if len(own) == 1 and module is not None and _own(module, n) is not None:
        return
    stride = tuple(max(1, round(i / o)) for i, o in zip(batch.shape[2:], y.shape[2:], strict=True))
    for size in (1, 3, 5, 7) if kernel_size is None else (kernel_size,):
        sizes = zip(batch.shape[2:], y.shape[2:], stride, strict=True)
        # the padding with which a convolution of this size and stride has this output
        padding = tuple(max(0, math.ceil(((o - 1) * s + size - i) / 2)) for i, o, s in sizes)
        yield {"kernel_size": (size,) * n, "stride": stride, "dilation": (1,) * n, "padding": padding}


def _own(module: nn.Module, n: int) -> Geometry | None:
    names = ("kernel_size", "stride", "dilation")
    if not all(hasattr(module, a) for a in (*names, "padding", "weight")) or getattr(module, "transposed", False):
        return None
    own = {name: (v,) * n if isinstance(v := getattr(module, name), int) else tuple(v) for name in names}
    padding = module.padding if isinstance(module.padding, (str, tuple)) else (module.padding,) * n
    return own | {"padding": padding} if all(len(sizes) == n for sizes in own.values()) else None


def _composed(own: list[Geometry], n: int) -> Geometry:
    """One convolution after the other is one: reaches, steps and paddings add up."""
    if len(own) == 1:
        return own[0]
    reach, jump, padding = [1] * n, [1] * n, [0] * n
    for g in own:
        for i in range(n):
            span = g["dilation"][i] * (g["kernel_size"][i] - 1)
            given = g["padding"]
            padding[i] += jump[i] * ((span // 2 if given == "same" else 0) if isinstance(given, str) else given[i])
            reach[i] += jump[i] * span
            jump[i] *= g["stride"][i]
    return {"kernel_size": tuple(reach), "stride": tuple(jump), "dilation": (1,) * n, "padding": tuple(padding)}


def _interior(batch: Tensor, y: Tensor, geometry: Geometry, i: int) -> tuple[range, range]:
    """The outputs along axis i whose whole window lies inside the image, and the inputs that they read."""
    kernel, stride, dilation = (geometry[name][i] for name in ("kernel_size", "stride", "dilation"))
    reach, size, padding = dilation * (kernel - 1) + 1, batch.shape[2 + i], geometry["padding"]
    if isinstance(padding, str):
        left = total_padding(size, kernel, stride, dilation) // 2 if padding == "same" else 0
    else:
        left = padding if isinstance(padding, int) else padding[i]
    first = math.ceil(left / stride)
    last = min((size + left - reach) // stride, y.shape[2 + i] - 1)
    return range(first, last + 1), range(first * stride - left, last * stride - left + reach)

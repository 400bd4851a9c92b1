"""How far is a map from being one plain convolution? The best one, by least squares."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..functional.methods import patches
from ..functional.padding import total_padding

__all__ = ["best_convolution"]

EXACT = 1e-4  # relative error that counts as none (float32 convolutions differ by about 1e-6)


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
    n = x.ndim - 2
    geometry = {
        "kernel_size": kernel_size,
        "stride": stride or (1,) * n,
        "padding": padding,
        "dilation": dilation or (1,) * n,
    }
    spans = [_interior(x, y, geometry, i) for i in range(n)]
    if not all(count for _, count in spans):
        raise ValueError(f"no kernel of size {kernel_size} lies inside images of size {tuple(x.shape[2:])}")
    source, target = x.detach().cpu().double(), y.detach().cpu().double()  # gelsd, for any rank, runs on the CPU
    for i, (first, count) in enumerate(spans):
        target = target.narrow(2 + i, first, count)
        reach = geometry["dilation"][i] * (kernel_size[i] - 1) + 1
        start = first * geometry["stride"][i] - _left_padding(geometry, x.shape[2 + i], i)
        source = source.narrow(2 + i, start, (count - 1) * geometry["stride"][i] + reach)
    rows = patches(source, kernel_size, geometry["stride"], geometry["dilation"])  # (B, C·kernel, *S')
    rows = rows.flatten(2).transpose(1, 2).flatten(0, 1)  # (equations, unknowns - 1)
    rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
    target = target.flatten(2).transpose(1, 2).flatten(0, 1)  # (equations, O)
    solution = torch.linalg.lstsq(rows, target, driver="gelsd").solution
    error = relative_error(rows @ solution - target, target)
    return solution[:-1].T.unflatten(1, (x.shape[1], *kernel_size)), solution[-1], error


def relative_error(difference: Tensor, y: Tensor) -> float:
    """Norm of the difference, relative to the norm of y."""
    return (difference.double().norm() / y.double().norm().clamp_min(1e-30)).item()


def fit_errors(function, module, batch: Tensor, y: Tensor, kernel_size) -> tuple[float | None, float | None]:
    """Relative error of the best convolution of all images together, and the worst of those of single images."""
    if y.ndim != batch.ndim:
        return None, None
    best: tuple[float | None, float | None] = (None, None)
    for geometry in _geometries(module, batch, y, kernel_size):
        errors = _errors(batch, y, geometry)
        if errors is None:
            continue
        if any(e is not None and e < EXACT for e in errors):
            return errors
        if best[0] is None or (errors[1] is not None and errors[0] < best[0]):
            best = errors
    return best


def _errors(batch: Tensor, y: Tensor, geometry: dict) -> tuple[float, float | None] | None:
    kernel = geometry["kernel_size"]
    unknowns = batch.shape[1] * math.prod(kernel) + 1
    inside = math.prod(_interior(batch, y, geometry, i)[1] for i in range(y.ndim - 2))
    if inside * len(batch) < 2 * unknowns:  # too few equations: anything would fit
        return None
    together = best_convolution(batch, y, **geometry)[2]
    single = [best_convolution(x[None], z[None], **geometry)[2] for x, z in zip(batch, y, strict=True)]
    return together, (max(single) if inside >= 2 * unknowns else None)


def _geometries(module, batch: Tensor, y: Tensor, kernel_size) -> Iterator[dict]:
    """The module's own geometry, or centred kernels of growing size with the stride the output's size suggests."""
    n = batch.ndim - 2
    if (
        kernel_size is None
        and module is not None
        and all(hasattr(module, a) for a in ("kernel_size", "stride", "padding", "dilation"))
    ):
        names = ("kernel_size", "stride", "dilation")
        own = {name: (v,) * n if isinstance(v := getattr(module, name), int) else tuple(v) for name in names}
        yield own | {"padding": module.padding}
        return
    stride = tuple(max(1, round(i / o)) for i, o in zip(batch.shape[2:], y.shape[2:], strict=True))
    for size in (1, 3, 5, 7) if kernel_size is None else (kernel_size,):
        sizes = zip(batch.shape[2:], y.shape[2:], stride, strict=True)
        # the padding with which a convolution of this size and stride has this output
        padding = tuple(max(0, math.ceil(((o - 1) * s + size - i) / 2)) for i, o, s in sizes)
        yield {"kernel_size": (size,) * n, "stride": stride, "dilation": (1,) * n, "padding": padding}


def _interior(batch: Tensor, y: Tensor, geometry: dict, i: int) -> tuple[int, int]:
    """First output and number of outputs along axis i whose whole window lies inside the image."""
    kernel, stride, dilation = (geometry[name][i] for name in ("kernel_size", "stride", "dilation"))
    reach, size = dilation * (kernel - 1) + 1, batch.shape[2 + i]
    padding = _left_padding(geometry, size, i)
    first = math.ceil(padding / stride)
    last = min((size + padding - reach) // stride, y.shape[2 + i] - 1)
    return first, max(0, last - first + 1)


def _left_padding(geometry: dict, size: int, i: int) -> int:
    padding = geometry["padding"]
    if isinstance(padding, str):
        own = (geometry[name][i] for name in ("kernel_size", "stride", "dilation"))
        return total_padding(size, *own) // 2 if padding == "same" else 0
    return padding if isinstance(padding, int) else padding[i]

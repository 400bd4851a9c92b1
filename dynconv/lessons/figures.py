"""Still pictures for reading: matplotlib figures as PNG with words for those who cannot see them."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["KERNEL_COLOURS", "KERNEL_HATCHES", "Picture", "attention_bars", "curves", "images", "scatter", "triangle"]

# The K kernels: Okabe-Ito colours, each with a hatch of its own (views/style.css has the same).
KERNEL_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#999999", "#882255")
KERNEL_HATCHES = ("", "//", "\\\\", "||", "--", "xx", "++", "..")
MARKERS = "os^Dv*Px"


class Picture:
    """A PNG and what it shows in words; a notebook displays it, with the words as its alternative text.

    Example:
        >>> import torch
        >>> picture = images({"noise": torch.rand(8, 8)}, alt="Random grey pixels.")
        >>> picture
        Random grey pixels.
        >>> picture.png[:4]
        b'\\x89PNG'
    """

    def __init__(self, figure: Figure, alt: str) -> None:
        buffer = io.BytesIO()
        # white in every theme: the labels are black; no date or version, so that the same picture is the same file
        figure.savefig(
            buffer, format="png", dpi=80, bbox_inches="tight", facecolor="white", metadata={"Software": None}
        )
        self.png, self.alt = buffer.getvalue(), alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **kwargs):
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}


def images(
    rows: Mapping[str, Tensor] | Mapping[str, Mapping[str, Tensor]],
    alt: str,
    *,
    signed: bool | str = False,
    grey: bool | Collection[str] = False,
    shared: bool = True,
    size: float = 1.6,
) -> Picture:
    """Arrays as pictures, in one row or in rows and columns.

    Reference: https://matplotlib.org/stable/users/explain/colors/colormaps.html (viridis; RdBu centred on zero)

    Example:
        >>> import torch
        >>> images({"a": torch.rand(5, 5), "b": torch.rand(5, 5)}, alt="Two random pictures.")
        Two random pictures.

    Args:
        rows: title → (H, W) array for one row, or row's label → (title → array) for several.
        alt: what the picture shows, in words.
        signed: RdBu centred on zero, or other colours by their name, for kernels and differences; otherwise viridis.
        grey: grey levels, for photos: all pictures, or the rows with these labels.
        shared: one colour scale for all pictures.
        size: inches of one picture.
    """
    table: Any = rows if isinstance(next(iter(rows.values())), Mapping) else {"": rows}
    arrays = [np.asarray(array.detach().float().cpu()) for row in table.values() for array in row.values()]
    columns = max(len(row) for row in table.values())
    figure = Figure(figsize=(size * columns, 1.15 * size * len(table)))
    axes = figure.subplots(len(table), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    drawn = iter(arrays)
    for i, (label, row) in enumerate(table.items()):
        for j, title in enumerate(row):
            array = next(drawn)
            low, high = _limits(arrays if shared else [array], bool(signed))
            levels = grey if isinstance(grey, bool) else label in grey
            cmap = "grey" if levels else signed if isinstance(signed, str) else "RdBu_r" if signed else "viridis"
            axes[i, j].imshow(array, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
            axes[i, j].set_title(title, fontsize=9)
        if label:
            axes[i, 0].text(-0.06, 0.5, label, transform=axes[i, 0].transAxes, ha="right", va="center", fontsize=9)
    return Picture(figure, alt)


def _limits(arrays: Sequence[np.ndarray], signed: bool) -> tuple[float, float]:
    low, high = min(a.min() for a in arrays), max(a.max() for a in arrays)
    if signed:
        high = max(abs(low), abs(high)) or 1.0
        low = -high
    return low, high


def curves(
    series: Mapping[str, Sequence[float]],
    alt: str,
    *,
    x=None,
    xlabel="",
    ylabel="",
    log_x=False,
    level: Mapping[str, float] | None = None,
) -> Picture:
    """One line a series, told apart by colour and marker.

    Reference: Okabe and Ito, https://jfly.uni-koeln.de/color/

    Example:
        >>> curves({"loss": [3, 2, 1]}, alt="The loss falls from 3 to 1.", xlabel="epoch")
        The loss falls from 3 to 1.

    Args:
        series: name → values.
        alt: what the picture shows, in words.
        x: the values' positions; 0, 1, 2 … if left out.
        xlabel, ylabel: axis labels.
        log_x: logarithmic x axis.
        level: name → value of what the lines are held against: dashed, without markers.
    """
    figure = Figure(figsize=(5.6, 3.0))
    axis = figure.subplots()
    order = (7, 5, 2, 3, 6, 1, 0, 4)  # the darker colours first: these are lines on white
    for i, (name, values) in enumerate(series.items()):
        positions = range(len(values)) if x is None else x
        style: dict[str, Any] = {
            "color": KERNEL_COLOURS[order[i % 8]],
            "marker": MARKERS[i % 8],
            "markersize": 4,
            "markevery": 0.1,
        }
        axis.plot(positions, values, label=name, **style)
    for name, value in (level or {}).items():
        axis.axhline(value, label=name, color="grey", linestyle="--")
    if log_x:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")  # 0.1 and 10, not powers of ten
        if len(x) <= 10:
            axis.set_xticks(x)
            axis.minorticks_off()
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.grid(alpha=0.3)
    beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
    axis.legend(fontsize=8, **(beside if len(series) > 4 else {}))  # so many names would lie on the lines
    return Picture(figure, alt)


def scatter(
    points: Mapping[str, tuple[float, float, float]], alt: str, *, xlabel="", ylabel="", log_x=False
) -> Picture:
    """One point a name, with an error bar.

    Reference: Okabe and Ito, https://jfly.uni-koeln.de/color/

    Example:
        >>> scatter({"static": (100, 0.5, 0.1), "dynamic": (104, 0.2, 0.1)}, alt="Dynamic is lower at little cost.")
        Dynamic is lower at little cost.

    Args:
        points: name → (x, y, half the error bar's length).
        alt: what the picture shows, in words.
        xlabel, ylabel: axis labels.
        log_x: logarithmic x axis.
    """
    figure = Figure(figsize=(5.6, 3.4))
    axis = figure.subplots()
    for i, (name, (x, y, error)) in enumerate(points.items()):
        style: dict[str, Any] = {
            "color": KERNEL_COLOURS[i % 8],
            "marker": MARKERS[(i + i // 8) % 8],
            "markeredgecolor": "black",
        }
        axis.errorbar(x, y, error, label=name, linestyle="none", ecolor="black", capsize=2, **style)
    if log_x:
        axis.set_xscale("log")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return Picture(figure, alt)


def triangle(points: Mapping[str, Sequence[Sequence[float]]], alt: str) -> Picture:
    """Weights over three kernels as places in triangles, one triangle a title; corners are kernels 1, 2 and 3.

    Reference: barycentric coordinates, https://en.wikipedia.org/wiki/Ternary_plot

    Example:
        >>> triangle({"T = 1": [[1, 0, 0], [0.2, 0.3, 0.5]]}, alt="One image at a corner, one near the middle.")
        One image at a corner, one near the middle.

    Args:
        points: title → rows of three weights with sum 1, one an image.
        alt: what the picture shows, in words.
    """
    corners = np.array([[0, 0], [1, 0], [0.5, 3**0.5 / 2]])
    figure = Figure(figsize=(2.1 * len(points), 2.2))
    for axis, (title, rows) in zip(figure.subplots(1, len(points), squeeze=False)[0], points.items(), strict=True):
        axis.fill(*corners.T, facecolor="none", edgecolor="grey")
        for k, corner in enumerate(corners):
            axis.plot(*corner, "o", color=KERNEL_COLOURS[k], markersize=12)
            axis.text(*corner, str(k + 1), ha="center", va="center", fontsize=8)
        for i, (x, y) in enumerate(np.asarray(rows) @ corners):
            axis.plot(x, y, MARKERS[i % 8], color="black", markersize=5, alpha=0.8)
        axis.set_title(title, fontsize=9)
        axis.set_aspect("equal")
        axis.set_axis_off()
    return Picture(figure, alt)


def attention_bars(attention: Mapping[str, Tensor], alt: str, *, xlabel="share of the mix") -> Picture:
    """One stacked bar a name: how much of the mix each kernel gets.

    Reference: Okabe and Ito, https://jfly.uni-koeln.de/color/

    Example:
        >>> import torch
        >>> attention_bars({"cat": torch.tensor([0.7, 0.3])}, alt="The cat uses kernel 1 most.")
        The cat uses kernel 1 most.

    Args:
        attention: name → (K,) weights.
        alt: what the picture shows, in words.
        xlabel: axis label, for rows that are no weights.
    """
    figure = Figure(figsize=(5.6, 0.45 * len(attention) + 0.9))
    axis = figure.subplots()
    for row, weights in enumerate(attention.values()):
        left = 0.0
        for k, weight in enumerate(weights.tolist()):
            style: dict[str, Any] = {
                "color": KERNEL_COLOURS[k % 8],
                "hatch": KERNEL_HATCHES[k % 8],
                "edgecolor": "white",
            }
            axis.barh(row, weight, left=left, label=f"kernel {k + 1}" if row == 0 else None, **style)
            left += weight
    axis.set_yticks(range(len(attention)), list(attention), fontsize=9)
    axis.invert_yaxis()
    axis.set_xlabel(xlabel)
    axis.legend(fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return Picture(figure, alt)

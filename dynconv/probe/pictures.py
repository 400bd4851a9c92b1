"""A verdict as a table for notebooks, with the best convolution's kernel and what it leaves over drawn in SVG."""

from __future__ import annotations

from html import escape

import torch
from torch import Tensor

__all__: list[str] = []

MOST, CELL = 24, 96  # squares along a side; pixels of a picture
LEFT = 'style="text-align:left;vertical-align:top"'


def table(title: str, rows: list[tuple[str, str, str]], kernel: Tensor | None, residual: Tensor | None) -> str:
    """Question, answer and evidence; the pictures below."""
    cells = "".join(
        f'<tr><th scope="row" {LEFT}>{escape(q)}</th><td {LEFT}><b>{escape(a)}</b></td><td {LEFT}>{escape(m)}</td></tr>'
        for q, a, m in rows
    )
    pictures = []
    if kernel is not None and 3 <= kernel.ndim <= 4 and kernel[0, 0].numel() > 1:
        pictures.append(_picture(kernel[0, 0], "best kernel, first channel to first", signed=True))
    if residual is not None and 3 <= residual.ndim <= 4:
        pictures.append(_picture(residual.abs().mean((0, 1)), "what it leaves over, by position", signed=False))
    body = f"<table><caption>{escape(title)}</caption><tbody>{cells}</tbody></table>"
    return body + (f'<div style="display:flex;gap:24px">{"".join(pictures)}</div>' if pictures else "")


def _picture(values: Tensor, words: str, signed: bool) -> str:
    """Squares, blue below zero and orange above, the more opaque the larger: readable on light and dark."""
    grid = values.detach().double().cpu()
    grid = grid[None] if grid.ndim == 1 else grid
    steps = [-(-size // MOST) for size in grid.shape]
    grid = torch.nn.functional.avg_pool2d(grid[None], steps, ceil_mode=True)[0]
    largest = grid.abs().max().item()
    side = CELL / max(grid.shape)
    squares = "".join(
        f'<rect x="{j * side:.1f}" y="{i * side:.1f}" width="{side:.1f}" height="{side:.1f}" '
        f'fill="{"#0072B2" if v < 0 else "#D55E00"}" fill-opacity="{abs(v) / (largest or 1.0):.2f}"/>'
        for i, row in enumerate(grid.tolist())
        for j, v in enumerate(row)
        if abs(v) > 0.01 * largest
    )
    height, width = (size * side for size in grid.shape)
    alt = f"{words}: {'±' if signed else 'up to '}{largest:.2g}"
    frame = f'<rect width="{width:.1f}" height="{height:.1f}" fill="none" stroke="currentColor" stroke-opacity="0.4"/>'
    picture = (
        f'<svg width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escape(alt)}">{squares}{frame}</svg>'
    )
    return f'<figure style="margin:8px 0">{picture}<figcaption style="font-size:smaller">{escape(alt)}</figcaption></figure>'

"""Exercises of lesson 07, class activation maps and how they are scored."""

from __future__ import annotations

import torch
from torch import Tensor

from ...functional.cam import class_activation_map, normalize_map
from .exercise import Exercise, Mistake

__all__ = ["EXERCISES"]


def cam(features: Tensor, weight: Tensor, class_index: int) -> Tensor:
    """The map of one class for every image of a batch, in units of the logit."""
    return class_activation_map(features, weight, class_index)  # (B, H, W)


def _cam_cases():
    generator, cases = torch.Generator().manual_seed(7), []
    for batch, channels, classes, k in ((2, 4, 4, 1), (3, 5, 7, 6), (1, 1, 2, 0)):  # first: a column fits as well
        features = torch.randn(batch, channels, 3, 5, generator=generator)
        cases.append((features, torch.randn(classes, channels, generator=generator), k))
    return cases


CAM = Exercise(
    cam,
    _cam_cases,
    {
        "column": Mistake(
            lambda f, w, k: torch.einsum("bchw,c->bhw", f, w[:, k]),
            "A column of the weight was taken. The class's weights are its row, `weight[class_index]`: one a channel.",
        ),
        "rectified": Mistake(
            lambda f, w, k: cam(f, w, k).relu(),
            "The negative places were set to 0. They count: without them the mean is no longer the logit.",
        ),
        "divided by the positions": Mistake(
            lambda f, w, k: cam(f, w, k) / f[0, 0].numel(),
            "The map is divided by H·W. That is Grad-CAM's scale; here the mean over the positions has to be the logit.",
        ),
        "mean over the channels": Mistake(
            lambda f, w, k: cam(f, w, k) / f.shape[1],
            "The weighted channels were averaged; they are added up, as the linear layer adds them.",
        ),
        "softmax": Mistake(
            lambda f, w, k: cam(f, w.softmax(1), k),
            "A softmax was put on the weights. A classifier's weights are used as they are, negative ones too.",
        ),
        "stretched": Mistake(
            lambda f, w, k: normalize_map(cam(f, w, k)),
            "The map was stretched to 0 … 1. That is for pictures only; the logit is lost.",
        ),
        "unweighted": Mistake(
            lambda f, w, k: f.sum(1),
            "The feature maps were added up as they are, so every class has the same map. First multiply each with its weight.",
        ),
        "over the width": Mistake(
            lambda f, w, k: f * w[k],
            "The weights (C,) met the last dimension, the width, and not the channels. Make them (C, 1, 1) first.",
        ),
        "not added up": Mistake(
            lambda f, w, k: f * w[k][:, None, None],
            "These are the weighted channels, each on its own. One step is left: add them up, over dim 1.",
        ),
        "pooled": Mistake(
            lambda f, w, k: w[k] * f.mean((2, 3)),
            "These are the channels' contributions (B, C): the positions were averaged away. Keep them, add up the channels.",
        ),
        "the logit": Mistake(
            lambda f, w, k: f.mean((2, 3)) @ w[k],
            "These are the logits (B,): positions averaged, channels added up. Keep the positions.",
        ),
        "absolute": Mistake(
            lambda f, w, k: cam(f, w, k).abs(),
            "Absolute values were taken. A negative place speaks against the class.",
        ),
        "absolute weights": Mistake(
            lambda f, w, k: cam(f, w.abs(), k),
            "The weights' absolute values were taken. A negative weight speaks against the class.",
        ),
        "all classes": Mistake(
            lambda f, w, k: class_activation_map(f, w),
            "These are the maps of all classes (B, classes, H, W); one class is asked for.",
        ),
    },
)


def pointing_game(maps: Tensor, boxes: Tensor, size: int) -> float:
    """The share of maps whose brightest cell has its centre in the box."""
    return _hits(maps, boxes, size).float().mean().item()


def _hits(
    maps, boxes, size, best=torch.argmax, offset=0.5, swap=False, scaled=True, cells=None, last=torch.lt, of=None
):
    height, width = (cells, cells) if cells else maps.shape[1:]
    place = best(maps.flatten(1), 1)
    row, column = place // width + offset, place % width + offset  # in cells
    height, width = of(height, width) if of else (height, width)
    if scaled:
        row, column = row * size / height, column * size / width  # in pixels
    if swap:
        row, column = column, row
    top, left, bottom, right = boxes.T
    return (row >= top) & last(row, bottom) & (column >= left) & last(column, right)


def _pointing_cases():
    generator, cases = torch.Generator().manual_seed(5), []
    for count, (high, wide), size, side in ((64, (10, 10), 40, 14), (90, (6, 9), 48, 23)):
        corners = torch.randint(size - side + 1, (count, 2), generator=generator)
        maps = torch.randn(count, high, wide, generator=generator)
        for n, (top, left) in enumerate(corners.tolist()):  # most maps are brighter where the box is
            rows, columns = (
                slice(edge * cells // size, (edge + side) * cells // size + 1)
                for edge, cells in ((top, high), (left, wide))
            )
            maps[n, rows, columns] += 1.5
        cases.append((maps, torch.cat([corners, corners + side], dim=1), size))
    return cases


def _rate(**options):
    return lambda maps, boxes, size: _hits(maps, boxes, size, **options).float().mean().item()


POINTING_GAME = Exercise(
    pointing_game,
    _pointing_cases,
    {
        "in cells": Mistake(
            _rate(scaled=False),
            "The place is in cells of the map, the box in pixels of the image. Multiply with size / cells first.",
        ),
        "rows and columns": Mistake(
            _rate(swap=True),
            "Row and column are mixed up: `place // width` is the row, `place % width` the column; a box is top, left, bottom, right.",
        ),
        "corner of the cell": Mistake(
            _rate(offset=0.0),
            "The upper left corner of the brightest cell was tested. Its centre is half a cell further: add 0.5.",
        ),
        "numbers of the example": Mistake(
            lambda maps, boxes, size: _rate(cells=10)(maps, boxes, 40),
            "The example's 10 cells and 40 pixels are written in. Take them from `maps.shape` and `size`.",
        ),
        "width for both": Mistake(
            _rate(of=lambda height, width: (width, width)),
            "Rows are divided by the map's width, too. A map need not be square: height belongs to rows.",
        ),
        "height for both": Mistake(
            _rate(of=lambda height, width: (height, height)),
            "Columns are divided by the map's height, too. A map need not be square: width belongs to columns.",
        ),
        "ten cells": Mistake(
            _rate(cells=10),
            "The example's 10 cells are written in, and these maps have another size: `maps.shape[1:]`.",
        ),
        "forty pixels": Mistake(
            lambda maps, boxes, size: _rate()(maps, boxes, 40),
            "The example's 40 pixels are written in. An image may have another size: use `size`.",
        ),
        "lower edge inside": Mistake(
            _rate(last=torch.le),
            "A centre on the lower or right edge was counted as inside. The box ends before them: use `<` there.",
        ),
        "hits": Mistake(
            lambda maps, boxes, size: _hits(maps, boxes, size).float(),
            "So far, so good: hit or miss for each map. Now the share of hits, one number.",
        ),
        "darkest": Mistake(_rate(best=torch.argmin), "The darkest place was taken; it is the brightest that points."),
        "magnitude": Mistake(
            _rate(best=lambda m, dim: m.abs().argmax(dim)),
            "The largest absolute value was taken. A strongly negative place speaks against the class.",
        ),
        "one place for all": Mistake(
            lambda maps, boxes, size: pointing_game(maps.mean(0, keepdim=True).expand_as(maps), boxes, size),
            "The maps were averaged over the images. Each image has a brightest place of its own.",
        ),
        "share inside": Mistake(
            lambda maps, boxes, size: _share_inside(maps, boxes, size),
            "This is how much of the map lies in the box. The pointing game asks for one place a map: hit or miss.",
        ),
        "in per cent": Mistake(
            lambda maps, boxes, size: 100 * pointing_game(maps, boxes, size),
            "This is in per cent. The share is a number from 0 to 1.",
        ),
        "misses": Mistake(
            lambda maps, boxes, size: 1 - pointing_game(maps, boxes, size), "These are the misses; count the hits."
        ),
        "number of hits": Mistake(
            lambda maps, boxes, size: _hits(maps, boxes, size).sum().item(),
            "The hits were counted; divide by the number of maps.",
        ),
    },
)


def _share_inside(maps, boxes, size):
    height, width = maps.shape[1:]
    row, column = (torch.arange(height) + 0.5) * size / height, (torch.arange(width) + 0.5) * size / width
    top, left, bottom, right = (edge[:, None] for edge in boxes.T)
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    inside = rows[:, :, None] & columns[:, None, :]
    positive = maps.relu()
    return ((positive * inside).sum((1, 2)) / positive.sum((1, 2))).mean().item()


EXERCISES = {"07.cam": CAM, "07.pointing": POINTING_GAME}

"""Maps over the training: what gates, heat maps or outputs of some images were at each moment of it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
import traitlets
from torch import Tensor

from .. import figures
from .images import stacked
from .instrument import Instrument, Whole, encode
from .javascript import module, styles

__all__ = ["TrainingMapsView", "moment_state"]

MOST_ROWS, MOST_STILL = 6, 4


def moment_state(maps: Mapping[str, Tensor], curves: Mapping[str, Sequence[float]], moment: int) -> dict[str, Tensor]:
    """What is shown at one moment: each row's maps, their mean over all images and positions, and the curves' values.

    Example:
        >>> import torch
        >>> shown = moment_state({"gates": torch.eye(2).expand(3, 1, 2, 2)}, {"loss": [3.0, 2.0, 1.0]}, 1)
        >>> shown["maps gates"].shape, shown["mean gates"].item(), shown["loss"].item()
        (torch.Size([1, 2, 2]), 0.5, 2.0)

    Args:
        maps: row's name → (moments, B, h, w).
        curves: name → one number a moment.
        moment: from 0 on.
    """
    shown = {f"maps {name}": array[moment] for name, array in maps.items()}
    shown |= {f"mean {name}": array[moment].mean() for name, array in maps.items()}
    return shown | {name: torch.tensor(values[moment]) for name, values in curves.items()}


class TrainingMapsView(Instrument):
    """A scrubber and a play button over the maps of some images, recorded while a network trained, and curves beneath.

    Reference: Verelst and Tuytelaars, figure 1 (gates), https://arxiv.org/abs/1912.03203; Kim et al., figure 2 (heat maps),
    https://arxiv.org/abs/1907.10830

    Example:
        >>> import torch
        >>> gates = torch.rand(3, 2, 8, 8)  # three moments, two images
        >>> view = TrainingMapsView({"a": torch.rand(1, 16, 16), "b": torch.rand(1, 16, 16)}, {"gates": gates}, {"loss": [3, 2, 1]})
        >>> view.moment, view.steps
        (0, [0, 1, 2])

    Args:
        images: name → (1, H, W) or (3, H, W) in 0 … 1, all of one size; at most 8.
        maps: row's name → (moments, B, h, w) in 0 … 1, one map an image and moment; at most 6 rows.
        curves: name → one number a moment.
        steps: what each moment is called on the axis, rising; None for 0, 1, 2 …
        unit: of ``steps``, such as "epoch".
        pictures: names of the rows that are pictures, shown in grey; all others are maps, in viridis.
        means: say each row's mean, too; False where it means nothing, as that of maps which were stretched to 0 … 1.
        moment: to start with, its place in ``steps``.
        experiments: button's label → traits it sets, for example {"Half-way": {"moment": 5}}.

    Raises:
        ValueError: an array's shape or values, a curve, a step or a picture's name do not fit.
        TraitError: there is no such moment.
    """

    _esm, _css = module("training_maps"), styles("playback", "training_maps")
    moment = Whole(0).tag(sync=True)

    def __init__(
        self,
        images: Mapping[str, Tensor],
        maps: Mapping[str, Tensor],
        curves: Mapping[str, Sequence[float]],
        steps: Sequence[int] | None = None,
        unit: str = "epoch",
        pictures: Collection[str] = (),
        means: bool = True,
        moment: int = 0,
        experiments: Mapping[str, Mapping] | None = None,
    ) -> None:
        self.images, self.names = stacked(images), list(images)
        self.maps = _checked_maps(maps, len(images))
        moments = len(next(iter(self.maps.values())))
        self.curves = _checked_curves(curves, moments)
        self.steps = list(range(moments)) if steps is None else list(steps)
        if len(self.steps) != moments or any(a >= b for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise ValueError(f"steps must be {moments} numbers that rise, one a moment, got {self.steps}")
        if unknown := [name for name in pictures if name not in self.maps]:
            raise ValueError(f"pictures must be among {list(self.maps)}, got {unknown}")
        self.unit, self.pictures = unit, list(pictures)
        rows = [
            {"name": name, "maps": encode(array), "shape": list(array.shape[2:]), "grey": name in self.pictures}
            for name, array in self.maps.items()
        ]
        data: dict[str, Any] = {
            "names": self.names,
            "images": encode(self.images),
            "image_shape": list(self.images.shape[2:]),
        }
        data |= {"rows": rows, "curves": list(self.curves.items()), "steps": self.steps, "unit": unit, "means": means}
        super().__init__(data=json.dumps(data), experiments=json.dumps(experiments or {}), moment=moment)

    @traitlets.validate("moment")
    def _check_moment(self, proposal):
        if not 0 <= proposal["value"] < len(self.steps):
            raise traitlets.TraitError(f"moment must be 0 to {len(self.steps) - 1}, got {proposal['value']}")
        return proposal["value"]

    def still(self) -> figures.Picture:
        last = len(self.steps) - 1
        chosen = sorted({round(i * last / (MOST_STILL - 1)) for i in range(MOST_STILL)})
        rows, grey = {"image": dict(zip(self.names, self.images.mean(1), strict=True))}, ["image"]
        for name, array in self.maps.items():
            for i in chosen:
                label = f"{name}, {self.unit} {self.steps[i]}"
                rows[label] = dict(zip(self.names, array[i], strict=True))
                grey += [label] if name in self.pictures else []
        ends = ", ".join(f"{name} {values[0]:.3g} → {values[-1]:.3g}" for name, values in self.curves.items())
        return figures.images(
            rows,
            alt=f"Images, and below them {', '.join(self.maps)} at {len(chosen)} moments of the training, from {self.unit} "
            f"{self.steps[0]} to {self.steps[-1]}; {ends}.",
            grey=grey,
            size=1.3,
        )


def _checked_maps(maps, batch):
    """Each row's maps as float32, as the page has them."""
    shapes = {name: tuple(array.shape) for name, array in maps.items()}
    moments = {shape[:1] for shape in shapes.values()}
    if not 1 <= len(maps) <= MOST_ROWS or len(moments) != 1:
        raise ValueError(f"maps must be 1 to {MOST_ROWS} rows with as many moments each, got {shapes}")
    for name, array in maps.items():
        if array.ndim != 4 or len(array) < 2 or array.shape[1] != batch or 0 in array.shape:
            raise ValueError(f"maps of {name} must be (at least 2 moments, {batch}, h, w), got {shapes[name]}")
        if not 0 <= array.min() <= array.max() <= 1:
            raise ValueError(f"maps of {name} must be in 0 … 1, got {array.min():g} to {array.max():g}")
    return {name: array.detach().cpu().float() for name, array in maps.items()}


def _checked_curves(curves, moments):
    """Each curve's numbers as floats."""
    for name, values in curves.items():
        if len(values) != moments or not all(math.isfinite(value) for value in values):
            raise ValueError(f"curve {name} must be {moments} finite numbers, one a moment, got {list(values)}")
    return {name: [float(value) for value in values] for name, values in curves.items()}

"""Spatial gates: where residual blocks compute, what that needs around it, and what it saves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
import traitlets
from torch import Tensor

from ...functional.sparse import dilate_gate, gumbel_sigmoid
from .. import figures
from .images import stacked
from .instrument import Finite, Instrument, Temperature, encode
from .javascript import module, styles

__all__ = ["GatesView", "gates_state"]

MOST_BLOCKS = 8


def gates_state(logits: Tensor, macs: tuple[int, int], budget: float | None, temperature: float) -> dict[str, Tensor]:
    """What one sparse block's gate opens, what the block has to compute for it, and the multiply-adds of that.

    Reference: Verelst and Tuytelaars, section 3, https://arxiv.org/abs/1912.03203

    Returns threshold (); gate (B, h, w), 1 where the logit reaches the threshold; soft (B, h, w), the sigmoid of what
    the logit is above it, divided by T; needed (B, h, w), the gate dilated by one position; used (B,), multiply-adds;
    total (), those of one image with all positions open. The gate is 1 where soft is at least one half, at every T.

    Example:
        >>> import torch
        >>> shown = gates_state(torch.randn(2, 8, 8), macs=(9, 9), budget=0.25, temperature=1.0)
        >>> int(shown["gate"].sum()), int(shown["total"])
        (32, 1152)

    Args:
        logits: (B, h, w).
        macs: multiply-adds of one position: of the first convolution, which runs where ``needed`` is 1, and of the
            second, which runs where ``gate`` is 1.
        budget: share of the positions of all images together that stays open, 0 … 1 (equal logits at the edge stay open
            together); None for the threshold 0 that the gate was trained with.
        temperature: T above 0.
    """
    threshold = 0.0
    if budget is not None:
        count = math.floor(budget * logits.numel() + 0.5)
        threshold = logits.flatten().sort(descending=True).values[count - 1].item() if count else math.inf
    gate = (logits >= threshold).to(logits.dtype)
    needed = dilate_gate(gate[:, None], logits.shape[1:])[:, 0]
    first, second = macs
    return {
        "threshold": torch.tensor(threshold),
        "gate": gate,
        "soft": gumbel_sigmoid(logits - threshold, temperature, hard=False, noise=False),
        "needed": needed,
        "used": needed.sum((1, 2)) * first + gate.sum((1, 2)) * second,
        "total": torch.tensor(float(logits[0].numel() * (first + second))),
    }


class GatesView(Instrument):
    """The gates of sparse blocks over an image, with the budget of open positions and the sigmoid's T on sliders.

    Reference: Verelst and Tuytelaars, section 3, https://arxiv.org/abs/1912.03203

    A budget moves each block's threshold, the same for all images: an image with much to see gets more positions than
    an empty one. Closed positions next to an open one cost too, for the second convolution looks at them.

    Example:
        >>> import torch
        >>> from dynconv import SparseBlock
        >>> block, x = SparseBlock(3), torch.rand(2, 3, 16, 16)
        >>> macs = block.conv1.weight.numel(), block.conv2.weight.numel()
        >>> view = GatesView(dict(zip("ab", x)), {"block 1": block.gate.logits(x)[:, 0]}, {"block 1": macs})
        >>> view.budget is None, view.temperature, view.image
        (True, 1.0, 'a')

    Args:
        images: name → (3, H, W) or (1, H, W) in 0 … 1, all of one size; at most 8.
        logits: block's name → (B, h, w) or (B, 1, h, w), one row an image; at most 8 blocks.
        macs: block's name → multiply-adds of one position in its first and in its second convolution.
        budget: share of the positions that stays open; None for the gates as trained.
        temperature: T of the soft gate.
        image: name of the image shown; None for the first.
        experiments: button's label → traits it sets, for example {"a quarter": {"budget": 0.25}}.

    Raises:
        ValueError: an array's shape, an image's values or the blocks' names do not fit.
        TraitError: there is no such image, or budget or temperature is out of range.
    """

    _esm, _css = module("gates"), styles("diagram", "gates")
    budget = Finite(None, allow_none=True, min=0, max=1).tag(sync=True)
    temperature = Temperature(1.0).tag(sync=True)
    image = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        images: Mapping[str, Tensor],
        logits: Mapping[str, Tensor],
        macs: Mapping[str, tuple[int, int]],
        budget: float | None = None,
        temperature: float = 1.0,
        image: str | None = None,
        experiments: Mapping[str, Mapping] | None = None,
    ) -> None:
        self.images, self.names = stacked(images), list(images)
        self.logits = _logits(logits, len(images))
        self.macs: dict[str, Any] = {name: tuple(pair) for name, pair in macs.items()}
        if set(self.logits) != set(self.macs) or not all(_two_costs(pair) for pair in self.macs.values()):
            raise ValueError(f"macs must be two numbers above 0 for each of {list(self.logits)}, got {self.macs}")
        blocks = [
            {"name": name, "logits": encode(array), "shape": list(array.shape), "macs": self.macs[name]}
            for name, array in self.logits.items()
        ]
        data = {"names": self.names, "images": encode(self.images), "image_shape": list(self.images.shape[2:])}
        super().__init__(
            data=json.dumps(data | {"blocks": blocks}),
            experiments=json.dumps(experiments or {}),
            budget=budget,
            temperature=temperature,
            image=self.names[0] if image is None else image,
        )

    @traitlets.validate("image")
    def _check_image(self, proposal):
        if proposal["value"] not in self.names:
            raise traitlets.TraitError(f"image must be one of {self.names}, got {proposal['value']!r}")
        return proposal["value"]

    def still(self) -> figures.Picture:
        states = {
            name: gates_state(array, self.macs[name], self.budget, self.temperature)
            for name, array in self.logits.items()
        }
        rows = {}
        for b, image in enumerate(self.names[:4]):
            pictures = {name: (s["needed"][b] + s["gate"][b]) / 2 for name, s in states.items()}
            rows[image] = {"image": self.images[b].movedim(0, -1)} | pictures
        used = sum(s["used"].sum().item() for s in states.values())
        total = sum(s["total"].item() * len(self.names) for s in states.values())
        setting = "as trained" if self.budget is None else f"with {self.budget:.0%} of the positions open"
        return figures.images(
            rows,
            alt=f"Spatial gates {setting}: open positions yellow, those they need green, skipped ones purple. "
            f"They save {1 - used / total:.0%} of the multiply-adds of all blocks and images.",
        )


def _logits(logits, batch):
    """Each block's logits as (B, h, w) of float32, as the page has them."""
    if not 1 <= len(logits) <= MOST_BLOCKS:
        raise ValueError(f"logits must be those of 1 to {MOST_BLOCKS} blocks, got {len(logits)}")
    arrays = {}
    for name, array in logits.items():
        flat = array[:, 0] if array.ndim == 4 and array.shape[1] == 1 else array
        if flat.ndim != 3 or len(flat) != batch or 0 in flat.shape:
            raise ValueError(f"logits of {name} must be ({batch}, h, w), got {tuple(array.shape)}")
        arrays[name] = flat.detach().cpu().float()
    return arrays


def _two_costs(pair):
    return len(pair) == 2 and min(pair) > 0

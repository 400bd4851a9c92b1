"""The question as one figure: one photo, the question's layer and a dynamic one; a bet, and then the wires."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
import traitlets
from torch import Tensor

from ...layers import DynamicConv2d, StaticMixConv2d
from .. import figures
from .dynamic import looked_at, looks_of, softmax_attention
from .instrument import Instrument, Temperature, Whole, encode
from .javascript import module, styles

__all__ = ["Hero"]

STEP = 4  # pixels from one place of the film to the next


class Hero(Instrument):
    """A photo that slides between two layers: whose shares move with it? The wires are drawn once a bet is made.

    Reference: https://ai.stackexchange.com/questions/34748; Chen et al., https://arxiv.org/abs/1912.03458

    The dynamic layer looks at every place of the film once, in Python; mixing and convolving happen in the page.

    Example:
        >>> from dynconv.lessons.data import restorer
        >>> film = torch.rand(136, 272)
        >>> hero = Hero(restorer("mix"), restorer("dynamic"), film, film)
        >>> hero.position, hero.temperature, hero.bet
        (0, 1.0, '')

    Args:
        static: the question's layer, one channel to one, without padding; 1 to 8 kernels.
        dynamic: a dynamic layer of the same kernels' size and number.
        film: (S, W), what slides: windows of S × S, from the left end to the right one.
        clean: (S, W), what both layers are to make of it.
        experiments: button's label → traits it sets, for example {"the cat": {"position": 0}}.

    Raises:
        ValueError: layers and film do not fit; TraitError: there is no such position, temperature or bet.
    """

    _esm, _css = module("hero"), styles("diagram", "hero")
    position = Whole(0).tag(sync=True)
    temperature = Temperature(1.0).tag(sync=True)
    bet = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        static: StaticMixConv2d,
        dynamic: DynamicConv2d,
        film: Tensor,
        clean: Tensor,
        experiments: Mapping[str, Mapping] | None = None,
    ) -> None:
        _check(static, dynamic, film, clean)
        self.static, self.dynamic, self.film, self.clean = static, dynamic, film, clean
        side = film.shape[0]
        self.windows = film.unfold(1, side, STEP).movedim(1, 0)[:, None]  # (places, 1, S, S)
        with looked_at(dynamic):
            attention = softmax_attention(dynamic)
            self.logits = torch.cat(
                [looks_of(dynamic, attention, some)[2] for some in self.windows.split(8)]
            )  # (places, K)
        data = {"film": encode(film), "clean": encode(clean), "side": side, "step": STEP, "places": len(self.windows)}
        data |= {"left": _layer(static, static.attention.logits), "right": _layer(dynamic, self.logits)}
        sizes = {"size": dynamic.kernel_size[0], "count": dynamic.num_kernels}
        super().__init__(data=json.dumps(data | sizes), experiments=json.dumps(experiments or {}))

    @traitlets.validate("position")
    def _check_position(self, proposal):
        if not 0 <= proposal["value"] < len(self.windows):
            raise traitlets.TraitError(f"position must be 0 to {len(self.windows) - 1}, got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("bet")
    def _check_bet(self, proposal):
        if proposal["value"] not in ("", "left", "right"):
            raise traitlets.TraitError(f"bet must be '', 'left' or 'right', got {proposal['value']!r}")
        return proposal["value"]

    def still(self) -> figures.Picture:
        ends = {"at the left end": self.windows[:1], "at the right end": self.windows[-1:]}
        with looked_at(self.dynamic):
            rows = {
                where: {"photo": x[0, 0], "one layer": self.static(x)[0, 0], "the other": self.dynamic(x)[0, 0]}
                for where, x in ends.items()
            }
        return figures.images(rows, alt="A photo at both ends of a film, and what two layers make of it.", grey=True)


def _layer(layer, logits):
    return {
        "kernels": encode(layer.weight[:, 0, 0]),
        "biases": encode(layer.weight.new_zeros(layer.num_kernels) if layer.bias is None else layer.bias[:, 0]),
        "logits": encode(logits),
    }


def _check(static, dynamic, film, clean):
    for layer in (static, dynamic):
        if layer.weight.shape[1:3] != (1, 1) or any(layer.padding) or layer.num_kernels > 8:
            raise ValueError(f"layers must be one channel to one, unpadded, at most 8 kernels, got {layer}")
    if static.weight.shape != dynamic.weight.shape or len(set(dynamic.kernel_size)) > 1:
        shapes = tuple(static.weight.shape), tuple(dynamic.weight.shape)
        raise ValueError(f"both layers must have as many square kernels of one size, got {shapes[0]} and {shapes[1]}")
    if film.ndim != 2 or film.shape != clean.shape or film.shape[1] < film.shape[0]:
        raise ValueError(f"film and clean must be (S, W) alike, W at least S, got {film.shape} and {clean.shape}")

"""Branches: the same K convolutions of one photo, weighed in the four ways that have been seen before."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor

from ...functional import conv
from .. import figures
from .instrument import Instrument, encode
from .javascript import module, styles

__all__ = ["SOURCES", "BranchesView", "branches_state"]

SOURCES = ("parameters", "image, per kernel", "image, per channel", "position")
ROUNDING = 1e-5  # below it, two numbers are the same


def branches_state(
    photos: Tensor, kernels: Tensor, look: Tensor, logits: Tensor, source: str, activation: bool
) -> dict[str, Tensor]:
    r"""K branches of each photo, their weights, the mix, and what the best single convolution leaves of it.

    Reference: Liu et al., https://arxiv.org/abs/1806.09055 (parameters); Chen et al., https://arxiv.org/abs/1912.03458 (per
    kernel); Li et al., https://arxiv.org/abs/1903.06586 (per channel); Li et al., https://arxiv.org/abs/2103.06255 (position)

    .. math:: y = \sum_k \pi_k\, u_k, \qquad u_k = W_k * x \text{ or } \mathrm{relu}(W_k * x)

    The logits are K parameters, or a linear map of :math:`s = \sum_k \mathrm{relu}(W_k * x)`, of its mean over positions or of
    what stands at each position, after a batch norm whose statistics are those of these photos.

    Returns maps (B, K, C, H, W), weights (B, K, C, H, W), mixed (B, C, H, W), left (B, C, H, W) and errors: image, how far
    weights differ between photos; position, between positions; fold, the norm of ``left`` over that of ``mixed``.

    Example:
        >>> import torch
        >>> photos, kernels, look = torch.randn(2, 16, 16), torch.randn(3, 2, 5, 5), torch.randn(3, 2, 2)
        >>> shown = branches_state(photos, kernels, look, torch.zeros(3), "parameters", False)
        >>> bool(shown["fold"] < 1e-5), float(shown["image"]), float(shown["position"])
        (True, 0.0, 0.0)

    Args:
        photos: (B, H, W).
        kernels: (K, C, k, k), k odd.
        look: (K, C, C), from s to a logit for each kernel and channel; per kernel it is averaged over the channels.
        logits: (K,), the parameters.
        source: one of SOURCES.
        activation: whether each branch ends in a ReLU.

    Raises:
        ValueError: there is no such source.
    """
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(map(repr, SOURCES))}, got {source!r}")
    size, count = kernels.shape[-1], len(kernels)
    maps = conv(photos[:, None], kernels.flatten(0, 1)[:, None], padding=size // 2).unflatten(1, (count, -1))
    weights = _logits(maps.relu().sum(1), look, logits, source).softmax(1).expand_as(maps)
    maps = maps.relu() if activation else maps
    mixed = (weights * maps).sum(1)
    left = mixed - best_convolution(photos, mixed, size)
    return {"maps": maps, "weights": weights, "mixed": mixed, "left": left} | {
        "image": (weights - weights[:1]).abs().max(),
        "position": (weights - weights[..., :1, :1]).abs().max(),
        "fold": left.norm() / mixed.norm(),
    }


def _logits(s: Tensor, look: Tensor, logits: Tensor, source: str) -> Tensor:
    """(B or 1, K, C or 1, H or 1, W or 1), from s (B, C, H, W)."""
    if source == "parameters":
        return logits[None, :, None, None, None]
    if source == "position":
        return torch.einsum("kd,bdhw->bkhw", look.mean(1), _normed(s, (0, 2, 3)))[:, :, None]
    each = torch.einsum("kcd,bd->bkc", look, _normed(s.mean((2, 3)), (0,)))
    return (each if source == "image, per channel" else each.mean(2, keepdim=True))[..., None, None]


def _normed(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return (x - x.mean(dims, keepdim=True)) / x.std(dims, unbiased=False, keepdim=True).clamp_min(1e-6)


def best_convolution(photos: Tensor, y: Tensor, size: int) -> Tensor:
    """What the one convolution with bias that comes nearest to y (B, C, H, W) for all photos makes of them."""
    patches = F.unfold(photos[:, None].double(), size, padding=size // 2).transpose(1, 2)  # (B, H·W, k²)
    known = torch.cat([patches, torch.ones_like(patches[..., :1])], 2).flatten(0, 1)
    wanted = y.double().flatten(2).transpose(1, 2).flatten(0, 1)  # (B·H·W, C)
    best = known @ torch.linalg.lstsq(known, wanted).solution
    return best.unflatten(0, (len(y), -1)).transpose(1, 2).reshape(y.shape).to(y.dtype)


class BranchesView(Instrument):
    """The same branches, their weights from parameters, from the image or from each position; with a ReLU or without.

    Reference: see :func:`.branches_state`

    Python computes the weights and what folds; the page mixes. The wire that feeds the weights says where they come from.

    Example:
        >>> import torch
        >>> photos = {"a": torch.randn(16, 16), "b": torch.randn(16, 16)}
        >>> view = BranchesView(photos, {"one": torch.randn(2, 3, 3), "two": torch.randn(2, 3, 3)}, torch.randn(2, 2, 2))
        >>> view.photo, view.source, view.activation
        ('a', 'parameters', False)

    Args:
        photos: name → (H, W), two or more of one size, mean about 0.
        kernels: name → (2, k, k), k odd: one kernel for each of two output channels; at most 8.
        look: (K, 2, 2), see :func:`.branches_state`.
        logits: K numbers; 1, 0, −1 … if left out.
        source, activation, photo: to start with.
        experiments: button's label → traits it sets, for example {"SKNet": {"source": "image, per channel"}}.

    Raises:
        ValueError: a shape or number does not fit; traitlets.TraitError: there is no such source or photo.
    """

    _esm, _css = module("branches"), styles("diagram", "branches")
    photo = traitlets.Unicode().tag(sync=True)
    source = traitlets.Enum(SOURCES, default_value=SOURCES[0]).tag(sync=True)
    activation = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        photos: Mapping[str, Tensor],
        kernels: Mapping[str, Tensor],
        look: Tensor,
        logits: Tensor | None = None,
        source: str = SOURCES[0],
        activation: bool = False,
        photo: str | None = None,
        experiments: Mapping[str, Mapping] | None = None,
    ) -> None:
        shapes, sizes = ({tuple(one.shape) for one in some.values()} for some in (photos, kernels))
        if len(photos) < 2 or len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise ValueError(
                f"photos must be two or more, (H, W) and of one size, got {len(photos)} of {sorted(shapes)}"
            )
        side = next(iter(sizes))[-1] if sizes else 0
        if not 1 <= len(kernels) <= 8 or sizes != {(2, side, side)} or side % 2 == 0:
            raise ValueError(
                f"kernels must be 1 to 8 of one shape (2, k, k), k odd, got {len(kernels)} of {sorted(sizes)}"
            )
        if look.shape != (len(kernels), 2, 2):
            raise ValueError(f"look must be ({len(kernels)}, 2, 2), got {tuple(look.shape)}")
        self.names, self.kernels = list(photos), torch.stack(list(kernels.values())).detach()
        logits = 1 - torch.arange(float(len(kernels))) if logits is None else logits.detach()
        pictures = torch.stack(list(photos.values())).detach()
        self.states = {
            (s, on): branches_state(pictures, self.kernels, look.detach(), logits, s, on)
            for s in SOURCES
            for on in (False, True)
        }
        super().__init__(
            data=json.dumps(self._data(pictures, list(kernels))),
            experiments=json.dumps(experiments or {}),
            source=source,
            activation=activation,
            photo=self.names[0] if photo is None else photo,
        )

    def _data(self, photos: Tensor, names: list[str]) -> dict:
        """Weights are sent as small as they are: one number a kernel, a channel, or a position."""
        plain = self.states[SOURCES[0], False]
        weights = {s: self.states[s, False]["weights"] for s in SOURCES}
        few = {s: w if s == "position" else w[..., :1, :1] for s, w in weights.items()}
        few |= {"position": few["position"][:, :, :1]}
        return {
            "photos": [encode(photo) for photo in photos],
            "photo_names": self.names,
            "height": photos.shape[1],
            "width": photos.shape[2],
            "names": names,
            "kernels": encode(self.kernels[:, 0]),
            "size": self.kernels.shape[-1],
            "maps": [encode(one) for one in plain["maps"]],  # (K, 2, H, W)
            "sources": SOURCES,
            "weights": [[encode(one) for one in few[s]] for s in SOURCES],
            "left": [[[encode(one[0]) for one in self.states[s, on]["left"]] for on in (False, True)] for s in SOURCES],
            "answers": [[_answers(self.states[s, on]) for on in (False, True)] for s in SOURCES],
        }

    @traitlets.validate("photo")
    def _check_photo(self, proposal):
        if proposal["value"] not in self.names:
            raise traitlets.TraitError(f"photo must be one of {self.names}, got {proposal['value']!r}")
        return proposal["value"]

    def still(self) -> figures.Picture:
        b = self.names.index(self.photo)
        rows = {
            title: {s: self.states[s, on]["mixed"][b, 0] for s in SOURCES}
            for title, on in (("linear", False), ("with ReLU", True))
        }
        said = "; ".join(
            f"{s}{', with ReLU' * on} {_answers(state)['fold']:.1g}" for (s, on), state in self.states.items()
        )
        return figures.images(
            rows,
            f"The mix of the same branches of {self.photo}, by where the weights come from. The best single "
            f"convolution is off by: {said}.",
            signed=True,
            shared=False,
        )


def _answers(state: Mapping[str, Tensor]) -> dict:
    """What was measured, and yes or no."""
    found = {name: state[name].item() for name in ("image", "position", "fold")}
    return found | {f"is_{name}": value < ROUNDING for name, value in found.items()}

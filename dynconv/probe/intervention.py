"""Put other weights in the place of a model's own: what then breaks is what the weights were good for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..layers.hooks import Hook, hooked
from .hooks import Layers, as_rows, from_rows, select, unwrapped

__all__ = ["MODES", "intervene"]

MODES = ("uniform", "argmax", "shuffled", "frozen", "given")


@contextmanager
def intervene(
    model: nn.Module,
    mode: str,
    layers: Layers = None,
    *,
    attention: Tensor | Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> Iterator[None]:
    r"""Replace the weights of a model's layers while the ``with`` block lasts. Attention that varies need not matter.

    Reference: Jain and Wallace, *Attention is not Explanation*, https://arxiv.org/abs/1902.10186 (permuted attention)

    - "uniform": each image's weights are all replaced by their mean (for softmax over K kernels: 1/K each);
    - "argmax": all of an image's weight goes to its largest one (the sum stays);
    - "shuffled": every image gets the weights of another image of the batch, the same one in every layer (one that only
      ever sees a single image, as of a positional encoding, keeps its own);
    - "frozen": the mean over the first batch that runs is used for every image from then on;
    - "given": the weights in ``attention``.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> layer, x = DynamicConv2d(3, 8, 3, temperature=0.1), torch.randn(2, 3, 8, 8)
        >>> with intervene(layer, "uniform"):
        ...     y = layer(x)
        >>> mean = torch.nn.functional.conv2d(x, layer.weight.mean(0), layer.bias.mean(0))
        >>> bool(torch.allclose(y, mean, atol=1e-5))
        True

    Args:
        model: any module; gradients still flow, its mode does not change.
        mode: one of the above.
        layers: names (``*`` is a wildcard) of layers or weightings; None for all.
        attention: for "given": weights for all layers, or a dict from names to weights; with or without a batch dimension.
        seed: which shuffle.

    Raises:
        ValueError: unknown mode or name, nothing to intervene on, attention missing or of the wrong shape, weights of another
            size than they were frozen at, or a batch of one to shuffle (if no layer had more: at the end of the block).
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, MODES))}, got {mode!r}")
    if (attention is not None) != (mode == "given"):
        raise ValueError(f"attention goes with mode 'given' and only with it, got mode {mode!r}")
    chosen = select(model, list(attention) if isinstance(attention, Mapping) and layers is None else layers)
    if not chosen:
        raise ValueError(f"{type(model).__name__} has no weights to intervene on")
    shuffle = _Shuffle(seed)

    def replace(name: str) -> Hook:
        change = _change(mode, name, attention, shuffle, getattr(chosen[name], "over", "kernels"))
        return lambda module, args, weights: change(weights, getattr(module, "batched", True))

    # an attention that layers share has a name in each of them, and is one all the same
    with hooked({name: module for module, name in {m: n for n, m in chosen.items()}.items()}, replace, changes=True):
        yield
    shuffle.check()


def _change(
    mode: str, name: str, attention: Tensor | Mapping[str, Tensor] | None, shuffle: _Shuffle, over: str
) -> Callable[[Tensor, bool], Tensor]:
    if mode == "shuffled":
        return lambda weights, batched: shuffle(weights, name) if batched else weights
    if mode == "frozen":
        return _Frozen(name)
    if attention is not None:
        return lambda weights, batched: _given(weights, attention, name)
    function = UNARY[mode]

    def each_row(weights: Tensor, batched: bool) -> Tensor:
        if not weights.numel():
            return weights
        return from_rows(function(as_rows(weights, over, batched)), weights, over, batched)

    return each_row


def _uniform(rows: Tensor) -> Tensor:
    return rows.mean(1, keepdim=True).expand_as(rows)


def _argmax(rows: Tensor) -> Tensor:
    one = torch.zeros_like(rows).scatter(1, rows.argmax(1, keepdim=True), 1.0)
    return one * rows.sum(1, keepdim=True)


UNARY = {"uniform": _uniform, "argmax": _argmax}


class _Shuffle:
    """Image perm[i] gets the weights of perm[i + 1]: nobody keeps their own."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.one: set[str] = set()  # the layers that saw one image
        self.more: set[str] = set()

    def __call__(self, weights: Tensor, name: str) -> Tensor:
        if len(weights):
            (self.one if len(weights) == 1 else self.more).add(name)
        if name in self.one & self.more:  # a batch of one among others, not a layer that never sees the batch
            raise ValueError(f"shuffling {name!r} needs at least 2 images in a batch, got 1")
        if len(weights) < 2:
            return weights
        generator = torch.Generator("cpu").manual_seed(self.seed)
        perm = torch.randperm(len(weights), generator=generator, device="cpu").to(weights.device)
        return torch.empty_like(weights).index_copy(0, perm, weights[perm.roll(-1)])

    def check(self) -> None:
        if self.one and not self.more:
            names = ", ".join(map(repr, sorted(self.one)))
            raise ValueError(f"shuffling needs at least 2 images in a batch, got 1 in {names}: nothing was shuffled")


class _Frozen:
    def __init__(self, name: str) -> None:
        self.name = name
        self.mean: Tensor | None = None

    def __call__(self, weights: Tensor, batched: bool) -> Tensor:
        if not batched or not len(weights):
            return weights
        if self.mean is None:
            self.mean = unwrapped(weights, batched).mean(0, keepdim=True)  # (1, ...)
        if self.mean.shape[1:] != weights.shape[1:]:
            frozen, got = tuple(self.mean.shape[1:]), tuple(weights.shape[1:])
            raise ValueError(f"{self.name!r} was frozen at weights {frozen}, got {got}: same sizes only")
        return self.mean.to(weights).expand_as(weights)


def _given(weights: Tensor, attention: Tensor | Mapping[str, Tensor], name: str) -> Tensor:
    if isinstance(attention, Mapping):
        # the layer's own name does for its weighting: the longest that fits
        key = max((k for k in attention if name == k or name.startswith(f"{k}.")), key=len)
        attention = attention[key]
    if (given := tuple(attention.shape)) not in (weights.shape, weights.shape[1:]):
        raise ValueError(f"attention of {name!r} must be {tuple(weights.shape)}, batch first, got {given}")
    return attention.to(weights).expand_as(weights)

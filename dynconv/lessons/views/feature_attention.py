"""U-GAT-IT's attention: weights that all images share, maps and logits that they do not, and AdaLIN."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
import traitlets
from torch import Tensor

from ...functional.normalization import adaptive_layer_instance_norm
from .. import figures
from .images import stacked
from .instrument import Finite, Instrument, Whole, encode
from .javascript import module, styles

__all__ = ["FeatureAttentionView", "feature_attention_state"]

MOST_CHANNELS = 8


def feature_attention_state(
    features: Tensor,
    average: Tensor,
    maximum: Tensor,
    blend: float,
    channel: int,
    rho: float,
    gamma: Tensor,
    beta: Tensor,
    eps: float = 1e-5,
) -> dict[str, Tensor]:
    """What the weights of U-GAT-IT's two classifiers do with some images' features, and AdaLIN with one channel.

    Reference: Kim et al., section 3.1 and eq. 1, https://arxiv.org/abs/1907.10830

    Returns logits (B, 2), of the means and of the maxima; heatmaps (B, h, w), the sum of the features weighed with
    (1 - blend) average + blend maximum; normalized (B, h, w), the channel after AdaLIN; strongest, the indices of at
    most 8 channels. The weights have no B: no image can change them.

    Example:
        >>> import torch
        >>> features, ones, zeros = torch.rand(2, 16, 8, 8), torch.ones(2, 16), torch.zeros(2, 16)
        >>> shown = feature_attention_state(features, torch.randn(16), torch.randn(16), 0.5, 3, 0.9, ones, zeros)
        >>> shown["logits"].shape, shown["heatmaps"].shape, shown["normalized"].shape
        (torch.Size([2, 2]), torch.Size([2, 8, 8]), torch.Size([2, 8, 8]))

    Args:
        features: (B, C, h, w).
        average, maximum: (C,), the weights of the branch that sees means and of that which sees maxima.
        blend: 0 for the average branch's weights … 1 for the maximum branch's.
        channel: from 0.
        rho: 0 for layer norm … 1 for instance norm.
        gamma, beta: (B, C), scale and shift after it.
        eps: added to the variances.
    """
    pooled = torch.stack([features.mean((2, 3)), features.amax((2, 3))], dim=1)  # (B, 2, C)
    weights = torch.stack([average, maximum])  # (2, C)
    normalized = adaptive_layer_instance_norm(features, rho, gamma, beta, eps)  # (B, C, h, w)
    return {
        "logits": (pooled * weights).sum(2),
        "heatmaps": torch.einsum("bchw,c->bhw", features, (1 - blend) * average + blend * maximum),
        "normalized": normalized[:, channel],
        "strongest": weights.abs().amax(0).argsort(descending=True, stable=True)[:MOST_CHANNELS],
    }


class FeatureAttentionView(Instrument):
    """Several images under the same channel weights, with a blend of the two branches and AdaLIN's rho on sliders.

    Reference: Kim et al., section 3.1 and eq. 1, https://arxiv.org/abs/1907.10830

    Another image moves no bar: the weights are parameters, and their wire is grey. What differs from image to image is the
    maps and the logits. The weighted sum is what the two classifiers ask for; the learned 1×1 convolution and the ReLU that follow in
    :class:`dynconv.layers.CAMAttention` are left out.

    Example:
        >>> import torch
        >>> from dynconv import CAMAttention
        >>> average, maximum = CAMAttention(16).weights
        >>> images = {"a": torch.rand(3, 32, 32), "b": torch.rand(3, 32, 32)}
        >>> view = FeatureAttentionView(images, torch.rand(2, 16, 8, 8), average, maximum)
        >>> view.image, view.blend, view.rho
        ('a', 0.5, 0.9)

    Args:
        images: name → (3, H, W) or (1, H, W) in 0 … 1, all of one size; at most 8.
        features: (B, C, h, w), one row an image.
        average, maximum: (C,), the weights of the two branches.
        gamma, beta: of AdaLIN, (B, C) or, the same for all images, (C,); None for 1 and 0.
        blend: 0 shows the average branch's weighted sum, 1 the maximum branch's.
        rho: 1 is instance norm, 0 is layer norm.
        image: name of the image the sentence speaks of; None for the first.
        rank: the channel shown: 1 is the one with the largest weight in either branch; at most 8.
        eps: added to AdaLIN's variances.
        experiments: button's label → traits it sets, for example {"layer norm": {"rho": 0}}.

    Raises:
        ValueError: an array's shape or an image's values do not fit.
        TraitError: there is no such image, or blend, rho or rank is out of range.
    """

    _esm, _css = module("feature_attention"), styles("diagram", "shared_weights", "feature_attention")
    blend = Finite(0.5, min=0, max=1).tag(sync=True)
    rho = Finite(0.9, min=0, max=1).tag(sync=True)
    image = traitlets.Unicode().tag(sync=True)
    rank = Whole(1).tag(sync=True)

    def __init__(
        self,
        images: Mapping[str, Tensor],
        features: Tensor,
        average: Tensor,
        maximum: Tensor,
        gamma: Tensor | None = None,
        beta: Tensor | None = None,
        blend: float = 0.5,
        rho: float = 0.9,
        image: str | None = None,
        rank: int = 1,
        eps: float = 1e-5,
        experiments: Mapping[str, Mapping] | None = None,
    ) -> None:
        pictures = stacked(images)  # (B, 3, H, W)
        if features.ndim != 4 or len(features) != len(images) or features[0, 0].numel() < 2:
            raise ValueError(f"features must be ({len(images)}, C, h, w), h·w at least 2, got {tuple(features.shape)}")
        self.names, (batch, channels, *_) = list(images), features.shape
        self.most_channels = min(MOST_CHANNELS, channels)
        self.arrays = {"features": features.detach().cpu().float(), "average": average, "maximum": maximum}
        self.arrays |= {"gamma": _scale("gamma", gamma, batch, channels, 1.0)}
        self.arrays |= {"beta": _scale("beta", beta, batch, channels, 0.0)}
        for name in ("average", "maximum"):
            if self.arrays[name].shape != (channels,):
                raise ValueError(f"{name} must be ({channels},), one a channel, got {tuple(self.arrays[name].shape)}")
            self.arrays[name] = self.arrays[name].detach().cpu().float()
        self.eps, sizes = eps, {"shape": list(features.shape), "image_shape": list(pictures.shape[2:])}
        beginning: dict[str, Any] = {**self.arrays, "blend": 0, "channel": 0, "rho": 0}
        strongest = feature_attention_state(**beginning)["strongest"].tolist()
        data = {name: encode(array) for name, array in (self.arrays | {"images": pictures}).items()}
        super().__init__(
            data=json.dumps(data | sizes | {"names": self.names, "strongest": strongest, "eps": eps}),
            experiments=json.dumps(experiments or {}),
            blend=blend,
            rho=rho,
            image=self.names[0] if image is None else image,
            rank=rank,
        )

    @traitlets.validate("image")
    def _check_image(self, proposal):
        if proposal["value"] not in self.names:
            raise traitlets.TraitError(f"image must be one of {self.names}, got {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("rank")
    def _check_rank(self, proposal):
        if not 1 <= proposal["value"] <= self.most_channels:
            raise traitlets.TraitError(f"rank must be 1 to {self.most_channels}, got {proposal['value']}")
        return proposal["value"]

    def still(self) -> figures.Picture:
        titles = {"average branch": 0.0, "half and half": 0.5, "maximum branch": 1.0}
        states = {
            title: feature_attention_state(**self.arrays, blend=blend, channel=0, rho=self.rho, eps=self.eps)
            for title, blend in titles.items()
        }
        rows = {
            name: {title: state["heatmaps"][b] for title, state in states.items()}
            for b, name in enumerate(self.names[:4])
        }
        logits = states["average branch"]["logits"].tolist()
        said = "; ".join(f"{name} {a:.2f} and {m:.2f}" for name, (a, m) in zip(rows, logits, strict=False))
        return figures.images(
            rows,
            alt="U-GAT-IT's attention: weighted sums of the average branch, of both and of the maximum branch, made with the "
            f"same channel weights for every image. The logits of the two branches differ: {said}.",
            signed="BrBG",  # brown below zero, green above, nearly as in the page
        )


def _scale(name, value, batch, channels, default):
    """AdaLIN's scale or shift as (B, C)."""
    value = torch.full((channels,), default) if value is None else value.detach().cpu().float()
    if value.shape not in ((channels,), (batch, channels)):
        raise ValueError(f"{name} must be ({batch}, {channels}) or ({channels},), got {tuple(value.shape)}")
    return value.expand(batch, channels).contiguous()

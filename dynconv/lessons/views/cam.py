"""Class activation maps: one logit taken apart by position and by channel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor

from ...functional.cam import class_activation_map, normalize_map
from .. import figures
from .instrument import Finite, Instrument, Whole, encode, encode_bytes
from .javascript import module, styles

__all__ = ["CAMView", "cam_state"]

MOST_CLASSES, MOST_CHANNELS, MOST_PHOTOS = 20, 8, 6


def cam_state(features: Tensor, weight: Tensor, bias: Tensor, class_index: int) -> dict[str, Tensor]:
    """One class's logit, taken apart twice: into a map over the positions and into contributions of the channels.

    Reference: Zhou et al., https://arxiv.org/abs/1512.04150

    Returns map (h, w); contributions (C,), weight times mean; logit (); strongest, the indices of at most 8 channels;
    half (), the least number of channels that make half of the logit, 0 if all those of its sign cannot.
    The mean of the map plus the bias is the logit, and so is the sum of the contributions plus the bias.

    Example:
        >>> import torch
        >>> features, weight, bias = torch.rand(16, 7, 7), torch.randn(10, 16), torch.randn(10)
        >>> shown = cam_state(features, weight, bias, class_index=3)
        >>> bool(torch.allclose(shown["map"].mean() + bias[3], shown["logit"], atol=1e-5))
        True

    Args:
        features: (C, h, w), what the global average pooling takes.
        weight: (classes, C), the linear classifier's.
        bias: (classes,).
        class_index: from 0.
    """
    contributions = weight[class_index] * features.mean((1, 2))  # (C,)
    logit = contributions.sum() + bias[class_index]
    towards = (contributions if logit >= 0 else -contributions).clamp_min(0).sort(descending=True).values  # (C,)
    half = int((towards.cumsum(0) < logit.abs() / 2).sum()) + 1
    return {
        "map": class_activation_map(features[None], weight, int(class_index))[0],
        "contributions": contributions,
        "logit": logit,
        "strongest": contributions.abs().argsort(descending=True, stable=True)[:MOST_CHANNELS],
        "half": torch.tensor(half if half <= len(towards) else 0),
    }


class CAMView(Instrument):
    """Photos under the map of a class of your choice: the classifier's weights, the channels' maps, and their sum.

    Reference: Zhou et al., https://arxiv.org/abs/1512.04150

    The classifier's weights are the same for every photo, and drawn once; the maps differ because the features do. All
    maps share one colour scale, in units of the logit: a class that is absent stays dark. Of the channels those are
    shown that contribute most to the first photo's logit.

    Example:
        >>> import torch
        >>> from dynconv import CAMHead
        >>> head, names = CAMHead(16, 3).classifier, ["cat", "cup", "dog"]
        >>> view = CAMView(torch.rand(3, 32, 32), torch.rand(16, 4, 4), head.weight, head.bias, names, class_index=1)
        >>> view.class_index, view.opacity, view.rank, view.image
        (1, 0.6, 1, 'photo')

    Args:
        photo: (3, H, W) in 0 … 1; or name → such a photo, at most 6 of one size, to be seen under the same weights.
        features: (C, h, w) of that photo, what the global average pooling takes; of several (B, C, h, w).
        weight: (classes, C) of the linear classifier.
        bias: (classes,); None for 0.
        class_names: one a class. The 20 classes with the largest logits for any photo are kept.
        class_index: the class to start with; None for that with the largest logit.
        image: name of the photo the sentence speaks of; None for the first.
        opacity: of the map over the photo, 0 … 1.
        rank: the channel that is marked: 1 is the one that contributes most to the first photo, of either sign; at most 8.
        experiments: button's label → traits it sets, for example {"photo only": {"opacity": 0}}.

    Raises:
        ValueError: an array's shape, the photo's values or the number of names do not fit.
        TraitError: class_index is none of the kept classes, there is no such photo, or opacity or rank is out of range.
    """

    _esm, _css = module("cam"), styles("diagram", "shared_weights", "cam")
    class_index = Whole(0).tag(sync=True)
    opacity = Finite(0.6, min=0, max=1).tag(sync=True)
    rank = Whole(1).tag(sync=True)
    image = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        photo: Tensor | Mapping[str, Tensor],
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        class_names: Sequence[str],
        class_index: int | None = None,
        opacity: float = 0.6,
        rank: int = 1,
        experiments: Mapping[str, Mapping] | None = None,
        *,
        image: str | None = None,
    ) -> None:
        several = not isinstance(photo, Tensor)
        photos = photo if isinstance(photo, Mapping) else {"photo": photo}
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        features = features if several else features[None]
        _check(photos, features, weight, bias, class_names)
        self.photos = {name: one.detach().cpu().float() for name, one in photos.items()}
        self.features, self.weight, self.bias = (array.detach().cpu().float() for array in (features, weight, bias))
        self.names = list(class_names)
        self.logits = F.linear(self.features.mean((2, 3)), self.weight, self.bias)  # (B, classes)
        kept = self.logits.amax(0).argsort(descending=True, stable=True)[:MOST_CLASSES]
        self.classes, self.most_channels = kept.tolist(), min(MOST_CHANNELS, self.features.shape[1])
        super().__init__(
            data=json.dumps(self._data(kept)),
            experiments=json.dumps(experiments or {}),
            class_index=self.logits[0].argmax().item() if class_index is None else class_index,
            opacity=opacity,
            rank=rank,
            image=next(iter(self.photos)) if image is None else image,
        )

    def _data(self, kept: Tensor) -> dict[str, Any]:
        arrays = {"weight": self.weight[kept], "bias": self.bias[kept], "features": self.features}
        data: dict[str, Any] = {
            name: encode(array) for name, array in (arrays | {"logits": self.logits[:, kept]}).items()
        }
        data |= {
            "photos": [encode_bytes(255 * photo) for photo in self.photos.values()],
            "photo_names": list(self.photos),
        }
        data |= {"classes": self.classes, "names": [self.names[k] for k in self.classes]}
        data |= {"channels": self.features.shape[1], "shape": list(self.features.shape[2:])}
        return data | {"photo_shape": list(next(iter(self.photos.values())).shape[1:])}

    @traitlets.validate("image")
    def _check_image(self, proposal):
        if proposal["value"] not in self.photos:
            raise traitlets.TraitError(f"image must be one of {list(self.photos)}, got {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("class_index")
    def _check_class_index(self, proposal):
        if proposal["value"] not in self.classes:
            raise traitlets.TraitError(f"class_index must be one of {self.classes}, got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("rank")
    def _check_rank(self, proposal):
        if not 1 <= proposal["value"] <= self.most_channels:
            raise traitlets.TraitError(f"rank must be 1 to {self.most_channels}, got {proposal['value']}")
        return proposal["value"]

    def still(self) -> figures.Picture:
        number = list(self.photos).index(self.image)
        states = {k: cam_state(self.features[number], self.weight, self.bias, k) for k in self.classes[:4]}
        maps = normalize_map(torch.stack([s["map"] for s in states.values()]), spatial_dims=3)  # one scale for all
        photo = self.photos[self.image].movedim(0, -1)  # (H, W, 3)
        large = F.interpolate(maps[:, None], photo.shape[:2], mode="bilinear")[:, 0]  # (n, H, W)
        row = {"photo": photo}
        for (k, state), values in zip(states.items(), large, strict=True):
            colours = torch.from_numpy(matplotlib.colormaps["viridis"](values.numpy())[..., :3]).float()
            row[f"{self.names[k]}\nlogit {state['logit']:.2f}"] = torch.lerp(photo, colours, self.opacity)
        said = ", ".join(f"{self.names[k]} {state['logit']:.2f}" for k, state in states.items())
        alt = f"A photo, and over it the class activation maps of {said} (class and logit), in viridis on one scale."
        return figures.images(row, alt=alt, size=2.2)


def _check(photos, features, weight, bias, class_names):
    shapes = [tuple(photo.shape) for photo in photos.values()]
    if not 1 <= len(photos) <= MOST_PHOTOS or len(set(shapes)) > 1 or len(shapes[0]) != 3 or shapes[0][0] != 3:
        raise ValueError(f"photo must be (3, H, W), or 1 to {MOST_PHOTOS} such of one size, got {shapes}")
    for photo in photos.values():
        if photo.min() < 0 or photo.max() > 1:
            raise ValueError(f"photo must be in 0 … 1, got {photo.min():g} to {photo.max():g}")
    if features.ndim != 4 or 0 in features.shape or len(features) != len(photos):
        raise ValueError(
            f"features must be (C, h, w), of several photos (B, C, h, w), got {tuple(features.shape)} for {len(photos)}"
        )
    if weight.ndim != 2 or weight.shape[1] != features.shape[1]:
        raise ValueError(f"weight must be (classes, {features.shape[1]}), got {tuple(weight.shape)}")
    if bias.shape != weight.shape[:1] or len(class_names) != len(weight):
        raise ValueError(
            f"bias and class_names must be {len(weight)}, one a class, got {tuple(bias.shape)} and {len(class_names)}"
        )

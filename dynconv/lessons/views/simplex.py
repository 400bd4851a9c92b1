"""Simplex map: attention over three kernels as a place in a triangle, one dot an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
import traitlets
from torch import Tensor

from ...functional import mix_kernels, softmax_temperature
from ...layers import DynamicConv2d
from .. import figures
from .dynamic import averaged, check_images, dynamic_state, in_words, softmax_attention
from .instrument import Instrument, Numbers, Temperature, encode
from .javascript import module, styles

__all__ = ["SimplexMap", "simplex_state"]


def simplex_state(
    shown: Mapping[str, Tensor], image: int, temperature: float, free: Tensor | None = None
) -> dict[str, Tensor]:
    """Everything the map shows: attention of all images (B, 3), kernel (kh, kw) and feature map (H', W') of one.

    Reference: Chen et al., section 3.1 (attention lives on a simplex), https://arxiv.org/abs/1912.03458

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> layer, x = DynamicConv2d(1, 1, 3, num_kernels=3, bias=False), torch.rand(2, 1, 8, 8)
        >>> shown = simplex_state(dynamic_state(layer, x), 1, 30.0)
        >>> bool(torch.allclose(shown["map"], layer(x)[1, 0], atol=1e-6))
        True

    Args:
        shown: what :func:`dynconv.lessons.views.dynamic.dynamic_state` gives for a layer with 3 kernels.
        image: index of the chosen one.
        temperature: T above 0.
        free: (3,) attention for the chosen image instead of its own; at least 0, with sum 1.
    """
    attention = softmax_temperature(shown["logits"], temperature)  # (B, 3)
    weights = attention[image] if free is None else free
    kernel, mixed = (mix_kernels(stack, weights) for stack in (shown["kernels"], shown["maps"][image]))
    return {"attention": attention, "kernel": kernel, "map": mixed}


class SimplexMap(Instrument):
    """Attention over K = 3 kernels as a triangle: its corners are the kernels, every image is a dot.

    Reference: Chen et al., section 3, https://arxiv.org/abs/1912.03458

    The temperature pulls the dots: to the corners when it is low, to the middle when it is high. Drag the chosen image's
    dot, or move it with the arrow keys, and its kernel and feature map follow: what would this image look like with
    another mix?

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> images = {"a": torch.rand(1, 16, 16), "b": torch.rand(1, 16, 16)}
        >>> view = SimplexMap(DynamicConv2d(1, 1, 5, num_kernels=3), images)
        >>> view.image, view.temperature, view.free
        ('a', 30.0, [])

    Args:
        layer: a DynamicConv2d with 3 kernels, see :func:`dynconv.lessons.views.dynamic.dynamic_state`.
        images: name → (C, H, W), all of one size. Of three channels the mean is shown, of others the first.
        temperature: T to start with; the layer's own if left out.
        image: name of the one that is chosen; the first if left out.
        experiments: button's label → traits it sets, for example {"sharp": {"temperature": 0.1}}.
        output_channel, input_channel: which part of the layer, see :func:`dynconv.lessons.views.dynamic.dynamic_state`.
        pictures: name → (C, H, W), what stands for each image where the layer's input is not what one wants to see.
        about: what is shown, in words, before the channels.

    Raises:
        ValueError: the layer has not 3 kernels, or there is no image; traitlets.TraitError: a trait's value does not fit.
    """

    _esm = module("simplex")
    _css = styles("diagram", "simplex")
    temperature = Temperature(1.0).tag(sync=True)
    image = traitlets.Unicode("").tag(sync=True)
    free = Numbers().tag(sync=True)

    def __init__(
        self,
        layer: DynamicConv2d,
        images: Mapping[str, Tensor],
        temperature: float | None = None,
        image: str | None = None,
        experiments: Mapping[str, Mapping] | None = None,
        *,
        output_channel: int = 0,
        input_channel: int = 0,
        pictures: Mapping[str, Tensor] | None = None,
        about: str = "",
    ) -> None:
        if layer.num_kernels != 3:
            raise ValueError(f"a triangle has 3 corners: the layer must have 3 kernels, got {layer.num_kernels}")
        if not images:
            raise ValueError("needs at least one image, got none")
        check_images(images, pictures)
        batch = torch.stack(list(images.values()))  # (B, C, H, W)
        self.names, self.shown = list(images), dynamic_state(layer, batch, output_channel, input_channel)
        seen = torch.stack([_grey(one) for one in (pictures or images).values()])  # (B, H, W)
        maps, averages = averaged(self.shown["maps"])
        arrays = self.shown | {"maps": maps}
        data: dict[str, Any] = {name: encode(array) for name, array in arrays.items()}
        about = f"{about} {in_words(layer, output_channel, input_channel, averages)}".strip()
        data |= {"names": self.names, "images": [encode(one) for one in averaged(seen)[0]], "about": about}
        shapes = {"image_shape": averaged(seen)[0], "kernel_shape": arrays["kernels"], "map_shape": arrays["maps"]}
        super().__init__(
            data=json.dumps(data | {name: list(array.shape[-2:]) for name, array in shapes.items()}),
            experiments=json.dumps(experiments or {}),
            temperature=softmax_attention(layer).temperature.item() if temperature is None else temperature,
            image=self.names[0] if image is None else image,
        )

    @traitlets.validate("image")
    def _check_image(self, proposal):
        if proposal["value"] not in self.names:
            raise traitlets.TraitError(f"image must be one of {', '.join(self.names)}, got {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("free")
    def _check_free(self, proposal):
        value = proposal["value"]
        fits = len(value) == 3 and min(value) >= 0 and abs(sum(value) - 1) <= 1e-3
        if value and not fits:
            raise traitlets.TraitError(f"free must be empty, or 3 numbers of at least 0 with sum 1, got {value}")
        return value

    def still(self) -> figures.Picture:
        points = {f"T = {T:g}": softmax_temperature(self.shown["logits"], T).tolist() for T in (0.1, 1.0, 10.0, 100.0)}
        return figures.triangle(
            points,
            alt=f"Attention of {', '.join(self.names)} over three kernels as places in a triangle, at T = 0.1, 1, 10 and 100: "
            "at the corners when T is low, all in the middle when it is high.",
        )


def _grey(image):
    """(H, W): the mean of three channels, of others the first."""
    return image.mean(0) if len(image) == 3 else image[0]

"""Dynamic convolution: temperature and K against several images, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from .. import figures
from ..functional import conv, mix_kernels, softmax_temperature
from ..layers import DynamicConv2d, KernelAttention
from ..surgery import temperatures
from .instrument import KernelInstrument, bundle, encode

__all__ = ["DynamicView", "dynamic_state"]


def dynamic_state(layer: DynamicConv2d, images: Tensor) -> dict[str, Tensor]:
    """What a dynamic layer's first output channel does with some images, before temperature and softmax.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458

    Returns logits (B, K); kernels (K, kh, kw), those from the first input channel; maps (B, K, H', W'), one a kernel.
    By linearity, softmax(logits / T) mixes kernels and maps alike, which is all the page has to do.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> shown = dynamic_state(DynamicConv2d(1, 1, 5, num_kernels=3), torch.rand(2, 1, 16, 16))
        >>> shown["logits"].shape, shown["kernels"].shape, shown["maps"].shape
        (torch.Size([2, 3]), torch.Size([3, 5, 5]), torch.Size([2, 3, 12, 12]))

    Args:
        layer: with a :class:`KernelAttention` at the end of its ``attention``.
        images: (B, C, H, W) as the layer takes them.

    Raises:
        ValueError: the layer's attention has no softmax over logits to take apart.
    """
    attention = layer.attention[-1] if isinstance(layer.attention, torch.nn.Sequential) else layer.attention
    if not isinstance(attention, KernelAttention) or attention.activation != "softmax":
        raise ValueError(f"the layer's attention must end in a softmax KernelAttention, got {attention}")
    was_training = layer.training
    layer.eval()  # batch norm in the attention must not learn from being looked at
    with torch.no_grad():
        seen = layer.attention[:-1](images) if attention is not layer.attention else images
        bias = None if layer.bias is None else layer.bias[:, 0]
        maps = [
            conv(images, layer.weight[k, :1], None if bias is None else bias[k : k + 1], **layer.geometry())
            for k in range(layer.num_kernels)
        ]
        logits = attention.logits(seen)
    layer.train(was_training)
    return {"logits": logits, "kernels": layer.weight[:, 0, 0].detach(), "maps": torch.cat(maps, dim=1)}


class DynamicView(KernelInstrument):
    """Attention, mixed kernel and feature map of several images under one dynamic layer, with T and K on sliders.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458

    The layer runs once, in Python; softmax and mixing then happen in the page. Moving K below the layer's own number
    takes the first K of its kernels and normalises over those. The layer itself is not changed.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> view = DynamicView(DynamicConv2d(1, 1, 5), {"a": torch.rand(1, 16, 16), "b": torch.rand(1, 16, 16)})
        >>> view.num_kernels, view.temperature
        (4, 30.0)

    Args:
        layer: a DynamicConv2d, see :func:`dynamic_state`; at most 8 kernels.
        images: name → (C, H, W), all of one size, as the layer takes them. The first channel is shown.
        temperature: T to start with; the layer's own if left out.
        experiments: button's label → traits it sets, for example {"paper's start": {"temperature": 30}}.

    Raises:
        ValueError: the layer or the images do not fit.
    """

    _esm = bundle("dynamic")

    def __init__(
        self,
        layer: DynamicConv2d,
        images: Mapping[str, Tensor],
        temperature: float | None = None,
        experiments: Mapping[str, Mapping] | None = None,
    ) -> None:
        if not images or layer.num_kernels > 8:
            raise ValueError(
                f"needs at least one image and at most 8 kernels, got {len(images)} and {layer.num_kernels}"
            )
        batch = torch.stack(list(images.values()))  # (B, C, H, W)
        self.names, self.shown, self.most_kernels = list(images), dynamic_state(layer, batch), layer.num_kernels
        if temperature is None:
            temperature = temperatures(layer)[0].item()
        data = {name: encode(array) for name, array in self.shown.items()}
        data |= {"names": self.names, "total": self.most_kernels, "images": [encode(image[0]) for image in batch]}
        shapes = {"image_shape": batch, "kernel_shape": self.shown["kernels"], "map_shape": self.shown["maps"]}
        data |= {name: list(array.shape[-2:]) for name, array in shapes.items()}
        super().__init__(
            data=json.dumps(data),
            experiments=json.dumps(experiments or {}),
            temperature=temperature,
            num_kernels=self.most_kernels,
        )

    def still(self) -> figures.Picture:
        logits, maps = self.shown["logits"], self.shown["maps"]
        rows = {}
        for K in sorted({min(2, self.most_kernels), self.most_kernels}):
            for b, name in enumerate(self.names[:2]):
                mixed = {
                    f"T = {T:g}": mix_kernels(maps[b, :K], softmax_temperature(logits[b, :K], T))
                    for T in (0.1, 1, 10, 100)
                }
                rows[f"{name}, K = {K}"] = mixed
        names = " and ".join(self.names[:2])
        return figures.images(
            rows, alt=f"Dynamic convolution: feature maps of {names} for the first K kernels and T = 0.1, 1, 10, 100."
        )

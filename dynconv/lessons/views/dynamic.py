"""Dynamic convolution: temperature and K against several images, side by side; one's own images too."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor, nn

from ...functional import conv, mix_kernels, softmax_temperature
from ...layers import DynamicConv2d, KernelAttention
from ...probe.hooks import hooked
from .. import figures
from ..data import uploaded_image
from .images import encoded_once, error_before
from .instrument import KernelInstrument, encode
from .javascript import module, styles

__all__ = ["DynamicView", "dynamic_state"]

MOST_KERNELS, MOST_IMAGES, MOST_PIXELS, MOST_BYTES = 8, 8, 96, 5_000_000
MOST_BARS = 32  # of a squeeze, or of what is hidden behind it, that a picture shows


@contextmanager
def looked_at(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards every module's mode and the random numbers are as they were."""
    training = {module: module.training for module in model.modules()}
    devices = {p.device.index for p in model.parameters() if p.is_cuda}
    model.eval()  # batch norm must not learn from being looked at
    try:
        with torch.no_grad(), torch.random.fork_rng(devices):
            yield
    finally:
        for module, was in training.items():
            module.training = was


def softmax_attention(layer: nn.Module) -> KernelAttention:
    """The one part of a layer's ``attention`` that holds its softmax; a ValueError where there is none."""
    parts = [part for part in layer.get_submodule("attention").modules() if isinstance(part, KernelAttention)]
    if len(parts) != 1 or parts[0].activation != "softmax":
        raise ValueError(f"the layer's attention must end in a softmax KernelAttention, got {layer.attention}")
    return parts[0]


def dynamic_state(
    layer: DynamicConv2d, images: Tensor, output_channel: int = 0, input_channel: int = 0
) -> dict[str, Tensor]:
    """What a dynamic layer's output channel does with some images, before temperature and softmax.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458

    Returns squeeze (B, C), hidden (B, h) and logits (B, K), as the attention computes them; kernels (K, kh, kw), those from
    one input channel; maps (B, K, H', W'), one a kernel, from all input channels. By linearity, softmax(logits / T) mixes kernels and maps alike, which is all the page has to do.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> shown = dynamic_state(DynamicConv2d(1, 1, 5, num_kernels=3), torch.rand(2, 1, 16, 16))
        >>> shown["logits"].shape, shown["kernels"].shape, shown["maps"].shape
        (torch.Size([2, 3]), torch.Size([3, 5, 5]), torch.Size([2, 3, 12, 12]))

    Args:
        layer: with one softmax :class:`.KernelAttention` in its ``attention``, and nothing after it.
        images: (B, C, H, W) as the layer takes them.
        output_channel: from 0.
        input_channel: from 0, among those that this output channel sees (C/groups). A 1 × 1 kernel is a single number
            there: its numbers for all input channels are arranged in a square instead, row by row.

    Raises:
        ValueError: the layer's attention has no softmax over logits to take apart, or there is no such channel.
    """
    attention = softmax_attention(layer)
    inside = layer.in_channels // layer.groups
    for name, value, count in (("output", output_channel, layer.out_channels), ("input", input_channel, inside)):
        if not 0 <= value < count:
            raise ValueError(f"{name}_channel must be 0 to {count - 1}, got {value}")
    group = output_channel * layer.groups // layer.out_channels
    weight = layer.weight[:, output_channel].detach()  # (K, C/groups, kh, kw)
    bias = None if layer.bias is None else layer.bias[:, output_channel]
    with looked_at(layer):
        seen = images[:, group * inside : (group + 1) * inside]
        maps = conv(seen, weight, bias, **layer.geometry() | {"groups": 1})  # (B, K, H', W'): one output a kernel
        squeeze, hidden, logits = looks_of(layer, attention, images)
    kernels = kernels_of(layer, output_channel, input_channel)
    return {"squeeze": squeeze, "hidden": hidden, "logits": logits, "kernels": kernels, "maps": maps}


def kernels_of(layer: DynamicConv2d, output_channel: int = 0, input_channel: int = 0) -> Tensor:
    """The K kernels (K, kh, kw) as pictures: from one input channel, or, of one number each, from all in a square."""
    weight = layer.weight[:, output_channel].detach()  # (K, C/groups, kh, kw)
    return _square(weight.flatten(1)) if layer.kernel_size == (1, 1) else weight[:, input_channel]


def looks_of(layer, attention, images):
    """What the attention squeezes (B, C), what is hidden behind it (B, h), and the scores (B, K) that its softmax gets."""
    seen = []
    with hooked({"": attention}, lambda _: lambda part, args, weights: seen.append(args[0])):
        weights = layer.attention(images)
    if len(seen) != 1 or not torch.allclose(weights, attention(seen[0]), atol=1e-4, equal_nan=True):
        raise ValueError(f"the layer's attention must end in a softmax KernelAttention, got {layer.attention}")
    squeeze = seen[0].flatten(2).mean(2) if seen[0].ndim > 2 else seen[0]
    return squeeze, torch.relu(attention.fc1(squeeze)), attention.logits(squeeze)


def _square(rows):
    """(K, n) → (K, r, s), as square as it gets, filled up with zeros."""
    side = math.ceil(math.sqrt(rows.shape[1]))
    height = math.ceil(rows.shape[1] / side)
    return F.pad(rows, (0, height * side - rows.shape[1])).unflatten(1, (height, side))


def averaged(arrays: Tensor) -> tuple[Tensor, int]:
    """(..., H, W) of at most 96 × 96 pixels, each the mean over n × n, and n. What is mixed may be averaged first."""
    n = math.ceil(max(arrays.shape[-2:]) / MOST_PIXELS)
    if n == 1:
        return arrays, n
    flat = arrays.flatten(0, -3)[:, None]  # (..., 1, H, W)
    small = F.avg_pool2d(flat, n, ceil_mode=True)  # at the ends over fewer pixels
    return small[:, 0].unflatten(0, arrays.shape[:-2]), n


def in_words(layer: DynamicConv2d, output_channel: int, input_channel: int, averages: int = 1) -> str:
    """Which part of a layer is shown; nothing where that is all of it."""
    inside, words = layer.in_channels // layer.groups, []
    if layer.out_channels > 1:
        words.append(f"Output channel {output_channel} of {layer.out_channels} (counted from 0).")
    if inside > 1:
        whole = "The kernels' pictures show one number an input channel, row by row"
        one = f"The kernels' pictures show input channel {input_channel}"
        which = f"all {inside} input channels" + (" of its group" if layer.groups > 1 else "")
        words.append(f"{whole if layer.kernel_size == (1, 1) else one}; the maps are made from {which}.")
    if averages > 1:
        words.append(f"A pixel of a map is the mean over {averages} × {averages}.")
    return " ".join(words)


class DynamicView(KernelInstrument):
    """An image on its way through a dynamic layer: squeeze, logits, shares, kernels, their mix, result; T and K on sliders.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458

    The layer runs once, in Python; softmax and mixing then happen in the page. Moving K below the layer's own number
    takes the first K of its kernels and normalises over those. The layer itself is not changed. An image uploaded in the
    page goes to the kernel, through the layer, and comes back as a further one to choose.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> view = DynamicView(DynamicConv2d(1, 1, 5), {"a": torch.rand(1, 16, 16), "b": torch.rand(1, 16, 16)})
        >>> view.num_kernels, view.temperature, view.image
        (4, 30.0, 'a')

    Args:
        layer: a DynamicConv2d, see :func:`.dynamic_state`; at most 8 kernels.
        images: name → (C, H, W), at most 8, all of one size, as the layer takes them. One or three channels are shown as a
            picture, of others the first.
        temperature: T to start with; the layer's own if left out.
        experiments: button's label → traits it sets, for example {"paper's start": {"temperature": 30}}.
        output_channel, input_channel: which part of the layer, see :func:`.dynamic_state`.
        pictures: name → (C, H, W), what stands for each image where the layer's input is not what one wants to see.
        prepare: from an uploaded image, (3, H, W) or (1, H, W) floats in 0 … 1 of the pictures' size, to what the layer
            takes. Not needed where pictures of 1 or 3 channels go in as they are.
        image: name of the one to start with; the first if left out.
        wanted: name → (H', W'), what the output channel should be: shown beside it in the same grey, with the error.
        about: what is shown, in words, before the channels.

    Raises:
        ValueError: the layer or the images do not fit; traitlets.TraitError: a trait's value does not fit.
    """

    _esm, _css = module("dynamic"), styles("diagram", "dynamic")
    image = traitlets.Unicode().tag(sync=True)
    # an image's bytes must neither be sent back nor be saved with the notebook: read, answered and forgotten
    upload = traitlets.Unicode().tag(sync=True, echo_update=False, control=False)
    answer = traitlets.Unicode().tag(sync=True, control=False)

    def __init__(
        self,
        layer: DynamicConv2d,
        images: Mapping[str, Tensor],
        temperature: float | None = None,
        experiments: Mapping[str, Mapping] | None = None,
        *,
        output_channel: int = 0,
        input_channel: int = 0,
        pictures: Mapping[str, Tensor] | None = None,
        prepare: Callable[[Tensor], Tensor] | None = None,
        image: str | None = None,
        wanted: Mapping[str, Tensor] | None = None,
        about: str = "",
    ) -> None:
        if not 1 <= len(images) <= MOST_IMAGES or layer.num_kernels > MOST_KERNELS:
            raise ValueError(
                f"needs at least one image (at most {MOST_IMAGES}) and at most {MOST_KERNELS} kernels, "
                f"got {len(images)} and {layer.num_kernels}"
            )
        self.layer, self.channels, self.about = layer, (output_channel, input_channel), about
        self.images, self.own = dict(images), len(images)
        self.pictures, self.apart = dict(images if pictures is None else pictures), pictures is not None
        as_they_are = not self.apart and layer.in_channels in (1, 3)
        self.prepare = (lambda picture: picture) if prepare is None and as_they_are else prepare
        check_images(self.images, self.pictures)
        self.wanted = None if wanted is None else dict(wanted)
        self.most_kernels = layer.num_kernels
        own = softmax_attention(layer).temperature.item()
        super().__init__(
            data=json.dumps(self._data()),
            experiments=json.dumps(experiments or {}),
            temperature=own if temperature is None else temperature,
            num_kernels=self.most_kernels,
            image=self.names[0] if image is None else image,
        )

    @property
    def names(self) -> list[str]:
        return list(self.images)

    def _data(self) -> dict:
        self.shown = dynamic_state(self.layer, torch.stack(list(self.images.values())), *self.channels)
        maps, averages = averaged(self.shown["maps"])
        pictures = [averaged(_picture(picture))[0] for picture in self.pictures.values()]
        data: dict[str, Any] = {name: encode(self.shown[name]) for name in ("logits", "kernels")}
        data |= {"names": self.names, "total": self.most_kernels, "images": [encode(picture) for picture in pictures]}
        shapes = {"image_shape": pictures[0], "kernel_shape": self.shown["kernels"], "map_shape": maps}
        data |= {name: list(array.shape[-2:]) for name, array in shapes.items()} | {"maps": encode(maps)}
        for name in ("squeeze", "hidden"):
            data |= _bars(name, self.shown[name])
        about = f"{self.about} {in_words(self.layer, *self.channels, averages)}".strip()
        data |= {"about": about, "uploads": self.prepare is not None, "most_bytes": MOST_BYTES}
        return data | ({} if self.wanted is None else self._targets(self.wanted, averages))

    def _targets(self, wanted: Mapping[str, Tensor], averages: int) -> dict:
        """What is wanted of each image, null where nobody knows, and how far from it the image itself is."""
        size = self.shown["maps"].shape[-2:]
        shapes = {name: tuple(target.shape[-2:]) for name, target in wanted.items()}
        if not set(wanted) <= set(self.names) or set(shapes.values()) - {tuple(size)}:
            raise ValueError(f"wanted must be images' names with {tuple(size)} each, got {shapes}")
        targets = {name: target.detach().reshape(size) for name, target in wanted.items()}
        shown = [averaged(targets[name][None])[0] if name in targets else None for name in self.names]
        before = [error_before(self.images[name], targets.get(name)) for name in self.names]
        return encoded_once(shown) | {"before": before, "exact": averages == 1}

    @traitlets.validate("image")
    def _check_image(self, proposal):
        if proposal["value"] not in self.names:
            raise traitlets.TraitError(f"image must be one of {', '.join(self.names)}, got {proposal['value']!r}")
        return proposal["value"]

    @traitlets.observe("upload")
    def _hear(self, change):
        """Tell the page that there is a kernel, or in words what has become of its image."""
        if not change["new"]:
            return
        number = json.loads(self.answer)["number"] + 1 if self.answer else 1  # the same words twice are news, too
        with self.hold_sync():  # image, choice and words arrive together
            try:
                asked = json.loads(change["new"])
                text = self._add(asked["name"], asked["content"]) if "content" in asked else ""
            except Exception as error:  # whatever a file or `prepare` does, the page gets a sentence
                kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
                text = f"Not added: {kind}{error!s:.300}."
            self.answer = json.dumps({"text": text, "number": number})
            self.upload = ""

    def _add(self, name: str, content: str) -> str:
        """Decode an uploaded file and show it as one more image; the oldest upload makes room. Says so in words."""
        if self.prepare is None:
            raise ValueError("an upload needs `prepare`, from a picture to what the layer takes")
        if len(content) > 4 * MOST_BYTES / 3 + 4:
            raise ValueError(f"{name} is too large: more than {MOST_BYTES / 1e6:g} MB")
        colours, *size = next(iter(self.pictures.values())).shape
        file = {"name": name, "content": base64.b64decode(content)}
        picture = _middle(uploaded_image((file,), max(size), grey=colours == 1), size)
        other = next(iter(self.images.values()))
        image = self.prepare(picture).detach().to(other)
        check_images({"the others": other, "the new one": image})
        if not image.isfinite().all():
            raise ValueError(f"{name} as prepared has numbers that are not finite")
        name = next(new for i in range(1, 99) if (new := f"{name[:40]}{f' {i}' if i > 1 else ''}") not in self.names)
        if len(self.images) >= max(MOST_IMAGES, self.own + 1):
            oldest = self.names[self.own]
            del self.images[oldest], self.pictures[oldest]
        self.images[name], self.pictures[name] = image, picture if self.apart else image
        self.data, self.image = json.dumps(self._data()), name
        return f"{name} is shown: its middle at {size[0]} × {size[1]} pixels{', in grey' if colours == 1 else ''}."

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


def _bars(name: str, values: Tensor) -> dict:
    """The first numbers of each image, how many they are, and how far a bar reaches."""
    count = min(values.shape[1], MOST_BARS)
    some = values[:, :count]
    reach = some.abs().max().item() or 1.0
    said = f"{count} means" if count == values.shape[1] else f"{count} of {values.shape[1]} means"
    return {name: encode(some), f"{name}_count": count, f"{name}_reach": reach, f"{name}_words": said}


def check_images(images: Mapping[str, Tensor], pictures: Mapping[str, Tensor] | None = None) -> None:
    """Every image (C, H, W), all of one size; every picture too, one an image."""
    for arrays in (images, pictures or images):
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 3 or shapes.keys() != images.keys():
            raise ValueError(f"images must be (C, H, W), all of one size, with a picture each if any, got {shapes}")


def _picture(image):
    """What can be shown as a picture: one or three channels, of others the first."""
    return image if len(image) in (1, 3) else image[:1]


def _middle(image, size):
    """The middle of an image (C, S, S) where the others are not square."""
    top, left = ((have - want) // 2 for have, want in zip(image.shape[1:], size, strict=True))
    return image[:, top : top + size[0], left : left + size[1]]

"""Explain: the dynamic layers of any model, what they weigh with, and an instrument for each."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...layers import CondConv2d, DynamicConv2d, KernelAttention, ODConv2d
from ...layers.kernel_stack import KernelStack
from ...probe.hooks import hooked
from .dynamic import MOST_IMAGES, DynamicView, check_images, dynamic_state, looked_at, softmax_attention
from .interventions import MOST_CLASSES, InterventionsView
from .interventions import MOST_IMAGES as MOST_INTERVENED
from .simplex import SimplexMap
from .time_machine import TimeMachine
from .trace import MOST_OUTPUTS, MOST_VALUES, Trace

__all__ = ["DynamicLayer", "Explanation", "explain"]

DYNAMIC = (DynamicConv2d, CondConv2d, ODConv2d)
SHOWN_CLASSES = 10


@dataclass(eq=False)
class DynamicLayer:
    """A dynamic layer and what it did with the images.

    Attributes:
        name: dotted, in the model; "" for the model itself.
        layer: the module.
        images: (B, C, H, W), its input.
        attention: (B, K), how it weighed its K kernels; None if it weighs other things only.
    """

    name: str
    layer: Any  # one of DYNAMIC
    images: Tensor
    attention: Tensor | None

    @property
    def temperature(self) -> float | None:
        """T of its softmax; None where there is none."""
        return softmax_attention(self.layer).temperature.item() if self.missing is None else None

    @property
    def effective(self) -> Tensor | None:
        """(B,), exp(entropy) of each image's attention, between 1 and K. None where the weights do not sum to 1."""
        if self.attention is None or isinstance(self.layer, CondConv2d):
            return None
        return torch.special.entr(self.attention).sum(1).exp()

    @property
    def missing(self) -> str | None:
        """Why instruments that turn a softmax's temperature have nothing to turn here; None if they have."""
        if isinstance(self.layer, CondConv2d):
            return (
                "its weights are sigmoids, each kernel for itself: there is no softmax over kernels and no temperature"
            )
        if isinstance(self.layer, ODConv2d):
            return "it weighs channels, filters and taps too: its maps are no mix of K maps"
        try:
            softmax_attention(self.layer)
        except ValueError as error:
            return str(error)
        return None

    def row(self, names: list[str]) -> list[str]:
        """One line of the table: name, convolution, K, T, effective kernels, and the attention of every image."""
        layer, T, effective = self.layer, self.temperature, self.effective
        size = " × ".join(map(str, layer.kernel_size))
        shape = f"{layer.in_channels} → {layer.out_channels}, {size}{f', {layer.groups} groups' if layer.groups > 1 else ''}"
        used = "–" if effective is None else f"{effective.mean():.2f} of {layer.num_kernels}"
        weights = [None] * len(names) if self.attention is None else self.attention.tolist()
        shares = ["–" if own is None else " ".join(f"{100 * w:.0f}" for w in own) for own in weights]
        kind = type(layer).__name__
        return [
            self.name or "(the model)",
            kind,
            shape,
            str(layer.num_kernels),
            "–" if T is None else f"{T:g}",
            used,
            *shares,
        ]


class Explanation:
    """What :func:`.explain` found: a table of the dynamic layers, and instruments 3 to 7 for any of them.

    Layers are chosen by name, the first one if left out. Which of them can be looked into with what is said by an error
    that names the reason: a triangle needs three kernels, a temperature a softmax.
    """

    def __init__(self, model, pictures, layers, output, prepare=None, chosen=None) -> None:
        self.model, self.pictures, self.prepare, self.chosen = model, pictures, prepare, chosen
        self.layers: dict[str, DynamicLayer] = layers
        self.logits = output if isinstance(output, Tensor) and output.ndim == 2 else None  # (B, classes)

    @property
    def names(self) -> list[str]:
        """Names of the images."""
        return list(self.pictures)

    def __getitem__(self, name: str) -> DynamicLayer:
        if name not in self.layers:
            raise ValueError(f"no dynamic layer is named {name!r}; there are: {', '.join(map(repr, self.layers))}")
        return self.layers[name]

    def _layer(self, name: str | None) -> DynamicLayer:
        first = next(iter(self.layers)) if self.chosen is None else self.chosen
        return self[first if name is None else name]

    def _softmax(self, name: str | None) -> DynamicLayer:
        found = self._layer(name)
        if found.missing is not None:
            raise ValueError(f"not available for {found.name!r} ({type(found.layer).__name__}): {found.missing}")
        return found

    def _inputs(self, found: DynamicLayer) -> dict[str, Tensor]:
        return dict(zip(self.pictures, found.images, strict=True))

    def dynamic(self, layer: str | None = None, channel: int = 0, input_channel: int = 0, **options) -> DynamicView:
        """Instrument 3 on a layer's output channel: T × K, attention, mixed kernels and maps; uploads go through the model.

        Args:
            layer: name.
            channel, input_channel: from 0. The maps are made from all input channels, the kernels' pictures show one.
            options: to :class:`.DynamicView`.
        """
        found = self._softmax(layer)
        named = self._part(found, channel, input_channel)
        named["prepare"] = lambda picture: self._seen_by(found, picture)
        return DynamicView(found.layer, self._inputs(found), **named | options)

    def _part(self, found: DynamicLayer, channel: int, input_channel: int) -> dict:
        """Which part of the model an instrument shows, as its arguments."""
        about = f"Layer {found.name}; the pictures are what the model gets." if found.name else ""
        return {"output_channel": channel, "input_channel": input_channel, "pictures": self.pictures, "about": about}

    def _seen_by(self, found: DynamicLayer, picture: Tensor) -> Tensor:
        """What a layer gets when the model looks at another picture, (C, H, W)."""
        image = picture if self.prepare is None else self.prepare(picture)
        return _watch(self.model, image[None], {found.name: found.layer})[0][found.name][0][0]

    def simplex(self, layer: str | None = None, channel: int = 0, input_channel: int = 0, **options) -> SimplexMap:
        """Instrument 4 on a layer with K = 3: attention as a place in a triangle. Arguments as for :meth:`dynamic`."""
        found = self._softmax(layer)
        if found.layer.num_kernels != 3:
            three = [name for name, one in self.layers.items() if one.layer.num_kernels == 3]
            raise ValueError(
                f"a triangle has 3 corners: {found.name!r} has {found.layer.num_kernels} kernels; with 3: {three or 'none'}"
            )
        named = self._part(found, channel, input_channel)
        return SimplexMap(found.layer, self._inputs(found), **named | options)

    def trace(self, layer: str | None = None, channel: int = 0, image: str | None = None, **options) -> Trace:
        """Instrument 5 on one image: an output pixel, back to patch, kernel and bias.

        Of a layer with groups, more than 64 output channels or many weights, this one channel is traced on its own, and
        the instrument calls it output channel 0.

        Args:
            layer: name.
            channel: from 0.
            image: name; the first if left out.
            options: to :class:`.Trace`.
        """
        found, image = self._softmax(layer), self.names[0] if image is None else image
        if image not in self.pictures:
            raise ValueError(f"no image is named {image!r}; there are: {', '.join(self.names)}")
        seen = self._inputs(found)[image]
        small = found.layer.out_channels <= MOST_OUTPUTS and found.layer.weight.numel() <= MOST_VALUES
        if found.layer.groups == 1 and small:
            return Trace(found.layer, seen, output_channel=channel, **options)
        return Trace(*_one_channel(found.layer, seen, channel), **options)

    def interventions(self, layer: str | None = None, **options) -> InterventionsView:
        """Instrument 7 on the whole model: other weights in one layer, or in all if left out. The first 6 images.

        Of more than 20 classes the 10 with the largest mean logits are shown; changes are measured on all.

        Args:
            layer: name; its attention alone is replaced.
            options: to :class:`.InterventionsView`.
        """
        images = dict(list(self.pictures.items())[:MOST_INTERVENED])
        chosen = list(self.layers) if layer is None else [self[layer].name]
        names = [f"{name}.attention" if name else "attention" for name in chosen]
        if self.logits is not None and self.logits.shape[1] > MOST_CLASSES and "targets" not in options:
            options.setdefault("shown_classes", self.logits.mean(0).topk(SHOWN_CLASSES).indices.tolist())
        return InterventionsView(self.model, images, layers=names, **options)

    def training(self, recording: Mapping) -> TimeMachine:
        """Instrument 6: recorded runs played back, from :func:`dynconv.lessons.data.recording` or one's own."""
        pictures = recording.get("pictures", {})
        return TimeMachine(recording["runs"], recording["classes"], recording.get("references"), **pictures)

    def _table(self) -> list[list[str]]:
        head = [
            "layer",
            "type",
            "channels, kernel",
            "K",
            "T",
            "effective kernels",
            *(f"% for {name}" for name in self.names),
        ]
        return [head, *(found.row(self.names) for found in self.layers.values())]

    def __repr__(self) -> str:
        table = [[cell[:40] for cell in row] for row in self._table()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        rows = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
        return "\n".join([self._title(), *rows])

    def _repr_html_(self) -> str:
        head, *rows = [[html.escape(cell) for cell in row] for row in self._table()]
        title = html.escape(self._title())
        top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        caption = f"<caption>{title}: attention in %, kernel by kernel</caption>"
        table = (
            f'<table style="white-space: nowrap">{caption}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
        )
        # whoever has no mouse scrolls it with the arrow keys
        region = f'role="region" aria-label="{title}" tabindex="0" data-lm-suppress-shortcuts="true"'
        return f'<div {region} style="overflow: auto; max-height: 28em">{table}</div>'

    def _title(self) -> str:
        counts = {"dynamic layer": len(self.layers), "image": len(self.names)}
        layers, images = (f"{count} {what}{'s' if count > 1 else ''}" for what, count in counts.items())
        return f"{layers} of {type(self.model).__name__}, {images}"


def explain(
    model: nn.Module,
    images: Mapping[str, Tensor] | Tensor,
    layer: str | None = None,
    prepare: Callable[[Tensor], Tensor] | None = None,
) -> Explanation:
    """Find the dynamic layers of a model, see what each does with some images, and get instruments for them.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458; forward hooks,
    https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html

    The model runs once, in eval mode and without gradients, and is left as it was. A layer that hardly tells images
    apart shows the same shares for all of them: it might as well be static.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> model = torch.nn.Sequential(DynamicConv2d(1, 8, 3), torch.nn.ReLU(), DynamicConv2d(8, 4, 3, num_kernels=3))
        >>> found = explain(model, {"a": torch.rand(1, 16, 16), "b": torch.rand(1, 16, 16)})
        >>> list(found.layers), found["2"].attention.shape
        (['0', '2'], torch.Size([2, 3]))
        >>> view = found.dynamic("2", channel=3)
        >>> view.num_kernels, view.temperature
        (3, 30.0)

    Args:
        model: any module with DynamicConv2d, CondConv2d or ODConv2d layers; after :func:`dynconv.surgery.convert`, too.
        images: name → (C, H, W), or a batch (B, C, H, W), as the model takes them; at most 8.
        layer: name of the one that instruments are for if they are not told; the first if left out.
        prepare: from an uploaded picture, (C, H, W) floats in 0 … 1 of the images' size, to what the model takes.

    Raises:
        TypeError: images of another type; ValueError: images that do not fit, no dynamic layer, or none of that name.
    """
    pictures = _named(images)
    stacks = {name: module for name, module in model.named_modules() if isinstance(module, DYNAMIC)}
    if not stacks:
        raise ValueError(
            f"{type(model).__name__} has no dynamic layer{_instead(model)}; dynconv.surgery.convert(model) makes some"
        )
    seen, output = _watch(model, torch.stack(list(pictures.values())), stacks)
    layers = {name: DynamicLayer(name, stacks[name], *what) for name, what in seen.items()}
    if not layers:
        raise ValueError(f"no dynamic layer of {type(model).__name__} ran; there are: {', '.join(stacks)}")
    found = Explanation(model, pictures, layers, output, prepare, layer)
    if layer is not None:
        found[layer]  # an error now, not at the first instrument
    return found


def _named(images):
    """name → (C, H, W), checked."""
    if isinstance(images, Tensor) and images.ndim == 4:
        images = {f"image {b}": image for b, image in enumerate(images)}
    if not isinstance(images, Mapping) or not all(isinstance(image, Tensor) for image in images.values()):
        raise TypeError(f"images must be name → (C, H, W) tensor, or a tensor (B, C, H, W), got {_kind(images)}")
    if not 1 <= len(images) <= MOST_IMAGES:
        raise ValueError(f"images must be 1 to {MOST_IMAGES}, got {len(images)}")
    check_images(images)
    for name, image in images.items():
        if not image.is_floating_point() or not image.isfinite().all():
            raise ValueError(f"image {name!r} must be finite floating point numbers, got {image.dtype}")
    return {str(name): image.detach() for name, image in images.items()}


def _kind(images):
    return f"a tensor {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__


def _instead(model):
    """What a model without dynamic layers has, in words."""
    kinds = (nn.modules.conv._ConvNd, KernelStack)
    counts = Counter(type(module).__name__ for module in model.modules() if isinstance(module, kinds))
    return (
        f", but {', '.join(f'{count} {kind}' for kind, count in counts.items())}" if counts else " and no convolution"
    )


def _watch(model, images, stacks):
    """name → (input (B, C, H, W), attention (B, K) or None) of each of these layers that runs (the first time); and the output."""
    runs, parameter = {}, next(model.parameters())

    def keep(name):
        def first(module, args, output):
            runs.setdefault(module, (args[0].clone(), output))  # a copy: an activation may later work in place

        return first

    attentions = {f"{name}.attention": layer.attention for name, layer in stacks.items()}
    with looked_at(model), hooked(stacks | attentions, keep):
        try:
            output = model(images.to(parameter.device, parameter.dtype))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            shape = tuple(images.shape)
            raise ValueError(f"{type(model).__name__} does not take images of shape {shape}: {error}") from error
    ran = {name: layer for name, layer in stacks.items() if layer in runs}
    weights = {name: runs[layer.attention][1] for name, layer in ran.items()}
    over_kernels = {name: own.get("kernels") if isinstance(own, Mapping) else own for name, own in weights.items()}
    return {name: (runs[layer][0], over_kernels[name]) for name, layer in ran.items()}, output


def _one_channel(layer, image, channel):
    """A layer that computes this one output channel of this one image, and the input channels it sees."""
    logits = dynamic_state(layer, image[None], channel)["logits"][0]  # (K,); no such channel is an error here
    inside = layer.in_channels // layer.groups
    start = channel * layer.groups // layer.out_channels * inside
    with torch.random.fork_rng([]):  # the random numbers it starts with are not used
        attention = KernelAttention(inside, layer.num_kernels, temperature=softmax_attention(layer).temperature.item())
        geometry = layer.geometry() | {"groups": 1}
        part = DynamicConv2d(
            inside, 1, layer.kernel_size, **geometry, num_kernels=layer.num_kernels, attention=attention
        )
    with torch.no_grad():
        attention.fc2.weight.zero_()
        attention.fc2.bias.copy_(logits)
        part.weight.copy_(layer.weight[:, channel : channel + 1])
        part.bias.copy_(torch.zeros_like(part.bias) if layer.bias is None else layer.bias[:, channel : channel + 1])
    return part, image[start : start + inside].cpu().float()

"""Trace: one output pixel of a convolution, back to the patch, the kernel, the products and the bias it is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor, nn

from ...functional import conv, mix_kernels, softmax_temperature
from ...layers import DynamicConv2d
from ...surgery import temperatures
from .. import figures
from .dynamic import dynamic_state
from .instrument import Instrument, Temperature, Whole, encode
from .javascript import module, styles

__all__ = ["Trace", "trace_state"]

MOST_PIXELS, MOST_TAPS, MOST_OUTPUTS, MOST_KERNELS = 128, 11, 64, 8
MOST_VALUES = 2**18  # of the image, and of the kernels: about a megabyte each
SHOWN = 3  # input channels side by side


def trace_state(
    layer: nn.Conv2d | DynamicConv2d,
    image: Tensor,
    row: int,
    column: int,
    output_channel: int = 0,
    temperature: float | None = None,
) -> dict[str, Tensor]:
    r"""Everything that makes one output pixel, computed by torch: what is multiplied, and what is added up.

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html

    .. math:: y_{o,r,c} = b_o + \sum_i \sum_{u,v} W_{o,i,u,v}\; x_{i,\; r s + u d - p,\; c s + v d - p}

    Returns attention (K,), which is 1 for a plain convolution; kernel (C, kh, kw), mixed with it; patch and products
    (C, kh, kw); sums (C,); bias (); total (), the pixel; map (H', W'), all pixels of this output channel.

    Example:
        >>> import torch
        >>> layer, image = torch.nn.Conv2d(2, 4, 3, stride=2, padding=1), torch.rand(2, 9, 9)
        >>> shown = trace_state(layer, image, row=0, column=4, output_channel=3)
        >>> bool(torch.isclose(shown["total"], layer(image)[3, 0, 4], atol=1e-6))
        True

    Args:
        layer: zero padding, groups=1; a DynamicConv2d with a :class:`.KernelAttention` at the end of its ``attention``.
        image: (C, H, W) as the layer takes it.
        row, column: of the pixel, from 0.
        output_channel: from 0.
        temperature: T above 0 of a DynamicConv2d; None for the layer's own.
    """
    weight, bias, logits = _parts(layer, image)
    if logits is None:
        attention = weight.new_ones(1)
    else:
        attention = softmax_temperature(logits, temperatures(layer)[0] if temperature is None else temperature)
    kernel, own_bias = mix_kernels(weight[:, output_channel], attention), attention @ bias[:, output_channel]
    (top, bottom), (left, right) = _padding(layer)
    padded = F.pad(image, (left, right, top, bottom))  # (C, Hp, Wp)
    rows, columns = (
        at * step + gap * torch.arange(size)
        for at, step, gap, size in zip((row, column), layer.stride, layer.dilation, layer.kernel_size, strict=True)
    )
    patch = padded[:, rows][:, :, columns]  # (C, kh, kw)
    products = patch * kernel
    sums = products.sum((1, 2))  # (C,)
    state = {"attention": attention, "kernel": kernel, "patch": patch, "products": products, "sums": sums}
    pixels = conv(padded[None], kernel[None], own_bias[None], layer.stride, 0, layer.dilation)[0, 0]  # (H', W')
    return state | {"bias": own_bias, "total": sums.sum() + own_bias, "map": pixels}


class Trace(Instrument):
    """Touch a pixel of a convolution's output and see what it is made of; of a dynamic layer, the mix of kernels too.

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html; Chen et al.,
    https://arxiv.org/abs/1912.03458

    Every pixel of the map is the same small sum, of another patch. In a dynamic layer the kernel itself is a sum, with
    weights that this one image has asked for; move the temperature and every pixel's sum follows. Of more than three input
    channels three are shown at a time, and the others stand in the sum as one number.

    Example:
        >>> import torch
        >>> trace = Trace(torch.nn.Conv2d(1, 4, 3, padding=1), torch.rand(1, 16, 16), row=5, output_channel=2)
        >>> trace.row, trace.column, trace.output_channel, trace.temperature
        (5, 8, 2, None)

    Args:
        layer: an nn.Conv2d or a DynamicConv2d, see :func:`.trace_state`; kernels of at most 11 × 11, at most 64 output
            channels and 8 kernels, 262,144 weights together.
        image: (C, H, W) as the layer takes it, at most 128 × 128 pixels and 262,144 values.
        row, column: of the output pixel, from 0; the middle if left out.
        output_channel: from 0.
        input_channel: the first of those shown where there are more than three, from 0.
        temperature: T to start with; None for a dynamic layer's own.
        experiments: button's label → traits it sets, for example {"a corner": {"row": 0, "column": 0}}.
        channel_names: of the input channels, such as ("red", "green", "blue"); "channel 0" and so on if left out.

    Raises:
        TypeError: the layer is neither of the two; ValueError: layer or image do not fit; TraitError: there is no such
            pixel, channel or temperature.
    """

    _esm, _css = module("trace"), styles("diagram", "trace")
    row = Whole(0).tag(sync=True)
    column = Whole(0).tag(sync=True)
    output_channel = Whole(0).tag(sync=True)
    input_channel = Whole(0).tag(sync=True)
    temperature = Temperature(None, allow_none=True).tag(sync=True)

    def __init__(
        self,
        layer: nn.Conv2d | DynamicConv2d,
        image: Tensor,
        row: int | None = None,
        column: int | None = None,
        output_channel: int = 0,
        input_channel: int = 0,
        temperature: float | None = None,
        experiments: Mapping[str, Mapping] | None = None,
        *,
        channel_names: Sequence[str] | None = None,
    ) -> None:
        _check(layer, image)
        self.channels = [f"channel {i}" for i in range(len(image))] if channel_names is None else list(channel_names)
        if len(self.channels) != len(image) or len(set(self.channels)) < len(image):
            raise ValueError(f"channel_names must be {len(image)} different names, got {self.channels}")
        self.layer, self.image = layer, image.detach()
        self.dynamic = isinstance(layer, DynamicConv2d)
        self.shape = _map_shape(layer, image)
        data = self._data()
        super().__init__(
            data=json.dumps(data),
            experiments=json.dumps(experiments or {}),
            row=self.shape[0] // 2 if row is None else row,
            column=self.shape[1] // 2 if column is None else column,
            output_channel=output_channel,
            input_channel=input_channel,
            temperature=data["temperature"] if temperature is None else temperature,
        )

    def _data(self) -> dict:
        weight, bias, logits = _parts(self.layer, self.image)
        data = {
            "image": encode(self.image),
            "image_shape": list(self.image.shape),
            "map_shape": list(self.shape),
            "weight": encode(weight.transpose(0, 1)),  # (O, K, C, kh, kw): the K kernels of an output channel together
            "bias": encode(bias.T),  # (O, K)
            "logits": None if logits is None else encode(logits),
            "temperature": temperatures(self.layer)[0].item() if self.dynamic else None,
            "kernels": len(weight),
            "outputs": self.layer.out_channels,
            "padding": _padding(self.layer),
            "channels": self.channels,
        }
        return data | {name: list(getattr(self.layer, name)) for name in ("kernel_size", "stride", "dilation")}

    @traitlets.validate("row", "column", "output_channel", "input_channel")
    def _check_place(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        places = dict(zip(("row", "column"), self.shape, strict=True))
        places |= {"output_channel": self.layer.out_channels, "input_channel": max(1, len(self.image) - SHOWN + 1)}
        most = places[name] - 1
        if not 0 <= value <= most:
            raise traitlets.TraitError(f"{name} must be 0 to {most}, got {value}")
        return value

    @traitlets.validate("temperature")
    def _check_temperature(self, proposal):
        if proposal["value"] is not None and not self.dynamic:
            raise traitlets.TraitError(
                f"temperature must be None: a plain convolution has none, got {proposal['value']}"
            )
        return proposal["value"]

    def still(self) -> figures.Picture:
        with torch.no_grad():
            state = trace_state(self.layer, self.image, self.row, self.column, self.output_channel, self.temperature)
        rows = {
            f"{self.channels[i]}: sum {value:.3f}": {name: state[name][i] for name in ("patch", "kernel", "products")}
            for i, value in list(enumerate(state["sums"].tolist()))[self.input_channel :][:SHOWN]
        }
        rows |= {f"output channel {self.output_channel}": {"all pixels": state["map"]}}
        attention = " and ".join(
            f"{100 * w:.0f} % of kernel {k + 1}" for k, w in enumerate(state["attention"].tolist())
        )
        mixed = f" The kernel is {attention}." if self.dynamic else ""
        return figures.images(
            rows,
            signed=True,
            shared=False,
            alt=f"Trace of the output pixel in row {self.row}, column {self.column} of channel {self.output_channel}: "
            f"patch times kernel summed over {len(state['sums'])} input channels, plus a bias of {state['bias']:.3f}, "
            f"is {state['total']:.3f}.{mixed}",
        )


def _parts(layer, image):
    """Kernels (K, O, C, kh, kw), biases (K, O), and the logits (K,) of this image, None for a plain convolution."""
    if isinstance(layer, DynamicConv2d):
        weight, logits = layer.weight.detach(), dynamic_state(layer, image[None])["logits"][0]
        bias = weight.new_zeros(weight.shape[:2]) if layer.bias is None else layer.bias.detach()
        return weight, bias, logits
    weight = layer.weight.detach()[None]
    return weight, weight.new_zeros(weight.shape[:2]) if layer.bias is None else layer.bias.detach()[None], None


def _padding(layer):
    """((top, bottom), (left, right)) in pixels."""
    if layer.padding == "same":
        total = [gap * (size - 1) for size, gap in zip(layer.kernel_size, layer.dilation, strict=True)]
        return [(t // 2, t - t // 2) for t in total]  # an even kernel pads one more at the end, as torch does
    return [(0, 0), (0, 0)] if layer.padding == "valid" else [(p, p) for p in layer.padding]


def _map_shape(layer, image):
    """(H', W'), how many places the kernel has."""
    each = zip(image.shape[1:], _padding(layer), layer.kernel_size, layer.stride, layer.dilation, strict=True)
    return tuple((size + sum(pads) - gap * (taps - 1) - 1) // step + 1 for size, pads, taps, step, gap in each)


def _check(layer, image):
    if not isinstance(layer, (nn.Conv2d, DynamicConv2d)):
        raise TypeError(f"layer must be an nn.Conv2d or a DynamicConv2d, got {type(layer).__name__}")
    if layer.groups != 1 or layer.padding_mode != "zeros":
        raise ValueError(
            f"layer must have groups=1 and padding_mode='zeros', got {layer.groups} and {layer.padding_mode!r}"
        )
    taps, kernels = max(layer.kernel_size), getattr(layer, "num_kernels", 1)
    if taps > MOST_TAPS or layer.out_channels > MOST_OUTPUTS or kernels > MOST_KERNELS:
        raise ValueError(
            f"layer must have kernels of at most {MOST_TAPS} × {MOST_TAPS}, {MOST_OUTPUTS} output channels and "
            f"{MOST_KERNELS} kernels, got {layer.kernel_size}, {layer.out_channels} and {kernels}"
        )
    shape = tuple(image.shape)
    too_large = len(shape) != 3 or max(shape[1:]) > MOST_PIXELS or image.numel() > MOST_VALUES
    if too_large or shape[0] != layer.in_channels:
        raise ValueError(
            f"image must be ({layer.in_channels}, H, W) for this layer, with at most {MOST_PIXELS} × {MOST_PIXELS} pixels "
            f"and {MOST_VALUES:,} values, got {shape}"
        )
    if layer.weight.numel() > MOST_VALUES:
        raise ValueError(f"layer must have at most {MOST_VALUES:,} weights, got {layer.weight.numel():,}")
    if min(_map_shape(layer, image)) < 1:
        raise ValueError(f"image is too small for a kernel of {layer.kernel_size}, got {shape}")

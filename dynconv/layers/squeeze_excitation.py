"""Squeeze-and-Excitation: every channel is turned up or down by what all of the image says.

Reference: Hu et al., *Squeeze-and-Excitation Networks*, https://arxiv.org/abs/1709.01507
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.types import Device

from ..functional.checks import check_choice, check_counts
from .inputs import check_images
from .layer import Layer
from .linear import Linear

__all__ = ["ChannelGate", "SqueezeExcitation"]

SQUEEZES = ("mean", "mean_max")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "silu": F.silu}
SCALES: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "hard_sigmoid": F.hardsigmoid}


class ChannelGate(Layer):
    r"""How much of each channel passes, computed from each image: the gate of :class:`SqueezeExcitation`.

    Reference: Hu et al., eq. 3, https://arxiv.org/abs/1709.01507

    .. math:: g = \mathrm{sigmoid}(W_2\,\mathrm{relu}(W_1 s + b_1) + b_2)

    EfficientNet puts SiLU in the place of the ReLU, MobileNetV3 a hard sigmoid in that of the sigmoid.

    Example:
        >>> import torch
        >>> ChannelGate(16, hidden_channels=4)(torch.randn(2, 16, 8, 8)).shape
        torch.Size([2, 16])

    Args:
        channels: C.
        hidden_channels: width of the hidden layer, at least 1.
        squeeze: "mean", or "mean_max" for half the mean plus half the maximum of each channel.
        bias: whether the two layers have b_1 and b_2.
        activation: "relu" or "silu".
        scale: "sigmoid" or "hard_sigmoid".

    Shape:
        (B, C, *spatial) → (B, C), between 0 and 1.

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    over, batched = "channels", True

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        squeeze: str = "mean",
        bias: bool = True,
        activation: str = "relu",
        scale: str = "sigmoid",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(channels=channels, hidden_channels=hidden_channels)
        check_choice("squeeze", squeeze, SQUEEZES)
        check_choice("activation", activation, ACTIVATIONS)
        check_choice("scale", scale, SCALES)
        self.channels, self.squeeze, self.activation, self.scale = channels, squeeze, activation, scale
        self.fc1 = Linear(channels, hidden_channels, bias, device=device, dtype=dtype)
        self.fc2 = Linear(hidden_channels, channels, bias, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        check_images(self, x, self.channels)
        flat = x.flatten(2)  # (B, C, positions)
        squeezed = flat.mean(2) if self.squeeze == "mean" else 0.5 * flat.mean(2) + 0.5 * flat.amax(2)  # (B, C)
        hidden = ACTIVATIONS[self.activation](self.fc1(squeezed))  # (B, hidden)
        return SCALES[self.scale](self.fc2(hidden))  # (B, C)

    def extra_repr(self) -> str:
        return f"squeeze={self.squeeze!r}, activation={self.activation!r}, scale={self.scale!r}"


class SqueezeExcitation(Layer):
    r"""Scales each channel of each image by a gate that is computed from that image.

    Reference: Hu et al., https://arxiv.org/abs/1709.01507

    .. math:: y_{bc} = g_c(x_b)\, x_{bc}

    Before a convolution this scales the columns of its kernel, W diag(g): a dynamic convolution whose mix is diagonal.

    Example:
        >>> import torch
        >>> se = SqueezeExcitation(16, reduction=4)
        >>> se(torch.randn(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])

    Args:
        channels: C.
        reduction: the hidden width is max(1, channels // reduction).
        hidden_channels: the hidden width itself; overrides ``reduction``.
        squeeze, bias, activation, scale: see :class:`ChannelGate`.

    Shape:
        (B, C, *spatial) → the same. Checkpoints of torchvision's and timm's blocks, whose two layers are 1×1 convolutions,
        ``fc1`` and ``fc2`` or ``conv_reduce`` and ``conv_expand``, load as they are.

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    # what torchvision's and timm's blocks call the two layers
    their_names: ClassVar = {"fc1": "gate.fc1", "fc2": "gate.fc2", "conv_reduce": "gate.fc1", "conv_expand": "gate.fc2"}
    pointwise = ("gate.fc1", "gate.fc2")

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        hidden_channels: int | None = None,
        squeeze: str = "mean",
        bias: bool = True,
        activation: str = "relu",
        scale: str = "sigmoid",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(channels=channels, reduction=reduction)
        hidden = max(1, channels // reduction) if hidden_channels is None else hidden_channels
        self.gate = ChannelGate(channels, hidden, squeeze, bias, activation, scale, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x)  # (B, C)
        return x * gate.reshape(*gate.shape, *[1] * (x.ndim - 2)).to(x.dtype)

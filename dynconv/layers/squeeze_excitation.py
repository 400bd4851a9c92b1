"""Squeeze-and-Excitation: every channel is turned up or down by what all of the image says.

Reference: Hu et al., *Squeeze-and-Excitation Networks*, https://arxiv.org/abs/1709.01507
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ChannelGate", "SqueezeExcitation"]

SQUEEZES = ("mean", "mean_max")


class ChannelGate(nn.Module):
    r"""How much of each channel passes, computed from each image: the gate of :class:`SqueezeExcitation`.

    Reference: Hu et al., eq. 3, https://arxiv.org/abs/1709.01507

    .. math:: g = \mathrm{sigmoid}(W_2\,\mathrm{relu}(W_1 s + b_1) + b_2)

    Example:
        >>> import torch
        >>> ChannelGate(16, hidden_channels=4)(torch.randn(2, 16, 8, 8)).shape
        torch.Size([2, 16])

    Args:
        channels: C.
        hidden_channels: width of the hidden layer, at least 1.
        squeeze: "mean", or "mean_max" for half the mean plus half the maximum of each channel.

    Shape:
        (B, C, *spatial) → (B, C), between 0 and 1.

    Raises:
        ValueError: an argument or the input's number of channels does not fit; TypeError: input that is not floating point.
    """

    over, batched = "channels", True

    def __init__(self, channels: int, hidden_channels: int, squeeze: str = "mean", device=None, dtype=None) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("hidden_channels", hidden_channels)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if squeeze not in SQUEEZES:
            raise ValueError(f"squeeze must be one of {', '.join(map(repr, SQUEEZES))}, got {squeeze!r}")
        self.channels, self.squeeze = channels, squeeze
        self.fc1 = nn.Linear(channels, hidden_channels, device=device, dtype=dtype)
        self.fc2 = nn.Linear(hidden_channels, channels, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 3 or x.shape[1] != self.channels:
            raise ValueError(f"SqueezeExcitation expects (B, {self.channels}, *spatial), got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise TypeError(f"SqueezeExcitation expects floating point input, got {x.dtype}")
        flat = x.flatten(2)  # (B, C, positions)
        squeezed = flat.mean(2) if self.squeeze == "mean" else 0.5 * flat.mean(2) + 0.5 * flat.amax(2)  # (B, C)
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(squeezed))))  # (B, C)

    def extra_repr(self) -> str:
        return f"squeeze={self.squeeze!r}"


class SqueezeExcitation(nn.Module):
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
        squeeze: see :class:`ChannelGate`.

    Shape:
        (B, C, *spatial) → the same. Checkpoints of torchvision's and timm's blocks, whose ``fc1`` and ``fc2`` are 1×1
        convolutions, load as they are.

    Raises:
        ValueError: an argument or the input's number of channels does not fit; TypeError: input that is not floating point.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        hidden_channels: int | None = None,
        squeeze: str = "mean",
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {reduction}")
        hidden = max(1, channels // reduction) if hidden_channels is None else hidden_channels
        self.gate = ChannelGate(channels, hidden, squeeze, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x)  # (B, C)
        return x * gate.reshape(*gate.shape, *[1] * (x.ndim - 2)).to(x.dtype)

    def _load_from_state_dict(self, state, prefix, *args) -> None:
        for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
            if prefix + name in state:
                value = state.pop(prefix + name)
                state[f"{prefix}gate.{name}"] = value.flatten(1) if value.ndim > 2 else value  # (h, C, 1, 1) → (h, C)
        super()._load_from_state_dict(state, prefix, *args)

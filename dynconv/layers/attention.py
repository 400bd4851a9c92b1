"""Where the K weights of a mix come from: the image (dynamic), parameters (static), or a constant (frozen).

Reference: Chen et al., *Dynamic Convolution: Attention over Convolution Kernels*, https://arxiv.org/abs/1912.03458,
whose squeeze and two layers are those of Squeeze-and-Excitation, https://arxiv.org/abs/1709.01507
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.types import Device

from .. import native
from ..functional import check_temperature, softmax_temperature
from ..functional.checks import check_counts
from .inputs import check_images
from .layer import Factory, Layer
from .linear import Linear, bare
from .tempered import Tempered

__all__ = ["FixedAttention", "KernelAttention", "LearnedAttention", "bare_attention"]


class Scores(Layer):
    """Scores of K kernels, computed from each image: the squeeze and the two layers that every such attention begins with."""

    over, batched = "kernels", True

    def _score(self, in_channels: int, num_kernels: int, hidden_channels: int, factory: Factory) -> None:
        """Make the two layers."""
        check_counts(in_channels=in_channels, num_kernels=num_kernels, hidden_channels=hidden_channels)
        self.in_channels, self.num_kernels = in_channels, num_kernels
        self.fc1 = Linear(in_channels, hidden_channels, bias=False, **factory)
        self.fc2 = Linear(hidden_channels, num_kernels, **factory)

    def logits(self, x: Tensor) -> Tensor:
        """The scores z before temperature and softmax, (B, K)."""
        check_images(self, x, self.in_channels, "[*spatial]", like=self.fc1.weight)
        if (layers := _bare_layers(self)) is not None:
            return native.perceptron(x, *layers)
        logits: Tensor = self.fc2(torch.relu(self.fc1(x.flatten(2).mean(2) if x.ndim > 2 else x)))  # (B, K)
        return logits


def _bare_layers(scores: Any) -> list[Any] | None:
    """Weight and bias of both layers, if that is all there is to them; to look up by nn.Module takes as long as a small product."""
    two = scores._modules["fc1"], scores._modules["fc2"]
    return [layer._parameters[name] for layer in two for name in ("weight", "bias")] if bare(*two) else None


def bare_attention(attention: Any) -> list[Any] | None:
    """The same and the temperature, if they and a softmax are all that makes the attention."""
    ours = bare(attention, kind=KernelAttention) and attention.activation == "softmax"
    layers = _bare_layers(attention) if ours else None
    return layers and [*layers, attention.temperature]


class KernelAttention(Tempered, Scores):
    r"""How much each of K kernels counts, computed from each image.

    Reference: Chen et al., section 3.2, https://arxiv.org/abs/1912.03458; ``activation="sigmoid"`` as in CondConv,
    https://arxiv.org/abs/1904.04971

    .. math:: \pi = \mathrm{softmax}(z / T), \qquad z = V_2\,\mathrm{relu}(V_1 s) + c, \qquad s_c = \mathrm{mean}(x_c)

    The squeeze s sees nothing of an image but the mean of each channel: what two images have to differ in for their
    attention to differ.

    Example:
        >>> import torch
        >>> attention = KernelAttention(16, num_kernels=4)(torch.randn(2, 16, 8, 8))
        >>> attention.shape, bool(torch.allclose(attention.sum(dim=1), torch.ones(2)))
        (torch.Size([2, 4]), True)

    Args:
        in_channels: C of the images it looks at.
        num_kernels: K, at least 1.
        reduction: the hidden width is max(1, in_channels // reduction).
        hidden_channels: the hidden width itself; overrides ``reduction``.
        temperature: T above 0, kept as a buffer so that a saved model keeps it. 30 is the paper's start: nearly even
            weights, so that all K kernels learn.
        activation: "softmax" (weights that sum to one) or "sigmoid" (each kernel for itself).

    Shape:
        (B, C, *spatial), or the means (B, C) themselves → (B, K). Checkpoints whose ``fc1`` and ``fc2``
        are 1×1 convolutions load too; where they hold no temperature, ``strict=False`` leaves it as it was given.

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    pointwise = ("fc1", "fc2")

    def __init__(
        self,
        in_channels: int,
        num_kernels: int = 4,
        reduction: int = 4,
        hidden_channels: int | None = None,
        temperature: float = 30.0,
        activation: str = "softmax",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(temperature, device, dtype)
        if activation not in ("softmax", "sigmoid"):
            raise ValueError(f"activation must be 'softmax' or 'sigmoid', got {activation!r}")
        check_counts(in_channels=in_channels, num_kernels=num_kernels, reduction=reduction)
        hidden = max(1, in_channels // reduction) if hidden_channels is None else hidden_channels
        self._score(in_channels, num_kernels, hidden, {"device": device, "dtype": dtype})
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        if self.activation == "sigmoid":
            return torch.sigmoid(self.logits(x) / self._divisor())
        if type(self).logits is Scores.logits and (layers := _bare_layers(self)) is not None:
            check_images(self, x, self.in_channels, "[*spatial]", like=layers[0])
            check_temperature(self.temperature)
            return native.perceptron(*(x, *layers, self.temperature))
        return softmax_temperature(self.logits(x), self._divisor())

    def extra_repr(self) -> str:
        return f"num_kernels={self.num_kernels}, temperature={self._shown()}, activation={self.activation!r}"


class LearnedAttention(Tempered):
    r"""How much each of K kernels counts, as K learned numbers: no image has a part in it.

    Reference: the question that began this project, https://ai.stackexchange.com/questions/34748

    .. math:: \pi = \mathrm{softmax}(z / T)

    Example:
        >>> LearnedAttention(4)()
        tensor([0.2500, 0.2500, 0.2500, 0.2500], grad_fn=<SoftmaxBackward0>)

    Args:
        num_kernels: K, at least 1.
        temperature: T above 0, kept as a buffer; it only rescales the logits.

    Shape:
        anything, which is not looked at → (K,). Parameter: ``logits`` (K,), which start at 0: an even mix.

    Raises:
        ValueError: temperature is not a finite number above 0, or num_kernels no integer of at least 1.
    """

    over, batched = "kernels", False

    def __init__(
        self, num_kernels: int = 4, temperature: float = 1.0, device: Device = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(temperature, device, dtype)
        check_counts(num_kernels=num_kernels)
        self.logits = nn.Parameter(torch.zeros(num_kernels, device=device, dtype=dtype))  # (K,)

    def reset_parameters(self) -> None:
        """An even mix again, at the temperature of the beginning."""
        super().reset_parameters()
        nn.init.zeros_(self.logits)

    def forward(self, x: Tensor | None = None) -> Tensor:
        return softmax_temperature(self.logits, self._divisor())

    def extra_repr(self) -> str:
        return f"num_kernels={len(self.logits)}, temperature={self._shown()}"


class FixedAttention(Layer):
    """The same K weights for every image, of any sign and sum: attention that was frozen.

    Example:
        >>> import torch
        >>> FixedAttention(torch.tensor([0.25, 0.75]))(torch.randn(3, 16, 8, 8))
        tensor([[0.2500, 0.7500],
                [0.2500, 0.7500],
                [0.2500, 0.7500]])

    Args:
        weights: (K,), kept as a buffer. Nothing can draw them anew: on the meta device they are gone until a checkpoint
            is loaded.

    Shape:
        (B, ...) → (B, K).

    Raises:
        ValueError: weights are not (K,).
    """

    over, batched = "kernels", True
    weights: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        if weights.ndim != 1:
            raise ValueError(f"weights must be (K,), got {tuple(weights.shape)}")
        self.register_buffer("weights", weights.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.weights.expand(x.shape[0], -1)  # (B, K)

    def extra_repr(self) -> str:
        return f"num_kernels={len(self.weights)}"

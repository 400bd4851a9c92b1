"""CondConv: a mix of K kernels whose weights are sigmoids, each kernel for itself.

Reference: Yang et al., *CondConv: Conditionally Parameterized Convolutions*, https://arxiv.org/abs/1904.04971
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.types import Device

from .. import native
from ..functional import dynamic_conv
from ..functional.checks import check_counts
from .inputs import check_images
from .kernel_stack import KernelStack
from .layer import Layer
from .linear import Linear, bare

__all__ = ["CondConv2d", "Routing"]


class Routing(Layer):
    r"""CondConv's routing weights: spatial mean, one linear layer, sigmoid.

    Reference: Yang et al., eq. 2, https://arxiv.org/abs/1904.04971

    .. math:: r(x) = \mathrm{sigmoid}(R\,\mathrm{mean}(x) + c)

    Example:
        >>> import torch
        >>> Routing(16, num_kernels=4)(torch.randn(2, 16, 8, 8)).shape
        torch.Size([2, 4])

    Args:
        in_channels: C.
        num_kernels: K.

    Shape:
        (B, C, *spatial) → (B, K), each between 0 and 1, of any sum. Weights that are ``given`` are handed on as they are.

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    over, batched = "kernels", True

    def __init__(
        self, in_channels: int, num_kernels: int, device: Device = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, num_kernels=num_kernels)
        self.fc = Linear(in_channels, num_kernels, device=device, dtype=dtype)

    def logits(self, x: Tensor) -> Tensor:
        """The scores before the sigmoid, (B, K)."""
        check_images(self, x, self.fc.in_features)
        if bare(self.fc):
            return native.perceptron(x, self.fc.weight, self.fc.bias)
        logits: Tensor = self.fc(x.flatten(2).mean(2))
        return logits

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        return torch.sigmoid(self.logits(x)) if given is None else given


class CondConv2d(KernelStack):
    r"""A convolution with K experts, mixed for each image with weights that are given or computed.

    Reference: Yang et al., https://arxiv.org/abs/1904.04971

    .. math:: y_b = \Big(\sum_k r_{bk} W_k\Big) * x_b + \sum_k r_{bk}\, b_k

    Unlike the attention of :class:`DynamicConv2d`, the weights need not sum to one.

    Example:
        >>> import torch
        >>> layer, x = CondConv2d(16, 32, 3, padding=1, num_kernels=4), torch.randn(2, 16, 8, 8)
        >>> layer(x).shape, layer(x, torch.tensor([[0.5, 0.5, 0.0, -1.0], [1.0, 0.0, 2.0, 0.0]])).shape
        (torch.Size([2, 32, 8, 8]), torch.Size([2, 32, 8, 8]))

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in :class:`torch.nn.Conv2d`.
        num_kernels: K, at least 1.
        method: how it is computed, see :func:`dynconv.functional.dynamic_conv`.

    Shape:
        x (B, in_channels, H, W), routing weights (B, K) of any sign and sum, or None → (B, out_channels, H', W'). An image
        without B is taken too. Checkpoints of timm's CondConv2d, whose ``weight`` is flat and which has no routing of its
        own, load with ``strict=False``.

    Raises:
        ValueError: an argument or a shape does not fit; TypeError, RuntimeError: a dtype or device does not.
    """

    spatial_dims = 2
    attention: Routing

    def _weigh(self, *, method: str = "auto") -> None:
        self.method = self._check_method(method)
        self.attention = Routing(self.in_channels, self.num_kernels, **self._factory())

    def forward(self, x: Tensor, routing_weights: Tensor | None = None) -> Tensor:
        x, unbatched = self._as_batch(x)
        if unbatched and routing_weights is not None and routing_weights.ndim == 1:
            routing_weights = routing_weights.unsqueeze(0)  # (1, K)
        weights = self.attention(x, routing_weights)  # (B, K)
        y = dynamic_conv(x, self.weight, weights, self.bias, **self.geometry(), method=self.method)
        return y.squeeze(0) if unbatched else y

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
        flat = state.get(prefix + "weight")
        if flat is not None and flat.shape == (self.num_kernels, self.weight.shape[1:].numel()):
            state[prefix + "weight"] = flat.reshape(self.weight.shape)  # timm keeps (K, O·C/g·kh·kw)
        super()._load_from_state_dict(state, prefix, *args)

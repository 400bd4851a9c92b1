"""ODConv: attention along all four dimensions of a kernel, the K kernels being only one of them.

Reference: Li, Zhou and Yao, *Omni-Dimensional Dynamic Convolution*, https://openreview.net/forum?id=DmpCfq6Mg39
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from ..functional import conv_per_image, mix_kernels, softmax_temperature
from ..functional.checks import check_counts
from .inputs import check_images
from .kernel_stack import KernelStack
from .layer import Factory, Layer
from .linear import Linear
from .tempered import Tempered

__all__ = ["ODConv2d", "OmniAttention"]


class _KaimingLinear(Linear):
    """A linear layer that starts as the authors' do."""

    def reset_parameters(self) -> None:
        super().reset_parameters()  # its draws are followed by the ones that count: a seed gives what it always gave
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class _Head(Layer):
    """One of the four attentions: a linear layer, then softmax over K kernels or a sigmoid for each of the others."""

    batched = True

    def __init__(self, hidden: int, count: int, over: str, device: Device, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.over = over
        self.fc = _KaimingLinear(hidden, count, device=device, dtype=dtype)

    def forward(self, hidden: Tensor, temperature: Tensor) -> Tensor:
        logits = self.fc(hidden)  # (B, count)
        softmax = self.over == "kernels"
        return softmax_temperature(logits, temperature) if softmax else torch.sigmoid(logits / temperature)


class OmniAttention(Tempered):
    r"""The four attentions of :class:`ODConv2d`, from one squeeze.

    Reference: Li et al., section 3.2, https://openreview.net/forum?id=DmpCfq6Mg39

    .. math:: h = \mathrm{relu}(\mathrm{BN}(V\,\mathrm{mean}(x)))

    and a head each: sigmoid(./T) over input channels, filters and taps, softmax(./T) over kernels. A head that could only
    repeat another is left out, as in the paper's code: taps of a 1×1 kernel, filters of a depthwise one, K = 1.

    Example:
        >>> import torch
        >>> attention = OmniAttention(16, 32, taps=9, num_kernels=4)
        >>> {over: tuple(weights.shape) for over, weights in attention(torch.randn(2, 16, 8, 8)).items()}
        {'kernels': (2, 4), 'channels': (2, 16), 'filters': (2, 32), 'taps': (2, 9)}

    Args:
        in_channels, out_channels: C and O.
        taps: places in the kernel; 1 leaves their head out.
        num_kernels: K; 1 leaves its head out.
        reduction, min_hidden: the hidden width is max(C // reduction, min_hidden).
        temperature: T above 0, a buffer.
        depthwise: leaves the filters' head out.

    Shape:
        (B, C, *spatial) → dict from "kernels", "channels", "filters", "taps" to (B, count). In training the batch norm
        uses the batch's statistics; a batch of one has none, and is normalised by the running ones. Checkpoints of the
        paper's code load with ``strict=False``: they hold no temperature.

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    # what the authors' code calls the norm and the four heads
    their_names: ClassVar = {
        "bn": "norm",
        "kernel_fc": "heads.kernels.fc",
        "channel_fc": "heads.channels.fc",
        "filter_fc": "heads.filters.fc",
        "spatial_fc": "heads.taps.fc",
    }
    pointwise = ("fc", "heads.kernels.fc", "heads.channels.fc", "heads.filters.fc", "heads.taps.fc")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        taps: int,
        num_kernels: int = 4,
        reduction: int = 16,
        min_hidden: int = 16,
        temperature: float = 1.0,
        depthwise: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(temperature, device, dtype)
        check_counts(in_channels=in_channels, out_channels=out_channels, taps=taps, num_kernels=num_kernels)
        check_counts(reduction=reduction, min_hidden=min_hidden)
        hidden = max(in_channels // reduction, min_hidden)
        factory: Factory = {"device": device, "dtype": dtype}
        self.fc: nn.Linear = _KaimingLinear(in_channels, hidden, bias=False, **factory)
        self.norm = nn.BatchNorm1d(hidden, **factory)
        counts = {
            "kernels": num_kernels if num_kernels > 1 else 0,
            "channels": in_channels,
            "filters": 0 if depthwise else out_channels,
            "taps": taps if taps > 1 else 0,
        }
        self.heads = nn.ModuleDict({over: _Head(hidden, n, over, **factory) for over, n in counts.items() if n})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        check_images(self, x, self.fc.in_features)
        hidden = torch.relu(self._normalized(self.fc(x.flatten(2).mean(2))))  # (B, hidden)
        temperature = self._divisor()
        return {over: head(hidden, temperature) for over, head in self.heads.items()}

    def _normalized(self, hidden: Tensor) -> Tensor:
        if self.training and hidden.shape[0] < 2:
            norm = self.norm
            return F.batch_norm(hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        normalized: Tensor = self.norm(hidden)
        return normalized


class ODConv2d(KernelStack):
    r"""A convolution whose kernel is weighed, for each image, over kernels, input channels, filters and taps.

    Reference: Li et al., eq. 3, https://openreview.net/forum?id=DmpCfq6Mg39

    .. math:: y_b = \Big(\alpha^f_b \odot \alpha^c_b \odot \alpha^s_b \odot \sum_k \alpha^w_{bk} W_k\Big) * x_b
        + \sum_k \alpha^w_{bk}\, b_k

    with filters f, input channels c, taps s and kernels w. The paper's layer has no bias; here it is mixed over the
    kernels and not scaled further.

    Example:
        >>> import torch
        >>> layer = ODConv2d(16, 32, 3, padding=1, num_kernels=4)
        >>> layer(torch.randn(2, 16, 8, 8)).shape
        torch.Size([2, 32, 8, 8])

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in :class:`torch.nn.Conv2d`.
        num_kernels: K, at least 1; with 1, three attentions remain.
        reduction, min_hidden, temperature: see :class:`OmniAttention`.
        method: "grouped", "unfold" or "auto", see :func:`dynconv.functional.conv_per_image`.

    Shape:
        (B, in_channels, H, W) → (B, out_channels, H', W'), or without B.

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    spatial_dims = 2
    attention: OmniAttention
    mixes_kernels = False  # not only: each of the four heads is a weighting of its own

    def _weigh(
        self, *, reduction: int = 16, min_hidden: int = 16, temperature: float = 1.0, method: str = "auto"
    ) -> None:
        self.method = self._check_method(method, ("grouped", "unfold"))
        self.attention = OmniAttention(
            self.in_channels,
            self.out_channels,
            math.prod(self.kernel_size),
            self.num_kernels,
            reduction,
            min_hidden,
            temperature,
            depthwise=self.in_channels == self.groups == self.out_channels,
            **self._factory(),
        )

    def kernels(self, weights: dict[str, Tensor], batch: int) -> tuple[Tensor, Tensor | None]:
        """Each image's kernel (B, O, C/groups, kh, kw) and bias (B, O), from weights (B, count) as the attention gives them."""
        mix = weights.get("kernels", self.weight.new_ones(batch, 1))  # (B, K)
        kernel = mix_kernels(self.weight, mix.to(self.weight.dtype))  # (B, O, C/g, kh, kw)
        if "taps" in weights:
            kernel = kernel * weights["taps"].reshape(batch, 1, 1, *self.kernel_size)
        if "filters" in weights:
            kernel = kernel * weights["filters"][:, :, None, None, None]
        channels = weights["channels"].unflatten(1, (self.groups, 1, -1))  # (B, g, 1, C/g): each group sees its own
        channels = channels.expand(-1, -1, self.out_channels // self.groups, -1).flatten(1, 2)  # (B, O, C/g)
        bias = None if self.bias is None else mix_kernels(self.bias, mix.to(self.bias.dtype))  # (B, O)
        return kernel * channels[..., None, None], bias

    def forward(self, x: Tensor) -> Tensor:
        x, unbatched = self._as_batch(x)
        kernel, bias = self.kernels(self.attention(x), x.shape[0])
        y = conv_per_image(x, kernel, bias, **self.geometry(), method=self.method)
        return y.squeeze(0) if unbatched else y

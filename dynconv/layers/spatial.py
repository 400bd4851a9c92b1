"""Spatially sparse convolution: a gate decides, position by position, where a residual block computes at all.

Reference: Verelst and Tuytelaars, *Dynamic Convolutions: Exploiting Spatial Sparsity for Faster Inference*,
https://arxiv.org/abs/1912.03203
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, cast, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from .. import native
from ..functional.checks import check_counts
from ..functional.sparse import dilate_gate, gumbel_sigmoid
from ..native.operation import tracing
from .inputs import check_images
from .layer import Factory, Layer
from .linear import Linear, bare
from .tempered import Tempered

__all__ = ["SparseBlock", "SparseCost", "SpatialGate"]

WORTHWHILE = 0.25  # the share of multiply-adds up to which skipping by torch's own operations saves time


class _OneOutput(nn.Conv2d):
    """nn.Conv2d, 3×3 with padding 1, to one channel: by a product for each tap, which are then shifted and added."""

    def forward(self, input: Tensor) -> Tensor:
        if self.in_channels <= 32 or self.stride != (1, 1) or self.bias is None or input.is_cuda:
            return super().forward(input)
        taps = self.weight[0].flatten(1).flip(1).T[..., None, None]  # (9, C, 1, 1)
        maps = F.conv2d(input, taps, F.pad(self.bias, (4, 4)))  # the bias once, in the middle
        return F.fold(maps.flatten(2), input.shape[2:], 3, padding=1)


class SpatialGate(Tempered):
    r"""Open (1) or closed (0), for each position of each image.

    Reference: Verelst and Tuytelaars, section 3.1, https://arxiv.org/abs/1912.03203

    .. math:: z = C * x + w \cdot \mathrm{mean}(x) + c, \qquad g = [z \ge 0]

    In training, Gumbel noise is added, unless ``noise`` is False (the reference's last fifth), and the gradient is that of a
    sigmoid with temperature T (:func:`dynconv.functional.gumbel_sigmoid`).

    Example:
        >>> import torch
        >>> gate = SpatialGate(16, stride=2).eval()(torch.randn(2, 16, 9, 7))
        >>> gate.shape, set(gate.unique().tolist()) <= {0.0, 1.0}
        (torch.Size([2, 1, 5, 4]), True)

    Args:
        in_channels: C.
        stride: of the 3×3 convolution C, which has padding 1.
        temperature: T above 0 of the gradient in training, a buffer. A straight-through gradient wants about 1: schedules of
            a whole model leave it alone, unless they are told of it.

    Shape:
        (B, C, H, W) → (B, 1, H', W').

    Raises:
        ValueError: an argument or the input's shape does not fit; TypeError, RuntimeError: its dtype or device does not.
    """

    over, batched, noise = "positions", True, True
    their_names: ClassVar = {"maskconv.conv": "conv", "maskconv.fc": "fc"}

    def __init__(
        self,
        in_channels: int,
        stride: int = 1,
        temperature: float = 1.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(temperature, device, dtype)
        check_counts(in_channels=in_channels, stride=stride)
        factory: Factory = {"device": device, "dtype": dtype}
        self.conv = _OneOutput(in_channels, 1, 3, stride, padding=1, **factory)
        self.fc = Linear(in_channels, 1, **factory)

    def logits(self, x: Tensor) -> Tensor:
        """The scores z, (B, 1, H', W')."""
        check_images(self, x, self.conv.in_channels, "H, W", like=self.conv.weight)
        plain = bare(self.fc) and bare(self.conv, kind=_OneOutput)
        if plain and (scores := native.gate_scores(x, self.conv, self.fc)) is not None:
            return scores
        everywhere: Tensor = self.fc(x.mean((2, 3)))  # (B, 1)
        logits: Tensor = self.conv(x) + everywhere[..., None, None]
        return logits

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        if not self.training:
            return (logits >= 0).to(logits.dtype)
        return gumbel_sigmoid(logits, self._divisor(), noise=self.noise)


class SparseCost(NamedTuple):
    """Multiply-adds of a block's two convolutions.

    Example:
        >>> import torch
        >>> SparseBlock(4).cost(torch.ones(1, 1, 5, 5)).total  # positions × two kernels of 4 · 4 · 9
        7200
    """

    used: Tensor
    """for the open positions and what they need, with the gate's gradient; one element"""
    total: int
    """with all positions open"""


class SparseBlock(Layer):
    r"""A residual block that computes its branch only where its gate is open.

    Reference: Verelst and Tuytelaars, section 3.2, https://arxiv.org/abs/1912.03203

    .. math:: y = \mathrm{relu}\big(\mathrm{shortcut}(x) + g(x) \odot \mathrm{branch}(x)\big)

    The branch is conv 3×3, batch norm, ReLU, conv 3×3, batch norm. In training it is computed everywhere and multiplied by
    the gate, without a look at the gate's values, so that a GPU never waits. In eval mode closed positions are really
    skipped: the patches of open ones are gathered, multiplied, and scattered back, in C++ for float32 on a CPU; the first
    convolution runs where the second will look, which is the gate dilated by one position.

    Example:
        >>> import torch
        >>> block, x = SparseBlock(8, 16, stride=2).eval(), torch.randn(2, 8, 9, 7)
        >>> y, cost = block(x, return_cost=True)
        >>> y.shape, 0 <= cost.used.item() <= cost.total
        (torch.Size([2, 16, 5, 4]), True)

    Args:
        in_channels: C.
        out_channels: O; None for C.
        stride: of the first convolution, the gate and the shortcut.
        temperature: of the :class:`SpatialGate`.
        sparse: True or False forces the way of computing; None skips positions in eval mode where that saves time, except
            while compiling, exporting or tracing, where shapes cannot depend on the gate's values. By torch's operations it
            saves time up to a quarter of the multiply-adds. In C++ a convolution at stride 1 computes all positions, with
            fewer products (Winograd's) than torch, where that is less work: if more are wanted than about a sixth
            (scattered over a large image) to a half (side by side in a small one); where these do not apply
            (stride 2, under 32 positions), most is open and channels are more than 256, torch computes everywhere.

    Shape:
        (B, C, H, W) → (B, O, H', W'); with ``return_cost`` also a :class:`SparseCost`. A gate that was replaced by
        fractions (:func:`dynconv.probe.intervene`) is multiplied in both ways. Checkpoints of the paper's basic block load
        with ``strict=False``: they hold no temperature.

    Raises:
        ValueError: an argument or the input's shape does not fit, or positions are to be skipped in training.
        TypeError, RuntimeError: the input's dtype or device does not fit.
    """

    their_names: ClassVar = {"masker": "gate", "downsample": "shortcut"}

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        stride: int = 1,
        temperature: float = 1.0,
        sparse: bool | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        check_counts(out_channels=out_channels)
        factory: Factory = {"device": device, "dtype": dtype}
        self.gate = SpatialGate(in_channels, stride, temperature, **factory)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False, **factory)
        self.bn1 = nn.BatchNorm2d(out_channels, **factory)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False, **factory)
        self.bn2 = nn.BatchNorm2d(out_channels, **factory)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or out_channels != in_channels:
            plain = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False, **factory)
            self.shortcut = nn.Sequential(plain, nn.BatchNorm2d(out_channels, **factory))
        self.sparse = sparse

    @overload
    def forward(self, x: Tensor, return_cost: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, x: Tensor, return_cost: Literal[True]) -> tuple[Tensor, SparseCost]: ...

    @overload
    def forward(self, x: Tensor, return_cost: bool) -> Tensor | tuple[Tensor, SparseCost]: ...

    def forward(self, x: Tensor, return_cost: bool = False) -> Tensor | tuple[Tensor, SparseCost]:
        gate = self.gate(x)  # (B, 1, H', W')
        branch = self._skipping(x, gate) if self._skips() else None
        branch = self._everywhere(x) * gate if branch is None else branch  # (B, O, H', W')
        y = torch.relu_(self.shortcut(x) + branch)
        return (y, self.cost(gate)) if return_cost else y

    if TYPE_CHECKING:
        __call__ = forward

    def cost(self, gate: Tensor) -> SparseCost:
        """Multiply-adds of the two convolutions for this gate (B, 1, H', W')."""
        needed = dilate_gate(gate, gate.shape[2:])
        first, second = self.conv1.weight.numel(), self.conv2.weight.numel()  # multiply-adds of one position
        return SparseCost(needed.sum() * first + gate.sum() * second, gate.numel() * (first + second))

    def _skips(self) -> bool:
        if self.sparse and self.training:
            raise ValueError("positions cannot be skipped in training: batch norm needs all of them; call .eval()")
        if self.sparse is not None:
            return self.sparse
        return not self.training and not torch.compiler.is_compiling() and not tracing()

    def _everywhere(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return out

    def _skipping(self, x: Tensor, gate: Tensor) -> Tensor | None:
        """None where it is faster to compute everywhere, and nobody insists."""
        always = self.sparse is True
        if type(self.conv1) is type(self.conv2) is nn.Conv2d:
            branch = native.skipping(x, gate, self.conv1, self.bn1, self.conv2, self.bn2, always)
            if branch is not None:
                return branch
        needed, is_open = dilate_gate(gate, gate.shape[2:]) != 0, gate != 0
        if not always and needed.float().mean() + is_open.float().mean() > 2 * WORTHWHILE:
            return None
        hidden = torch.relu(_normalized(self.bn1, _conv_at(x, needed, self.conv1)))  # (needed, O)
        hidden = _scatter(hidden, needed)  # (B, O, H', W'); nobody looks where it is 0 without being needed
        out = _normalized(self.bn2, _conv_at(hidden, is_open, self.conv2))  # (open, O)
        return _scatter(out * gate[is_open].unsqueeze(1).to(out.dtype), is_open)

    def extra_repr(self) -> str:
        return "" if self.sparse is None else f"sparse={self.sparse}"


def _conv_at(x: Tensor, where: Tensor, conv: nn.Conv2d) -> Tensor:
    """A convolution at some output positions only: (B, C, H, W), (B, 1, H', W') bool → (n, O)."""
    (kernel_h, kernel_w), (stride_h, stride_w) = conv.kernel_size, conv.stride
    pad_h, pad_w = cast("tuple[int, int]", conv.padding)
    x = F.pad(x, (pad_w, pad_w, pad_h, pad_h))
    height, width = x.shape[2:]
    image, _, row, column = where.nonzero(as_tuple=True)  # (n,) each
    corner = (image * height + row * stride_h) * width + column * stride_w  # of each patch, in the flat picture
    taps = torch.arange(kernel_h, device=x.device)[:, None] * width + torch.arange(kernel_w, device=x.device)
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)  # (B·H·W, C)
    patches = pixels[corner[:, None] + taps.flatten()]  # (n, kernel, C)
    weight = conv.weight.flatten(2).transpose(1, 2).flatten(1)  # (O, kernel·C)
    return F.linear(patches.flatten(1), weight, conv.bias)


def _scatter(values: Tensor, where: Tensor) -> Tensor:
    """(n, O) back to their places among zeros: (B, O, H', W')."""
    batch, _, height, width = where.shape
    picture = values.new_zeros(batch * height * width, values.shape[1])
    picture = picture.index_copy(0, where.flatten().nonzero().squeeze(1), values)
    return picture.reshape(batch, height, width, values.shape[1]).permute(0, 3, 1, 2)


def _normalized(norm: nn.BatchNorm2d, values: Tensor) -> Tensor:
    """Batch norm at inference of (n, O)."""
    return F.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)

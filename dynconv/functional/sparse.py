"""Spatial sparsity: gates that open or close positions, what an open position needs, and the price of opening many.

Reference: Verelst and Tuytelaars, *Dynamic Convolutions: Exploiting Spatial Sparsity*, https://arxiv.org/abs/1912.03203
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_counts, check_together, sizes
from .temperature import check_temperature

__all__ = ["dilate_gate", "gumbel_sigmoid", "sparsity_loss"]


def gumbel_sigmoid(
    logits: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    hard: bool = True,
    noise: bool = True,
    uniforms: tuple[Tensor, Tensor] | None = None,
    generator: torch.Generator | None = None,
    eps: float = 1e-8,
) -> Tensor:
    r"""A yes or no for each logit, drawn at random, with a gradient.

    Reference: Verelst and Tuytelaars, section 3.1, https://arxiv.org/abs/1912.03203; Jang et al.,
    https://arxiv.org/abs/1611.01144

    .. math:: s = \mathrm{sigmoid}\big((z + g_1 - g_2) / T\big), \qquad g = -\log(-\log(u + \epsilon) + \epsilon)

    for two uniform u. The hard value is 1 where s is at least one half; its gradient is that of s (straight-through).

    Example:
        >>> import torch
        >>> gumbel_sigmoid(torch.tensor([-9.0, 0.5, 9.0]), noise=False)
        tensor([0., 1., 1.])

    Args:
        logits: any shape, floating point; of half precision, the noise and s are computed in float32.
        temperature: T above 0; a small one makes s, and with it the gradient, steep.
        hard: return 0 or 1 instead of s.
        noise: False leaves g_1 and g_2 out.
        uniforms: the two draws, of the shape of ``logits``; None draws them.
        generator: where they are drawn from.
        eps: keeps the logarithms finite.

    Raises:
        ValueError: temperature is not above 0, or uniforms have another shape; TypeError: logits are not floating point.
        RuntimeError: uniforms are on another device.
    """
    check_temperature(temperature)
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, got {logits.dtype}")
    scores = logits
    if noise:
        # half precision has no 1e-8, and draws exact zeros: its logarithms are those of single precision
        exact = torch.promote_types(logits.dtype, torch.float32)
        if uniforms is None:
            first, second = (
                torch.rand(logits.shape, generator=generator, device=logits.device, dtype=exact) for _ in range(2)
            )
            uniforms = first, second
        if any(u.shape != logits.shape for u in uniforms):
            raise ValueError(
                f"uniforms must be two of shape {tuple(logits.shape)}, got {[tuple(u.shape) for u in uniforms]}"
            )
        check_together(dtypes=False, logits=logits, **{f"uniforms[{i}]": u for i, u in enumerate(uniforms)})
        first, second = (-torch.log(-torch.log(u.to(exact) + eps) + eps) for u in uniforms)
        scores = logits + first - second
    soft = torch.sigmoid(scores / temperature).to(logits.dtype)
    if not hard:
        return soft
    return ((soft >= 0.5).to(soft.dtype) - soft).detach() + soft


def dilate_gate(
    gate: Tensor, size: Sequence[int], kernel_size: int = 3, stride: int = 1, padding: int = 1, dilation: int = 1
) -> Tensor:
    r"""The positions of a convolution's input that its open output positions need.

    Reference: Verelst and Tuytelaars, section 3.3, https://arxiv.org/abs/1912.03203

    .. math:: m_i = \max \{\, g_o : i = o\,s - p + t\,d,\ 0 \le t < k \,\}

    A maximum, not a comparison: the gradient of a cost that counts needed positions reaches the gate.

    Example:
        >>> import torch
        >>> gate = torch.tensor([[[[0.0, 0.0, 1.0]]]])  # one row of an output of stride 2
        >>> dilate_gate(gate, size=(1, 5), stride=2)[0, 0]
        tensor([[0., 0., 0., 1., 1.]])

    Args:
        gate: (B, 1, H', W'), 0 to 1, one for each output position.
        size: (H, W) of the input.
        kernel_size, stride, padding, dilation: of the convolution, the same along both axes.

    Returns:
        (B, 1, H, W).

    Raises:
        ValueError: gate is not (B, 1, H', W'), or the geometry is not of integers; TypeError: gate is not floating point.
    """
    if not gate.is_floating_point():
        raise TypeError(f"gate must be floating point, got {gate.dtype}; convert it with gate.float()")
    check_counts(kernel_size=kernel_size, stride=stride, dilation=dilation)
    (padding,), size = sizes(padding, 1, "padding", 0), sizes(size, 2, "size", 1)
    if gate.ndim != 4 or gate.shape[1] != 1:
        raise ValueError(f"gate must be (B, 1, H', W'), got {tuple(gate.shape)}")
    reach = dilation * (kernel_size - 1)
    # output position o stands at o·stride: stride - 1 zeros after each, (B, 1, H' s, W' s)
    spread = torch.kron(gate, F.pad(gate.new_ones(1, 1), (0, stride - 1, 0, stride - 1)))
    right = [max(0, padding + n - have) for n, have in zip(size, spread.shape[2:], strict=True)]
    spread = F.pad(spread, (reach, right[1], reach, right[0]))
    needed = F.max_pool2d(spread, kernel_size, stride=1, dilation=dilation)  # index i + padding
    return needed[..., padding : padding + size[0], padding : padding + size[1]]


def sparsity_loss(
    used: Tensor | Sequence[Tensor], total: Sequence[float] | Tensor, target: float, epoch: float, num_epochs: int
) -> Tensor:
    r"""The price of using more, or less, than a share ``target`` of all multiply-adds.

    Reference: Verelst and Tuytelaars, section 3.4, https://arxiv.org/abs/1912.03203

    .. math:: L = \Big(\frac{\sum_b u_b}{\sum_b n_b} - t\Big)^2
        + \frac1B \sum_b \max(0, f_b - h)^2 + \max(0, l - f_b)^2, \qquad f_b = u_b / n_b

    with p = cos²(min(epoch / (0.33 epochs), 1) π/2), h = 1 - p (1 - t) and l = p t: at first every block has to keep to
    the target, from a third of the training on only all of them together.

    Example:
        >>> import torch
        >>> f"{sparsity_loss(torch.tensor([30.0, 80.0]), [100, 100], target=0.5, epoch=50, num_epochs=100).item():.4f}"
        '0.0025'

    Args:
        used: multiply-adds used by each block, (blocks,) or a sequence of one-element tensors; has the gradient.
        total: multiply-adds of each block with all positions open.
        target: t, from 0 to 1.
        epoch: from 0; fractions are fine.
        num_epochs: of the training, at least 1.

    Raises:
        ValueError: target, epoch or num_epochs is out of range, or used and total differ in number.
    """
    if not 0 <= target <= 1:
        raise ValueError(f"target must be between 0 and 1, got {target}")
    if num_epochs < 1 or epoch < 0:
        raise ValueError(f"epoch must be at least 0 and num_epochs at least 1, got {epoch} and {num_epochs}")
    used = used if isinstance(used, Tensor) else torch.stack(tuple(used))
    total = torch.as_tensor(total, dtype=used.dtype, device=used.device)
    if used.ndim != 1 or used.shape != total.shape or not len(used):
        raise ValueError(f"used and total must be one number a block, got {tuple(used.shape)} and {tuple(total.shape)}")
    strictness = math.cos(min(epoch / (0.33 * num_epochs), 1) * math.pi / 2) ** 2
    upper, lower = 1 - strictness * (1 - target), strictness * target
    share = used / total
    blocks = (share - upper).clamp_min(0).square() + (lower - share).clamp_min(0).square()
    return (used.sum() / total.sum() - target).square() + blocks.mean()

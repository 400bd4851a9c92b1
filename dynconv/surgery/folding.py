"""What no image has a part in becomes one plain convolution."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..functional import mix_kernels
from ..layers.attention import FixedAttention
from ..layers.kernel_stack import KernelStack
from ..layers.omni import ODConv2d
from .batch_norm import fuse_batch_norms
from .replace import replace_modules

__all__ = ["fold"]


def fold(
    model: nn.Module,
    attention: str | Tensor | Mapping[str, Tensor] | None = None,
    *,
    batch_norm: bool = False,
    inplace: bool = False,
) -> nn.Module:
    r"""Replace every mix of kernels that no image has a part in by the one plain convolution it equals.

    Reference: linearity of the convolution; batch norm as in https://arxiv.org/abs/1502.03167

    .. math:: W = \sum_k \pi_k W_k, \qquad b = \sum_k \pi_k b_k

    StaticMix layers fold exactly. A dynamic layer folds only where its attention is frozen: then the result equals the
    model under ``dynconv.probe.intervene`` with that attention, and no longer looks at the image.

    Example:
        >>> import torch
        >>> from dynconv import StaticMixConv2d
        >>> model = torch.nn.Sequential(StaticMixConv2d(3, 8, 3, num_kernels=4), torch.nn.BatchNorm2d(8)).eval()
        >>> fold(model, batch_norm=True)
        Sequential(
          (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
          (1): Identity()
        )

    Args:
        model: any module.
        attention: what dynamic layers are frozen at: None leaves them dynamic (unless their attention is a FixedAttention),
            "uniform" is 1/K each, a tensor (K,) is for all of them, a dict goes from names of layers to (K,), or for an
            ODConv2d to a dict from "kernels", "channels", "filters", "taps" to their weights.
        batch_norm: fuse every batch norm that alone takes a convolution's output into that convolution; needs eval mode
            and a model that torch.fx can trace.
        inplace: change ``model`` itself instead of a copy.

    Returns:
        The folded model.

    Raises:
        ValueError: attention has the wrong shape or an unknown name; batch norm is to be fused in training mode, or the
            model cannot be traced.
    """
    model = model if inplace else copy.deepcopy(model)
    stacks = {name: m for name, m in model.named_modules() if isinstance(m, KernelStack)}
    if isinstance(attention, Mapping) and attention.keys() - stacks.keys():
        raise ValueError(
            f"no layer is named {sorted(attention.keys() - stacks.keys())}; there are: {', '.join(stacks)}"
        )
    new = {stack: folded for name, stack in stacks.items() if (folded := _folded(stack, name, attention)) is not None}
    model = replace_modules(model, new)
    return fuse_batch_norms(model) if batch_norm else model


def _folded(stack: KernelStack, name: str, attention) -> nn.Module | None:
    """The plain convolution of one mix of kernels, or None where it stays dynamic."""
    if hasattr(stack, "fold"):
        return stack.fold()
    weights = attention.get(name) if isinstance(attention, Mapping) else attention
    if weights is None and isinstance(stack.attention, FixedAttention):
        weights = stack.attention.weights
    if weights is None or (isinstance(stack, ODConv2d) and not isinstance(weights, Mapping)):
        return None  # an ODConv needs all four of its attentions frozen
    if isinstance(weights, Mapping):
        return _folded_omni(stack, name, weights)
    if isinstance(weights, str):
        if weights != "uniform":
            raise ValueError(f"attention must be 'uniform', a tensor or a dict, got {weights!r}")
        weights = stack.weight.new_full((stack.num_kernels,), 1 / stack.num_kernels)
    if weights.shape != (stack.num_kernels,):
        raise ValueError(f"attention of {name!r} must be (K,) = ({stack.num_kernels},), got {tuple(weights.shape)}")
    with torch.no_grad():
        weights = weights.to(stack.weight)
        bias = None if stack.bias is None else mix_kernels(stack.bias, weights)
        return stack._plain_conv(mix_kernels(stack.weight, weights), bias)


def _folded_omni(stack: KernelStack, name: str, weights: Mapping[str, Tensor]) -> nn.Module:
    """An ODConv2d at the weights of each of its heads, (count,) each."""
    heads = stack.attention.heads if isinstance(stack, ODConv2d) else {}
    if weights.keys() != set(heads):
        raise ValueError(f"attention of {name!r} must be for {sorted(heads)}, got {sorted(weights)}")
    for over, head in heads.items():
        if weights[over].shape != (head.fc.out_features,):
            raise ValueError(f"{over} of {name!r} must be ({head.fc.out_features},), got {tuple(weights[over].shape)}")
    with torch.no_grad():
        kernel, bias = stack.kernels({over: w.to(stack.weight)[None] for over, w in weights.items()}, batch=1)
        return stack._plain_conv(kernel[0], None if bias is None else bias[0])

"""Softmax with a temperature: K numbers become K weights that sum to one.

Reference: Chen et al., *Dynamic Convolution: Attention over Convolution Kernels*, https://arxiv.org/abs/1912.03458
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

from ..native.definition import softmax

__all__ = ["check_temperature", "softmax_temperature"]


def check_temperature(temperature: float | Tensor) -> None:
    """Raise ValueError unless ``temperature`` is one finite number above zero, TypeError if it is no number at all.

    A CUDA tensor is not looked at (that would make the CPU wait for the GPU), nor is one under ``torch.compile`` or vmap.

    Example:
        >>> check_temperature(30.0)
        >>> check_temperature(0)
        Traceback (most recent call last):
        ValueError: temperature must be a finite number above 0, got 0

    Args:
        temperature: T, a number or one-element tensor.

    Raises:
        ValueError: it is 0, negative, NaN, infinite or more than one number; TypeError: it is no number.
    """
    if isinstance(temperature, Tensor):
        if temperature.numel() != 1:
            raise ValueError(f"temperature must be one number, got a tensor of shape {tuple(temperature.shape)}")
        if torch.compiler.is_compiling() or not temperature.is_cpu:
            return
        try:
            temperature = temperature.item()
        except RuntimeError:  # there is no one number: vmap has a batch of them, or a tracer's tensor has none
            return
    if type(temperature) is not float and not isinstance(temperature, Real):
        raise TypeError(f"temperature must be a number, got {temperature!r}")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be a finite number above 0, got {temperature}")


def softmax_temperature(logits: Tensor, temperature: float | Tensor, dim: int = -1) -> Tensor:
    r"""Softmax of ``logits / temperature``: positive weights that sum to one along ``dim``.

    Reference: Chen et al., *Dynamic Convolution: Attention over Convolution Kernels*, eq. 4,
    https://arxiv.org/abs/1912.03458

    .. math:: \pi_k = \frac{\exp(z_k / T)}{\sum_j \exp(z_j / T)}

    where z are the logits and T the temperature. T → ∞ gives every entry the same weight, T → 0 gives all of it to the
    largest logit. The largest logit is subtracted before dividing, so that even T = 1e-3 neither overflows nor gives NaN.

    Example:
        >>> import torch
        >>> softmax_temperature(torch.tensor([2.0, 1.0, 0.0]), temperature=1.0)
        tensor([0.6652, 0.2447, 0.0900])
        >>> softmax_temperature(torch.tensor([2.0, 1.0, 0.0]), temperature=30.0)
        tensor([0.3445, 0.3332, 0.3223])

    Args:
        logits: any shape, floating point.
        temperature: T, a number or one-element tensor, above 0 (no unit: it divides the logits).
        dim: the dimension that is normalised; for (B, K) logits the last one, the kernels — never the batch.

    Raises:
        ValueError: temperature is not a finite number above 0, or there is nothing along ``dim``.
        TypeError: logits are not floating point, or temperature is no number.
    """
    check_temperature(temperature)
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, got {logits.dtype}")
    if logits.size(dim) == 0:
        raise ValueError(f"logits must hold at least one entry along dim={dim}, got shape {tuple(logits.shape)}")
    return softmax(logits, temperature, dim)

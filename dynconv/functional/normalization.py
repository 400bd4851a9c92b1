"""Instance norm, layer norm, and the mixes of the two that U-GAT-IT learns.

Reference: Kim et al., *U-GAT-IT*, https://arxiv.org/abs/1907.10830
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

from .checks import check_maps, check_together

__all__ = ["adaptive_layer_instance_norm", "layer_instance_norm"]

PerChannel = TypeVar("PerChannel", float | Tensor, Tensor | None)


def layer_instance_norm(
    x: Tensor,
    rho: float | Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    eps: float = 1e-5,
    correction: int = 1,
) -> Tensor:
    r"""ILN: a mix of instance norm and layer norm for each channel, then a scale and a shift for each channel.

    Reference: Kim et al., section 3.1, https://arxiv.org/abs/1907.10830

    .. math:: y = \gamma_c \big(\rho_c\, \hat x^I + (1 - \rho_c)\, \hat x^L\big) + \beta_c, \qquad
        \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}

    where the mean and variance of :math:`\hat x^I` are over the positions of one channel of one image, those of
    :math:`\hat x^L` over all channels and positions of one image. rho = 1 is instance norm, which forgets how strong a
    channel was; rho = 0 is layer norm, which keeps that.

    Example:
        >>> import torch
        >>> x = torch.randn(2, 6, 8, 8)
        >>> y = layer_instance_norm(x, rho=0.0, correction=0)
        >>> bool(torch.allclose(y, torch.nn.functional.layer_norm(x, x.shape[1:]), atol=1e-5))
        True

    Args:
        x: (B, C, *S), floating point; at least one spatial dimension, B may be 0.
        rho: a number, (C,) or (1, C, 1, …); 0 … 1, which is not looked at here: the layers clamp theirs.
        gamma, beta: (C,) or (1, C, 1, …); None for 1 and 0.
        eps: added to the variances, in their unit.
        correction: what the variances' divisor is less than the number of values: 1 as in the reference, 0 as in
            ``torch.nn.InstanceNorm2d`` and ``torch.nn.LayerNorm``.

    Returns:
        as x, also in dtype; half precision is computed in float32.

    Raises:
        ValueError: shapes do not fit, or a channel has no more than ``correction`` positions: no variance is defined.
        TypeError: x is not floating point; RuntimeError: the tensors are on more than one device.
    """
    _check(x, correction)
    rho, gamma, beta = _per_channel(rho, x, "rho"), _per_channel(gamma, x, "gamma"), _per_channel(beta, x, "beta")
    return _mix(x, rho, gamma, beta, eps, correction)


def adaptive_layer_instance_norm(
    x: Tensor, rho: float | Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5, correction: int = 1
) -> Tensor:
    r"""AdaLIN: :func:`layer_instance_norm` with a scale and a shift for each channel of **each image**.

    Reference: Kim et al., eq. 1, https://arxiv.org/abs/1907.10830

    .. math:: y_b = \gamma_{bc} \big(\rho_c\, \hat x_b^I + (1 - \rho_c)\, \hat x_b^L\big) + \beta_{bc}

    This, not its attention, is what makes U-GAT-IT's weights depend on the image: gamma scales channels as a
    Squeeze-and-Excitation gate does, though with any sign and size.

    Example:
        >>> import torch
        >>> x, gamma, beta = torch.randn(2, 6, 8, 8), torch.ones(2, 6), torch.zeros(2, 6)
        >>> y = adaptive_layer_instance_norm(x, 1.0, gamma, beta, correction=0)
        >>> bool(torch.allclose(y, torch.nn.functional.instance_norm(x), atol=1e-5))
        True

    Args:
        x: (B, C, *S), floating point; at least one spatial dimension, B may be 0.
        rho: a number, (C,) or (1, C, 1, …), the same for every image; 0 … 1, which is not looked at here.
        gamma, beta: (B, C), one row an image.
        eps, correction: as in :func:`layer_instance_norm`.

    Returns:
        as x, also in dtype; half precision is computed in float32.

    Raises:
        ValueError: shapes do not fit, or a channel has no more than ``correction`` positions: no variance is defined.
        TypeError: x is not floating point; RuntimeError: the tensors are on more than one device.
    """
    _check(x, correction)
    for name, value in (("gamma", gamma), ("beta", beta)):
        if (given := tuple(value.shape)) != x.shape[:2]:
            raise ValueError(f"{name} must be (B, C) = {tuple(x.shape[:2])}, one row an image, got {given}")
    shape = (*x.shape[:2], *[1] * (x.ndim - 2))
    return _mix(x, _per_channel(rho, x, "rho"), gamma.reshape(shape), beta.reshape(shape), eps, correction)


def _mix(
    x: Tensor, rho: float | Tensor, gamma: Tensor | None, beta: Tensor | None, eps: float, correction: int
) -> Tensor:
    given = {"rho": rho, "gamma": gamma, "beta": beta}
    check_together(dtypes=False, x=x, **{name: v for name, v in given.items() if isinstance(v, Tensor) and v.ndim})
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # a variance needs more than bfloat16's 8 bits
    instance = _standardize(wide, 2, eps, correction)  # (B, C, *S)
    layer = _standardize(wide, 1, eps, correction)  # (B, C, *S)
    y = rho * instance + (1 - rho) * layer
    y = y if gamma is None else y * gamma
    return (y if beta is None else y + beta).to(x.dtype)


def _standardize(x: Tensor, first: int, eps: float, correction: int) -> Tensor:
    """Mean 0 and variance 1 over the dimensions from ``first`` on."""
    dims = tuple(range(first, x.ndim))
    centred = x - x.mean(dims, keepdim=True)
    count = math.prod(x.shape[first:])
    variance = centred.square().sum(dims, keepdim=True) / (count - correction)  # torch.var warns of a batch of 0
    return centred * torch.rsqrt(variance + eps)


def _per_channel(value: PerChannel, x: Tensor, name: str) -> PerChannel:
    """A number or None as it is, (C,) and (1, C, 1, …) as (1, C, 1, …)."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    channels = x.shape[1]
    whole = (1, channels, *[1] * (x.ndim - 2))
    if value.shape not in ((channels,), whole):
        raise ValueError(
            f"{name} must be (C,) = ({channels},) or {whole} for x {tuple(x.shape)}, got {tuple(value.shape)}"
        )
    return value.reshape(whole)


def _check(x: Tensor, correction: int) -> None:
    check_maps("x", x)
    positions = math.prod(x.shape[2:])
    if positions <= correction:
        raise ValueError(
            f"the variance of {positions} position(s) a channel is not defined with correction={correction}, "
            f"got x of shape {tuple(x.shape)}"
        )

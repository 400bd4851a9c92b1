"""ILN and AdaLIN: each channel learns how much instance norm and how much layer norm it wants.

Reference: Kim et al., *U-GAT-IT*, section 3.1, https://arxiv.org/abs/1907.10830
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.types import Device

from ..functional.checks import check_counts
from ..functional.normalization import adaptive_layer_instance_norm, layer_instance_norm
from .layer import Layer

__all__ = ["ILN", "AdaLIN"]


class _UnitClamp(torch.autograd.Function):
    """Clamp to 0 … 1, with a gradient that outside leads back in.

    torch.clamp has no gradient outside: a rho that an optimiser carried over the edge would stay there. Handing every
    gradient on (straight-through) would let it walk ever further away. So outside, of the descent directions, the one
    that leads back passes and the one that leads away does not. Nothing is written into the parameter: an in-place
    clamp would break the backward pass of a layer that was called twice.
    """

    @staticmethod
    def forward(rho: Tensor) -> Tensor:
        return rho.clamp(0.0, 1.0)  # as integers, torch 2.8 cannot export them to ONNX

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (rho,) = ctx.saved_tensors
        leads_away = ((rho < 0) & (gradient > 0)) | ((rho > 1) & (gradient < 0))  # descent steps against the gradient
        return gradient.masked_fill(leads_away, 0)


class _Mix(Layer):
    """What ILN and AdaLIN share: parameters (1, C, 1, 1), of which ``rho`` is one."""

    initial: ClassVar[Mapping[str, float]]  # of the parameters
    rho: nn.Parameter

    def __init__(
        self, num_features: int, eps: float = 1e-5, device: Device = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        check_counts(num_features=num_features)
        self.num_features, self.eps = num_features, eps
        # four dimensions, as reference checkpoints have them; any number of spatial ones is served all the same
        for name, value in self.initial.items():
            start = torch.full((1, num_features, 1, 1), value, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(start))

    def reset_parameters(self) -> None:
        """The parameters of the beginning: for ILN a layer norm without scale and shift, for AdaLIN its rho."""
        for name, value in self.initial.items():
            nn.init.constant_(getattr(self, name), value)

    def bounded_rho(self) -> Tensor:
        """The rho in use, (C,): the parameter, clamped to 0 … 1."""
        bounded: Tensor = _UnitClamp.apply(self.rho)
        return bounded.flatten()

    def _check(self, x: Tensor) -> None:
        if x.ndim < 3 or x.shape[1] != self.num_features:
            raise ValueError(f"{type(self).__name__} expects (B, {self.num_features}, *spatial), got {tuple(x.shape)}")

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps:g}"


class ILN(_Mix):
    r"""Instance norm and layer norm, mixed for each channel, with a learned scale and shift.

    Reference: Kim et al., section 3.1, https://arxiv.org/abs/1907.10830

    .. math:: y = \gamma_c \big(\rho_c\, \mathrm{IN}(x) + (1 - \rho_c)\, \mathrm{LN}(x)\big) + \beta_c

    It starts at rho = 0, a layer norm. The bound of rho is part of the layer, not of the training loop: whatever the
    parameter holds, 0 … 1 is what is used, and from outside the gradient leads back in.

    Example:
        >>> import torch
        >>> ILN(6)(torch.randn(2, 6, 8, 8)).shape
        torch.Size([2, 6, 8, 8])

    Args:
        num_features: C.
        eps: added to the variances.

    Shape:
        (B, C, *spatial) → the same. Parameters: ``rho``, ``gamma``, ``beta``, each (1, C, 1, 1).

    Raises:
        ValueError: the input's channels do not fit, or it has a single position a channel.
        TypeError, RuntimeError: the input's dtype or device does not fit.
    """

    initial: ClassVar = {"rho": 0.0, "gamma": 1.0, "beta": 0.0}
    gamma: nn.Parameter
    beta: nn.Parameter

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return layer_instance_norm(x, self.bounded_rho(), self.gamma.flatten(), self.beta.flatten(), self.eps)


class AdaLIN(_Mix):
    r"""Instance norm and layer norm, mixed for each channel, with a scale and shift given for each image.

    Reference: Kim et al., eq. 1, https://arxiv.org/abs/1907.10830

    .. math:: y_b = \gamma_{bc} \big(\rho_c\, \mathrm{IN}(x_b) + (1 - \rho_c)\, \mathrm{LN}(x_b)\big) + \beta_{bc}

    It starts at rho = 0.9, close to an instance norm. The bound of rho is part of the layer, as in :class:`ILN`.

    Example:
        >>> import torch
        >>> x, gamma, beta = torch.randn(2, 6, 8, 8), torch.randn(2, 6), torch.randn(2, 6)
        >>> AdaLIN(6)(x, gamma, beta).shape
        torch.Size([2, 6, 8, 8])

    Args:
        num_features: C.
        eps: added to the variances.

    Shape:
        x (B, C, *spatial), gamma (B, C), beta (B, C) → as x. Parameter: ``rho`` (1, C, 1, 1).

    Raises:
        ValueError: a shape does not fit, or x has a single position a channel.
        TypeError: x is not floating point.
    """

    initial: ClassVar = {"rho": 0.9}

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        self._check(x)
        return adaptive_layer_instance_norm(x, self.bounded_rho(), gamma, beta, self.eps)

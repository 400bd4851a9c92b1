"""K kernels of one geometry: the parameters that `StaticMixConv*` and `DynamicConv*` share."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict

import torch
from torch import Tensor, nn
from torch.types import Device

from ..functional import METHODS, PADDING_MODES
from ..functional.checks import check_counts, check_together, sizes
from ..functional.methods import FORMER
from ..native.operation import tracing
from .inputs import refuse_torchscript
from .layer import Factory, Layer
from .same import SameConv1d, SameConv2d, SameConv3d, holding

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__: list[str] = []

PLAIN: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SAME: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: SameConv1d, 2: SameConv2d, 3: SameConv3d}


class Geometry(TypedDict):
    """The keyword arguments that `functional.conv` and `functional.dynamic_conv` share."""

    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str


class Options(TypedDict, total=False):
    """What the families take besides the arguments of nn.ConvNd and K; which of it, and its defaults, says `_weigh`."""

    temperature: float
    reduction: int
    min_hidden: int
    attention: nn.Module | None
    method: str


class KernelStack(Layer):
    """``weight`` (K, O, C/groups, *kernel) and ``bias`` (K, O), with nn.ConvNd's arguments, geometry and initialisation.

    The constructor is that of all families. Each says in ``_weigh`` what else it takes, and where the K weights of its
    mix come from.
    """

    spatial_dims: ClassVar[int]
    mixes_kernels: ClassVar[bool] = True  # `attention` weighs the K kernels
    weight: nn.Parameter
    bias: nn.Parameter | None
    attention: nn.Module
    __signature__: ClassVar[inspect.Signature]  # notebooks show it

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        num_kernels: int = 4,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, out_channels=out_channels, groups=groups, num_kernels=num_kernels)
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
            if value % groups:
                raise ValueError(f"{name} must be divisible by groups={groups}, got {value}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"padding must be integers, 'same' or 'valid', got {padding!r}")
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {PADDING_MODES}, got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        n = self.spatial_dims
        self.kernel_size = sizes(kernel_size, n, "kernel_size", 1)
        self.stride, self.dilation = sizes(stride, n, "stride", 1), sizes(dilation, n, "dilation", 1)
        self.padding = padding if isinstance(padding, str) else sizes(padding, n, "padding", 0)
        self.padding_mode, self.num_kernels = padding_mode, num_kernels
        shape = (num_kernels, out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(shape[:2], device=device, dtype=dtype)) if bias else None
        self.reset_parameters()
        taken = inspect.signature(self._weigh).parameters
        if unknown := options.keys() - taken.keys():
            name, known = type(self).__name__, ", ".join(("num_kernels", *taken))
            raise TypeError(f"{name} takes no {min(unknown)}; besides nn.ConvNd's arguments it takes {known}")
        self._weigh(**options)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__signature__ = _signature(cls)

    def _weigh(self, *args: Any, **options: Any) -> None:
        """Make what weighs the kernels. A family names its options here, with their defaults."""
        raise NotImplementedError(f"{type(self).__name__} has no _weigh")

    def reset_parameters(self) -> None:
        """Draw each kernel and its bias as nn.ConvNd draws its own."""
        # Fan-in must be that of one kernel: torch's kaiming_uniform_ with a = √5, given the stack, would take O for C.
        # The whole stack is drawn at once, for FSDP may have cut it along K.
        bound = 1 / math.sqrt(math.prod(self.weight.shape[2:]))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # model.to(memory_format=torch.channels_last) is meant for images: a stack of kernels has another number of
        # dimensions, and what mixes its kernels reads them one after the other. As a matrix it is left as it is.
        def leave_format(t: Tensor) -> Tensor:
            return fn(t.flatten(1)).unflatten(1, t.shape[1:]) if t.shape == shape else fn(t)

        shape = (self.num_kernels, self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        super()._apply(leave_format, recurse)  # type: ignore[no-untyped-call]
        return self

    def _factory(self) -> Factory:
        return {"device": self.weight.device, "dtype": self.weight.dtype}

    def _check_method(self, method: str, known: Sequence[str] = METHODS) -> str:
        if FORMER.get(method, method) not in ("auto", *known):
            raise ValueError(f"method must be 'auto' or one of {', '.join(map(repr, known))}, got {method!r}")
        return FORMER.get(method, method)

    def _as_batch(self, x: Tensor) -> tuple[Tensor, bool]:
        """Check x as nn.ConvNd would, and give one image without a batch dimension one."""
        unbatched = x.ndim == self.spatial_dims + 1
        batch = x.unsqueeze(0) if unbatched else x
        if batch.ndim != self.spatial_dims + 2 or batch.shape[1] != self.in_channels:
            sizes = ", ".join("DHW"[-self.spatial_dims :])
            raise ValueError(
                f"{type(self).__name__} expects (B, {self.in_channels}, {sizes}) or ({self.in_channels}, {sizes}), "
                f"got {tuple(x.shape)}"
            )
        if (x.dtype, x.device) != ((weight := self.weight).dtype, weight.device):
            if not x.is_floating_point():
                raise TypeError(f"{type(self).__name__} expects floating point input, got {x.dtype}")
            check_together(x=x, weight=weight)
        if tracing() and getattr(self.attention, "batched", True):
            refuse_torchscript(self)
        return batch, unbatched

    def geometry(self) -> Geometry:
        """The keyword arguments that `functional.conv` and `functional.dynamic_conv` share."""
        return Geometry(
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=self.padding_mode,
        )

    def _plain_conv(self, weight: Tensor, bias: Tensor | None) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
        """An nn.ConvNd of this geometry that holds the given kernel (a subclass, where torch's cannot pad so)."""
        refused = self.padding == "same" and max(self.stride) > 1
        geometry: dict[str, Any] = {**self.geometry(), "padding": 0 if refused else self.padding}
        conv = holding((SAME if refused else PLAIN)[self.spatial_dims], weight, bias, **geometry)
        conv.padding = self.padding
        return conv.train(self.training)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        defaults = {"padding": (0,) * self.spatial_dims, "dilation": (1,) * self.spatial_dims, "groups": 1}
        parts += [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        parts += ["bias=False"] if self.bias is None else []
        parts += [f"padding_mode={self.padding_mode}"] if self.padding_mode != "zeros" else []
        return ", ".join([*parts, f"num_kernels={self.num_kernels}"])


def _signature(family: type[KernelStack]) -> inspect.Signature:
    """What a notebook shows for a family: the common arguments, then those of its own ``_weigh``."""
    given = inspect.signature(family.__init__).parameters.values()
    own = inspect.signature(family._weigh).parameters.values()
    if family.__init__ is not KernelStack.__init__ or any(p.kind is p.VAR_KEYWORD for p in own):
        return inspect.Signature(list(given)[1:])
    return inspect.Signature([*list(given)[1:-1], *list(own)[1:]])

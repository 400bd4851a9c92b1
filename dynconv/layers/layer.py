"""What all layers share: a call whose type is known, one step in a graph of torch.fx, checkpoints of other implementations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Protocol, TypedDict, TypeVar

import torch
from torch import Tensor, nn
from torch.types import Device

from .checkpoints import flatten_pointwise, rename

__all__: list[str] = []

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Factory(TypedDict):
    """What torch calls the factory arguments: where parameters lie, and their type."""

    device: Device
    dtype: torch.dtype | None


class _HasForward(Protocol[P, R]):
    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


class TypedModule(nn.Module):
    """A module whose call has the type of its ``forward``; nn.Module's own returns Any."""

    if TYPE_CHECKING:

        @property
        def __call__(self: _HasForward[P, R]) -> Callable[P, R]: ...  # type: ignore[override]


class Layer(TypedModule):
    """A module that torch.fx takes as it is, like those of torch.nn: its checks and methods look at real shapes."""

    their_names: ClassVar[Mapping[str, str]] = {}  # what checkpoints of other implementations call its parts: ours
    pointwise: ClassVar[tuple[str, ...]] = ()  # linear layers that are 1×1 convolutions there

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "forward" in vars(cls):
            cls.forward = _as_one_step(cls.forward)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
        rename(state, prefix, self.their_names)
        flatten_pointwise(state, prefix, self.pointwise)
        super()._load_from_state_dict(state, prefix, *args)


def _as_one_step(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Let a tracer of torch.fx write down the call of the module instead of what ``forward`` does."""

    @functools.wraps(forward)
    def traced_or_run(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        # without arguments, its parameters say who is asking
        given = (*args, *kwargs.values()) or [getattr(module, name) for name in module._parameters]
        for value in given:
            if isinstance(value, torch.fx.Proxy):
                return _one_step(value.tracer, module, args, kwargs)
        return forward(module, *args, **kwargs)

    return traced_or_run


def _one_step(tracer: Any, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if module is getattr(tracer, "root", None):
        name = type(module).__name__
        raise TypeError(
            f"torch.fx cannot look inside {name}: trace a model that has one, such as nn.Sequential({name}(...))"
        )
    return tracer.create_proxy("call_module", tracer.path_of_module(module), args, kwargs)

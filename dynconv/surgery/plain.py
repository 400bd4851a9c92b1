"""Which plain convolution a subclass of nn.ConvNd computes, found by running it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..functional import PADDING_MODES, conv
from .replace import copied

__all__: list[str] = []

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
CALLED = ("forward", "_conv_forward", "__call__", "_call_impl")


@dataclass(frozen=True)
class Plain:
    """A plain convolution: its kernel, and how its input is padded."""

    weight: Tensor
    bias: Tensor | None
    padding: Sequence[int] | str
    padding_mode: str
    note: str = ""


def plain(module: nn.Module) -> Plain:
    """The plain convolution that ``module`` computes.

    nn.ConvNd and subclasses that change no more than ``__init__`` say it themselves. One with a forward of its own (timm's
    Conv2dSame and StdConv2d) is run on random images of several sizes, in both modes: it must come down to one
    convolution whose kernel is its parameter, or that standardised.

    Raises:
        TypeError: it is no convolution, or computes something else.
    """
    if not isinstance(module, CONVS):
        raise TypeError(
            f"only nn.Conv1d, nn.Conv2d, nn.Conv3d and their subclasses can be replaced, got {type(module).__name__}"
        )
    family = next(base for base in CONVS if isinstance(module, base))
    said = Plain(module.weight, module.bias, module.padding, module.padding_mode)
    if all(getattr(type(module), name) is getattr(family, name) for name in CALLED):
        return said
    kinds = [parameter.kind for parameter in signature(module.forward).parameters.values()]
    if kinds not in ([Parameter.POSITIONAL_ONLY], [Parameter.POSITIONAL_OR_KEYWORD]):
        raise _refused(module, "takes more than an image")
    if module._modules or module._buffers:
        raise _refused(module, "uses modules or buffers of its own")
    return _observed(module, said)


def _refused(module: nn.Module, what: str) -> TypeError:
    return TypeError(f"its forward is its own and {what}; got {type(module).__name__}")


class _Convolutions(TorchDispatchMode):
    """Keeps the arguments of every convolution that runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.seen.append(args)
        return func(*args, **(kwargs or {}))


def _observed(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, said: Plain) -> Plain:
    if module.weight.is_meta:
        raise _refused(module, "cannot be run on the meta device")
    trial, runs = copied(module), list[tuple[Tensor, Tensor, Any]]()
    for training, more in itertools.product((False, True), (1, 2)):
        x = _image(module, more)
        with torch.no_grad(), _Convolutions() as convolutions:
            try:
                y = trial.train(training)(x)
            except Exception as error:
                raise _refused(module, f"fails on random images: {error}") from error
        if len(convolutions.seen) != 1 or not isinstance(y, Tensor):
            raise _refused(module, "is not just one convolution")
        runs.append((x, y, convolutions.seen[0]))
    kernel, bias, stride, given, dilation, *_ = runs[0][2][1:]
    if any(run[2][1].shape != module.weight.shape or not torch.equal(run[2][1], kernel) for run in runs):
        raise _refused(module, "has another kernel at each call, or one of another shape than its weight")
    note = _note(module, kernel)
    for mode, padding in itertools.product(PADDING_MODES, (given, "same", said.padding)):
        if all(_equal(y, x, kernel, bias, (stride, padding, dilation, module.groups), mode) for x, y, _ in runs):
            weight = kernel if note else said.weight
            return Plain(weight, said.bias if bias is not None else None, padding, mode, note)
    raise _refused(module, "does more than a convolution")


def _image(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, more: int) -> Tensor:
    generator = torch.Generator().manual_seed(more)
    sizes = zip(module.kernel_size, module.dilation, module.stride, strict=True)
    shape = [2, module.in_channels, *(d * (k - 1) + 1 + 2 * s + more for k, d, s in sizes)]
    return torch.randn(shape, generator=generator, device="cpu").to(module.weight)


def _note(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, kernel: Tensor) -> str:
    """Nothing where the kernel is the parameter; that it was standardised if each filter is a multiple of itself less its mean."""
    if torch.equal(kernel, module.weight):
        return ""
    mine, its = (t.detach().flatten(1).double() for t in (module.weight, kernel))
    centred = mine - mine.mean(1, keepdim=True)
    scale = (its * centred).sum(1, keepdim=True) / centred.square().sum(1, keepdim=True).clamp_min(1e-30)
    if not torch.allclose(scale * centred, its, atol=1e-3 * its.abs().max().item()):
        raise _refused(module, "computes its kernel from its weight")
    return "standardised once, no longer at each call"


def _equal(y: Tensor, x: Tensor, kernel: Tensor, bias: Tensor | None, geometry: Any, mode: str) -> bool:
    try:
        z = conv(x, kernel, bias, *geometry, padding_mode=mode)
    except (ValueError, RuntimeError):
        return False
    return y.shape == z.shape and bool((y - z).abs().max() <= torch.finfo(y.dtype).eps ** 0.5 * z.abs().max())

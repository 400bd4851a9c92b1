"""A model's output on a sample, to compare what it computes before and after a change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from ..cost import Sample, call
from ..layers.inputs import tensors
from .replace import copied

__all__: list[str] = []


def output(model: nn.Module, sample: Sample) -> list[Tensor]:
    """Every tensor that the model puts out in eval mode, without a trace: modes and random numbers stay as they were."""
    with _evaluated(model), torch.no_grad(), torch.random.fork_rng(), torch.compiler.set_stance("force_eager"):
        torch.manual_seed(0)
        return [tensor.detach().clone() for tensor in tensors(call(model, sample))]


def called(model: nn.Module, sample: Sample, modules: Mapping[str, nn.Module]) -> set[str]:
    """Which of ``modules`` the model calls, by name."""
    seen: set[str] = set()
    with ExitStack() as stack:
        for name, module in modules.items():
            hook = module.register_forward_pre_hook(lambda module, args, name=name: seen.add(name))
            stack.callback(hook.remove)
        output(model, sample)
    return seen


def difference(before: list[Tensor], after: list[Tensor]) -> float:
    """The largest difference in units of the largest value, over what rounding explains: above 1 it is another function."""
    if [t.shape for t in before] != [t.shape for t in after]:
        return float("inf")
    return max((_difference(a, b) for a, b in zip(before, after, strict=True) if a.is_floating_point()), default=0.0)


def _difference(a: Tensor, b: Tensor) -> float:
    if not torch.equal(a.isfinite(), b.isfinite()):
        return float("inf")
    rounding: float = min(0.1, 10 * torch.finfo(a.dtype).eps ** 0.5)
    a, b = a[a.isfinite()].double(), b[b.isfinite()].double()
    if not len(a):
        return 0.0
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) / rounding


UNSTEADY = (
    "the model's own output jumps if its parameters are rounded anew: whether it computes the same cannot be told"
)


def steady(model: nn.Module, sample: Sample, expected: list[Tensor]) -> bool:
    """Whether the output stays if parameters are rounded anew: a model that sorts by its scores may exchange whole boxes."""
    again, generator = copied(model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in filter(torch.is_floating_point, again.parameters()):
            p.add_(8 * torch.finfo(p.dtype).eps * p * torch.randn(p.shape, generator=generator).to(p))
    return difference(expected, output(again, sample)) <= 1


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False  # and not .eval(): a module may do more than change its mode there
        yield
    finally:
        for module, training in modes:
            module.training = training

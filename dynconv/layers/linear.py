"""nn.Linear whose bits are the same for any number of threads."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from .. import native

__all__: list[str] = []


class Linear(nn.Linear):
    """nn.Linear by the C++, where that is built: torch's own product cuts its sums by the threads there are."""

    def forward(self, input: Tensor) -> Tensor:
        return native.perceptron(input, self.weight, self.bias) if input.ndim == 2 else super().forward(input)


def bare(*layers: nn.Module, kind: type[nn.Module] = Linear) -> bool:
    """Whether calling these is no more than their products: nobody has put another layer, forward, hook or parametrization there."""
    for layer in layers:  # in words that older compilers of torch's can follow, too
        if type(layer) is not kind or "forward" in layer.__dict__:
            return False
        hooked = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
        taken_away = kind is Linear and len(layer._parameters) < 2  # its parameters, as sharding does
        if hooked or taken_away:
            return False
    return not _has_any_global_hook()

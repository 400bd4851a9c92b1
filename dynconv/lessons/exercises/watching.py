"""What an answer computes with: the operations that reach torch are counted, by whatever name they were called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["CONVOLUTIONS", "Limit", "Watched"]

CONVOLUTIONS = frozenset(
    [
        "convolution",
        "_convolution",
        "convolution_overrideable",
        "convolution_backward",
        "conv2d",
        "mkldnn_convolution",
        "cudnn_convolution",
        "miopen_convolution",
        "thnn_conv2d",
        "_slow_conv2d_forward",
        "_nnpack_spatial_convolution",
        "slow_conv3d",
        "slow_conv_transpose2d",
        "slow_conv_dilated2d",
        "conv_depthwise3d",
    ]
)


@dataclass(frozen=True)
class Limit:
    """How often an answer may use some operations in a case, and has to, and what to say of one that does otherwise."""

    operations: frozenset[str]  # torch's own names: "convolution", not conv2d, Conv2d or conv_transpose2d
    most: int
    says: str
    least: int = 0

    def holds(self, used: Counter[str]) -> bool:
        return self.least <= sum(used[operation] for operation in self.operations) <= self.most


class Watched:
    """A function, and how often it used each operation in the call that used it most.

    Reference: https://docs.pytorch.org/docs/stable/notes/extending.html#extending-torch-with-torch-dispatch

    Example:
        >>> import torch
        >>> doubled = Watched(lambda x: x + x)
        >>> doubled(torch.ones(2)), doubled.used["add"]
        (tensor([2., 2.]), 1)

    Args:
        function: any callable.
    """

    def __init__(self, function: Callable) -> None:
        self.function = function
        self.used: Counter[str] = Counter()

    def __call__(self, *arguments: Any) -> Any:
        with _Counting() as counting:
            try:
                return self.function(*arguments)
            finally:
                self.used |= counting.calls  # the larger of both, operation by operation

    def breaks(self, limits: tuple[Limit, ...]) -> str:
        """What is said of the first limit that does not hold; "" where all do."""
        return next((limit.says for limit in limits if not limit.holds(self.used)), "")


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

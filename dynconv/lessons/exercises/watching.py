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
    """That an answer may use some operations ``most`` times a case, and what to say where it uses them more often."""

    operations: frozenset[str]  # torch's own names: "convolution", not conv2d, Conv2d or conv_transpose2d
    most: int
    says: str


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

    def over(self, limits: tuple[Limit, ...]) -> str:
        """What is said of the first limit that it went over; "" where it went over none."""
        return next((limit.says for limit in limits if sum(self.used[o] for o in limit.operations) > limit.most), "")


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

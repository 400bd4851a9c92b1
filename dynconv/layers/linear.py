"""nn.Linear whose bits are the same for any number of threads."""

from __future__ import annotations

from torch import Tensor, nn

from .. import native

__all__: list[str] = []


class Linear(nn.Linear):
    """nn.Linear by the C++, where that is built: torch's own product cuts its sums by the threads there are."""

    def forward(self, input: Tensor) -> Tensor:
        return native.linear(input, self.weight, self.bias)

"""nn.Linear whose bits are the same for any number of threads."""

from __future__ import annotations

from torch import Tensor, nn

from .. import native
from ..functional.methods import backends

__all__: list[str] = []


class Linear(nn.Linear):
    """nn.Linear by the C++, where that is built and nobody looks on: torch's own product cuts its sums by the threads there are.

    To a convolution a batch is one image with as many positions, and the matrix a kernel of 1 × 1.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 2 or not native.unwatched() or input.shape[1] != self.in_features or 0 in input.shape:
            return super().forward(input)
        image = input.T.view(1, self.in_features, 1, -1)  # (1, C, 1, B)
        kernel = self.weight.view(1, self.out_features, self.in_features, 1, 1)
        bias = None if self.bias is None else self.bias.view(1, -1)
        if "native" not in backends(image, kernel, *(() if bias is None else (bias,))):
            return super().forward(input)
        y = native.OPERATION(image, kernel, image.new_ones(1, 1), bias, (1, 1), (0, 0), (1, 1), 1)  # (1, O, 1, B)
        return y.view(self.out_features, -1).T  # (B, O)

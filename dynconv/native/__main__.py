"""Build the C++ library, and compare it with PyTorch's operations: python -m dynconv.native"""

from __future__ import annotations

import sys

import torch

from . import OPERATION, definition
from .building import build


def main() -> int:
    try:
        place = build()
    except (OSError, RuntimeError) as error:
        print(f"Not built, and not needed: the layers go on with PyTorch's own operations. Reason: {error}")
        return 1
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((4, 20, 9, 9), (3, 40, 20, 3, 3)))
    attention = torch.rand(4, 3, generator=generator)
    geometry = (1, 1), (1, 1), (1, 1), 1
    ours = OPERATION.outer(x, weight, attention, None, *geometry)
    theirs = definition.forward(x, weight, attention, *geometry)
    print(f"{place}: differs from torch's operations by at most {(ours - theirs).abs().max():.0e}")
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    return 0


if __name__ == "__main__":
    sys.exit(main())

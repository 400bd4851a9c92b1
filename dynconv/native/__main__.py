"""Build the C++ library, load it, and compare it with PyTorch's operations: python -m dynconv.native"""

from __future__ import annotations

import os
import sys
import warnings

import torch

from . import OPERATION, definition
from .building import build, library


def main() -> int:
    try:
        path = build()
    except (OSError, RuntimeError) as error:
        print(f"Not built, and not needed: the layers go on with PyTorch's own operations. Reason: {error}")
        return 1
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        loaded = library()
    if loaded is None:
        reasons = [str(warning.message) for warning in said] or [f"DYNCONV_NATIVE={os.environ.get('DYNCONV_NATIVE')}"]
        print(f"{path}: built, and not loaded: PyTorch's own operations serve. Reason: {reasons[0]}")
        return 1
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((4, 20, 25, 25), (3, 40, 20, 3, 3)))
    attention = torch.rand(4, 3, generator=generator)
    given = x, weight, attention, torch.randn(3, 40, generator=generator), (1, 1), (1, 1), (1, 1), 1
    ours, theirs = OPERATION(*given), definition.forward(*given)
    print(f"{loaded._name}: loaded; differs from torch's operations by at most {(ours - theirs).abs().max():.0e}")
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    return 0


if __name__ == "__main__":
    sys.exit(main())

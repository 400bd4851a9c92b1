"""dynconv: what makes a convolution dynamic, as exact PyTorch layers and as interactive lessons.

Reading order is dependency order: `native` (C++ for CPUs, never needed) → `functional` (the mathematics) → `layers` (one
family of modules a file) → `surgery`, `probe`, `cost` (whole models: change, look inside, count) → `schedule`; `lessons` holds
what only the notebooks need.
`import dynconv` brings the mathematics and the layers; the other rooms are imported by name where they are used.
"""

import sys

try:
    from . import functional, layers
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        f"dynconv needs PyTorch, and this Python ({sys.executable}) has none. Choose a kernel that has it, or install it "
        "(in a notebook: %pip install torch torchvision) and run this again",
        name="torch",
    ) from None
from .layers import *  # noqa: F403  the layers' names are the package's

__version__ = "0.1.0"
__all__ = [*layers.__all__, "functional", "layers"]

"""dynconv: what makes a convolution dynamic, as exact PyTorch layers and as interactive lessons.

Reading order is dependency order: `native` (the same in C++, where there is a compiler) → `functional` (the mathematics) →
`layers` (one family of modules a file) → `surgery`, `probe`, `cost` (whole models: change, look inside, count) → `schedule`
(the temperature's) → `lessons` (what only the notebooks need, with the extra ``lessons``).
`import dynconv` brings the mathematics and the layers; the other rooms are imported by name where they are used.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  a clone is imported by whatever Python a notebook runs on
    raise ImportError(f"dynconv needs Python 3.10 or newer; this is {sys.version.split()[0]} ({sys.executable})")
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

"""Dynamic convolution in C++ for CPUs: built once with the machine's own compiler, used wherever it is faster, never needed."""

from .building import build, library
from .convolution import backward, fits, forward, release

__all__ = ["backward", "build", "fits", "forward", "library", "release"]

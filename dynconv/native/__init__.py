"""Dynamic convolution in C++ for CPUs: built once with the machine's own compiler, used wherever it is faster, never needed.

The C++ is an operation of torch's (``torch.ops.dynconv.native``), and so is the definition that it is compared with
(``torch.ops.dynconv.grouped``): compiled models keep them, and counters see them.
"""

from . import definition
from .building import build, library
from .convolution import OPERATION, available, release, takes
from .operation import Operation, unwatched
from .scores import perceptron
from .sparse import gate_scores, skipping

GROUPED = Operation("grouped", definition.forward, definition.backward, "CompositeExplicitAutograd")

__all__ = [
    "GROUPED",
    "OPERATION",
    "available",
    "build",
    "gate_scores",
    "library",
    "perceptron",
    "release",
    "skipping",
    "takes",
    "unwatched",
]

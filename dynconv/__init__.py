"""dynconv: what makes a convolution dynamic, as exact PyTorch layers and as interactive lessons.

Reading order is dependency order: `functional` (the mathematics) → `layers` (one family of modules a file) →
`surgery` (whole models) → `data`, `train`, `figures` → `views` (the instruments) → `course` (the exercises).
`import dynconv` brings the mathematics and the layers; the other rooms are imported by name where they are used.
"""

from . import functional, layers
from .layers import (
    DynamicConv1d,
    DynamicConv2d,
    DynamicConv3d,
    KernelAttention,
    StaticMixConv1d,
    StaticMixConv2d,
    StaticMixConv3d,
)

__version__ = "0.1.0"
__all__ = [
    "DynamicConv1d",
    "DynamicConv2d",
    "DynamicConv3d",
    "KernelAttention",
    "StaticMixConv1d",
    "StaticMixConv2d",
    "StaticMixConv3d",
    "functional",
    "layers",
]

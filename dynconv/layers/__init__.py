"""One family of modules a file; `functional` holds their mathematics."""

from .attention import FixedAttention, KernelAttention, LearnedAttention
from .dynamic import DynamicConv1d, DynamicConv2d, DynamicConv3d
from .static_mix import StaticMixConv1d, StaticMixConv2d, StaticMixConv3d

__all__ = [
    "DynamicConv1d",
    "DynamicConv2d",
    "DynamicConv3d",
    "FixedAttention",
    "KernelAttention",
    "LearnedAttention",
    "StaticMixConv1d",
    "StaticMixConv2d",
    "StaticMixConv3d",
]

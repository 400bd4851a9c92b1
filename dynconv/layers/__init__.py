"""One family of modules a file; `functional` holds their mathematics."""

from .attention import FixedAttention, KernelAttention, LearnedAttention
from .cam import CAM, CAMAttention, CAMHead, CAMOutput
from .dynamic import DynamicConv1d, DynamicConv2d, DynamicConv3d
from .normalization import ILN, AdaLIN
from .static_mix import StaticMixConv1d, StaticMixConv2d, StaticMixConv3d
from .ugatit import (
    AdaLINBlock,
    AdaLINParameters,
    UGATITDiscriminator,
    UGATITDiscriminatorOutput,
    UGATITGenerator,
    UGATITGeneratorOutput,
)

__all__ = [
    "CAM",
    "ILN",
    "AdaLIN",
    "AdaLINBlock",
    "AdaLINParameters",
    "CAMAttention",
    "CAMHead",
    "CAMOutput",
    "DynamicConv1d",
    "DynamicConv2d",
    "DynamicConv3d",
    "FixedAttention",
    "KernelAttention",
    "LearnedAttention",
    "StaticMixConv1d",
    "StaticMixConv2d",
    "StaticMixConv3d",
    "UGATITDiscriminator",
    "UGATITDiscriminatorOutput",
    "UGATITGenerator",
    "UGATITGeneratorOutput",
]

"""One family of modules a file; `functional` holds their mathematics."""

from .attention import FixedAttention, KernelAttention, LearnedAttention
from .cam import CAM, CAMAttention, CAMHead, CAMOutput
from .cond import CondConv2d, Routing
from .dynamic import DynamicConv1d, DynamicConv2d, DynamicConv3d
from .normalization import ILN, AdaLIN
from .omni import ODConv2d, OmniAttention
from .spatial import SparseBlock, SparseCost, SpatialGate
from .squeeze_excitation import ChannelGate, SqueezeExcitation
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
    "ChannelGate",
    "CondConv2d",
    "DynamicConv1d",
    "DynamicConv2d",
    "DynamicConv3d",
    "FixedAttention",
    "KernelAttention",
    "LearnedAttention",
    "ODConv2d",
    "OmniAttention",
    "Routing",
    "SparseBlock",
    "SparseCost",
    "SpatialGate",
    "SqueezeExcitation",
    "StaticMixConv1d",
    "StaticMixConv2d",
    "StaticMixConv3d",
    "UGATITDiscriminator",
    "UGATITDiscriminatorOutput",
    "UGATITGenerator",
    "UGATITGeneratorOutput",
]

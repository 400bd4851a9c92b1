"""One family of modules a file; `functional` holds their mathematics."""

from .attention import FixedAttention, KernelAttention, LearnedAttention
from .branched import BranchedConv2d
from .cam import CAM, CAMAttention, CAMHead, CAMOutput
from .cond import CondConv2d, Routing
from .dynamic import DynamicConv1d, DynamicConv2d, DynamicConv3d
from .involution import Involution2d
from .mixed_operation import MixedOperation, ScalarMix
from .normalization import ILN, AdaLIN
from .omni import ODConv2d, OmniAttention
from .selective import BranchAttention, SelectiveKernel, SplitAttention
from .signed import SignedAttention
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
    "BranchAttention",
    "BranchedConv2d",
    "CAMAttention",
    "CAMHead",
    "CAMOutput",
    "ChannelGate",
    "CondConv2d",
    "DynamicConv1d",
    "DynamicConv2d",
    "DynamicConv3d",
    "FixedAttention",
    "Involution2d",
    "KernelAttention",
    "LearnedAttention",
    "MixedOperation",
    "ODConv2d",
    "OmniAttention",
    "Routing",
    "ScalarMix",
    "SelectiveKernel",
    "SignedAttention",
    "SparseBlock",
    "SparseCost",
    "SpatialGate",
    "SplitAttention",
    "SqueezeExcitation",
    "StaticMixConv1d",
    "StaticMixConv2d",
    "StaticMixConv3d",
    "UGATITDiscriminator",
    "UGATITDiscriminatorOutput",
    "UGATITGenerator",
    "UGATITGeneratorOutput",
]

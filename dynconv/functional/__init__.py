"""The mathematics as pure functions on tensors: no modules, no state.

Shapes, everywhere: B images, K kernels, C channels in, O channels out, *S the spatial sizes (one, two or three).
``weight`` is (K, O, C/groups, *kernel), ``attention`` is (B, K), ``bias`` is (K, O).
"""

from .convolution import METHODS, PADDING_MODES, conv, dynamic_conv
from .mixing import mix_kernels, mix_outputs
from .temperature import check_temperature, softmax_temperature

__all__ = [
    "METHODS",
    "PADDING_MODES",
    "check_temperature",
    "conv",
    "dynamic_conv",
    "mix_kernels",
    "mix_outputs",
    "softmax_temperature",
]

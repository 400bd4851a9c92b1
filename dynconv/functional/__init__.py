"""The mathematics as pure functions on tensors: no modules, no state.

Shapes, everywhere: B images, K kernels, C channels in, O channels out, ``*S`` the spatial sizes (one, two or three).
``weight`` is (K, O, C/groups, *kernel), ``attention`` is (B, K), ``bias`` is (K, O).
"""

from .cam import auxiliary_classifier_loss, class_activation_map, grad_cam, normalize_map
from .choice import choose_method
from .convolution import conv, conv_per_image, dynamic_conv
from .methods import METHODS
from .mixing import mix_kernels, mix_outputs
from .normalization import adaptive_layer_instance_norm, layer_instance_norm
from .padding import PADDING_MODES
from .sparse import dilate_gate, gumbel_sigmoid, sparsity_loss
from .temperature import check_temperature, softmax_temperature

__all__ = [
    "METHODS",
    "PADDING_MODES",
    "adaptive_layer_instance_norm",
    "auxiliary_classifier_loss",
    "check_temperature",
    "choose_method",
    "class_activation_map",
    "conv",
    "conv_per_image",
    "dilate_gate",
    "dynamic_conv",
    "grad_cam",
    "gumbel_sigmoid",
    "layer_instance_norm",
    "mix_kernels",
    "mix_outputs",
    "normalize_map",
    "softmax_temperature",
    "sparsity_loss",
]

"""The networks: how each is made, with random weights, and a small input for it.

Those that once fell short come first: subclasses of nn.Conv2d, weight standardisation, layers inside of modules that own
parameters, parts that torch.fx cannot trace, transposed convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ARCHITECTURES", "Architecture"]


@dataclass(frozen=True)
class Architecture:
    """One network: ``make()`` gives it, ``inputs()`` what it is run on in eval mode.

    Example:
        >>> resnet = ARCHITECTURES["torchvision/resnet18"]
        >>> resnet.inputs()[0].shape
        torch.Size([2, 3, 64, 64])
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Any, ...]]
    training: Callable[[], tuple[Any, ...]] | None = None  # where the inputs in training are others
    small: bool = False  # small enough for ONNX


def _images(*shape: int, count: int = 1) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator) for _ in range(count))


def _torchvision(name: str, **options: Any) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, weights=None, **options)


def _timm(name: str, **options: Any) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False, **options)


def _detection_images() -> tuple[Any, ...]:
    return ([image[0] for image in _images(1, 3, 96, 96, count=2)],)


def _detection_training() -> tuple[Any, ...]:
    target = {"boxes": torch.tensor([[8.0, 8.0, 60.0, 60.0]]), "labels": torch.tensor([1])}
    target["masks"] = torch.zeros(1, 96, 96, dtype=torch.uint8)
    target["masks"][:, 8:60, 8:60] = 1
    return (*_detection_images(), [dict(target), dict(target)])


def _detection(name: str) -> Architecture:
    make = partial(_torchvision, name, weights_backbone=None, num_classes=4, min_size=96, max_size=96)
    return Architecture(make, _detection_images, _detection_training)


def _ssd(name: str) -> Architecture:
    return Architecture(
        partial(_torchvision, name, weights_backbone=None, num_classes=4), _detection_images, _detection_training
    )


def _images_of(size: int) -> Callable[[], tuple[Tensor, ...]]:
    return partial(_images, 2, 3, size, size)


def _videos() -> tuple[Tensor, ...]:
    return _images(2, 3, 4, 32, 32)


def _classifiers(
    library: Callable[..., nn.Module], names: str, size: int = 64, **options: Any
) -> dict[str, Architecture]:
    made = {name: partial(library, name, num_classes=10, **options) for name in names.split()}
    return {
        f"{library.__name__[1:]}/{n}": Architecture(make, _images_of(size), small=n in SMALL)
        for n, make in made.items()
    }


SMALL = {"resnet18", "mobilenet_v2", "mobilenet_v3_small", "tf_mobilenetv3_small_minimal_100", "shufflenet_v2_x0_5"}
SMALL |= {"mobilenetv2_050", "lcnet_050", "ghostnet_050", "squeezenet1_1", "convnext_atto"}

ARCHITECTURES: dict[str, Architecture] = {
    **{
        f"torchvision/{name}": Architecture(partial(_torchvision, name, num_classes=10), _videos)
        for name in ("r3d_18", "mc3_18", "r2plus1d_18")
    },
    **_classifiers(_timm, "nf_regnet_b0 nf_resnet26 eca_nfnet_l0 resnetv2_50x1_bit"),
    **_classifiers(_torchvision, "convnext_tiny"),
    **_classifiers(_timm, "convnext_atto mambaout_femto edgenext_xx_small"),
    **_classifiers(_timm, "tf_efficientnet_b0 tf_mobilenetv3_small_minimal_100 tf_mixnet_s tf_efficientnetv2_b0"),
    **_classifiers(_timm, "mobilevit_xxs mobilevitv2_050", 64),
    "torchvision/fasterrcnn_mobilenet_v3_large_320_fpn": _detection("fasterrcnn_mobilenet_v3_large_320_fpn"),
    "torchvision/maskrcnn_resnet50_fpn": _detection("maskrcnn_resnet50_fpn"),
    "torchvision/retinanet_resnet50_fpn": _detection("retinanet_resnet50_fpn"),
    "torchvision/fcos_resnet50_fpn": _detection("fcos_resnet50_fpn"),
    "torchvision/ssdlite320_mobilenet_v3_large": _ssd("ssdlite320_mobilenet_v3_large"),
    "torchvision/raft_small": Architecture(
        partial(_torchvision, "raft_small"), partial(_images, 2, 3, 128, 128, count=2)
    ),
    **{
        f"torchvision/{name}": Architecture(
            partial(_torchvision, name, weights_backbone=None, num_classes=5), _images_of(64)
        )
        for name in ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
    },
    **_classifiers(_torchvision, "vit_b_32", 64, image_size=64),
    **_classifiers(
        _torchvision, "resnet18 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large shufflenet_v2_x0_5 squeezenet1_1"
    ),
    **_classifiers(_torchvision, "resnet50 densenet121 mnasnet0_5 efficientnet_b0"),
    **_classifiers(_torchvision, "efficientnet_v2_s regnet_y_400mf regnet_x_400mf alexnet swin_t", 64),
    **_classifiers(_torchvision, "googlenet", 96, init_weights=False),
    "torchvision/inception_v3": Architecture(  # in training its second head sees no fewer pixels
        partial(_torchvision, "inception_v3", num_classes=10, init_weights=False), _images_of(96), _images_of(299)
    ),
    **_classifiers(
        _timm, "mobilenetv2_050 lcnet_050 ghostnet_050 ghostnetv2_100 hardcorenas_a fbnetc_100 spnasnet_100"
    ),
    **_classifiers(
        _timm, "resnet26d resnetaa50 seresnet50 skresnet18 resnest14d res2net50_26w_4s gcresnext26ts ecaresnet26t"
    ),
    **_classifiers(_timm, "regnety_002 cspresnet50 dla34 vovnet39a"),
    **_classifiers(_timm, "repvgg_a0 mobileone_s0 fastvit_t8 repvit_m0_9 efficientvit_b0", 64),
    **_classifiers(_timm, "rexnet_100 tinynet_e semnasnet_075 mixnet_s efficientnet_es selecsls42b", 96),
    **_classifiers(_timm, "poolformer_s12 pvt_v2_b0 starnet_s1", 64),
    **_classifiers(_timm, "coatnet_pico_rw_224 maxvit_pico_rw_256", 64, img_size=64),
}

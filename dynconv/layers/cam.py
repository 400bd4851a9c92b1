"""Class activation maps: a head that has them, the tool that finds them in any net, and U-GAT-IT's attention.

References: Zhou et al., https://arxiv.org/abs/1512.04150; Kim et al., *U-GAT-IT*, https://arxiv.org/abs/1907.10830
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as spectrally_normed
from torch.types import Device

from ..functional.cam import class_activation_map, normalize_map
from ..functional.checks import check_counts
from .checkpoints import rename
from .inputs import check_images
from .layer import Factory, Layer
from .weighting import Weighting

__all__ = ["CAM", "CAMAttention", "CAMHead", "CAMOutput"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "none": nn.Identity,
}
POOLINGS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)


class CAMHead(Layer):
    r"""A classifier that can say where it looked: global average pooling, then one linear layer.

    Reference: Zhou et al., section 2, https://arxiv.org/abs/1512.04150

    .. math:: z_{bk} = \sum_c w_{kc}\, \mathrm{mean}(f_{bc}) + a_k = \mathrm{mean}(M_{bk}) + a_k

    where :math:`M_{bk} = \sum_c w_{kc} f_{bc}` is the map of class k. The weights are parameters, the same for every
    image; what differs from image to image is the map.

    Example:
        >>> import torch
        >>> head, features = CAMHead(16, num_classes=10), torch.randn(2, 16, 7, 7)
        >>> logits, maps = head(features), head.maps(features)
        >>> bool(torch.allclose(maps.mean((2, 3)) + head.classifier.bias, logits, atol=1e-6))
        True

    Args:
        in_channels: C of the features.
        num_classes: at least 1.
        bias: whether the linear layer has one.

    Shape:
        (B, C, *spatial) → (B, classes).

    Raises:
        ValueError: an argument or the features' shape does not fit; TypeError, RuntimeError: their dtype or device does not.
    """

    def __init__(self, in_channels: int, num_classes: int, bias: bool = True, device: Device = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, num_classes=num_classes)
        self.classifier = nn.Linear(in_channels, num_classes, bias, device=device, dtype=dtype)
        self.weighting = Weighting("classes", batched=False)

    def forward(self, features: Tensor) -> Tensor:
        check_images(self, features, self.classifier.in_features)
        weight = self.weighting(self.classifier.weight)  # (classes, C)
        return F.linear(features.flatten(2).mean(2), weight, self.classifier.bias)  # (B, classes)

    def maps(
        self, features: Tensor, class_index: int | Sequence[int] | Tensor | None = None, normalize: bool = False
    ) -> Tensor:
        """The map of each class (B, classes, *S), or of one class an image (B, *S); stretched to 0 … 1 on request."""
        check_images(self, features, self.classifier.in_features)
        maps = class_activation_map(features, self.weighting(self.classifier.weight), class_index)
        return normalize_map(maps, features.ndim - 2) if normalize else maps


class CAMOutput(NamedTuple):
    """What :class:`CAMAttention` returns: the features it weighed, its logits, and the map one looks at.

    Example:
        >>> import torch
        >>> output = CAMAttention(4)(torch.randn(2, 4, 5, 5))
        >>> bool(torch.equal(output.heatmap, output.attended.sum(1, keepdim=True)))
        True
    """

    attended: Tensor
    """(B, C, H, W)"""
    logit: Tensor
    """(B, 2), of the classifier on the means, and of that on the maxima"""
    heatmap: Tensor
    """(B, 1, H, W), the channel sum of ``attended``"""


class CAMAttention(Layer):
    r"""U-GAT-IT's attention: channels weighed with the weights of two auxiliary classifiers.

    Reference: Kim et al., section 3.1, https://arxiv.org/abs/1907.10830

    .. math:: y = \sigma(V [w^a \odot f,\; w^m \odot f] + b), \qquad
        z = \big(w^a \cdot \mathrm{mean}(f),\; w^m \cdot \max(f)\big)

    where V is a 1×1 convolution and :math:`\sigma` the activation; the logits z are trained to tell two kinds of images
    apart (:func:`dynconv.functional.auxiliary_classifier_loss`). The weights are parameters shared by all images:
    up to the activation the whole attention is the single 1×1 convolution that :meth:`fold` returns.

    Example:
        >>> import torch
        >>> attention, features = CAMAttention(16), torch.randn(2, 16, 8, 8)
        >>> attended, logit, heatmap = attention(features)
        >>> attended.shape, logit.shape, heatmap.shape
        (torch.Size([2, 16, 8, 8]), torch.Size([2, 2]), torch.Size([2, 1, 8, 8]))
        >>> bool(torch.allclose(torch.relu(attention.fold()(features)), attended, atol=1e-6))
        True

    Args:
        channels: C of the features.
        activation: "relu" (as in the generator), "leaky_relu" (slope 0.2, as in the discriminator) or "none".
        spectral_norm: divide each classifier's weight by its largest singular value. The logit and the attention then
            use the same divided weight. torch pickles such a module by its ``state_dict`` only.

    Shape:
        (B, C, H, W) → :class:`CAMOutput`. The paper's code calls the two weights ``gap_fc`` and ``gmp_fc``: both load.

    Raises:
        ValueError: an argument or the features' shape does not fit; TypeError, RuntimeError: their dtype or device does not.
    """

    def __init__(
        self, channels: int, activation: str = "relu", spectral_norm: bool = False, device: Device = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        check_counts(channels=channels)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(map(repr, ACTIVATIONS))}, got {activation!r}")
        factory: Factory = {"device": device, "dtype": dtype}
        self.channels = channels
        self.average = nn.Linear(channels, 1, bias=False, **factory)
        self.maximum = nn.Linear(channels, 1, bias=False, **factory)
        if spectral_norm:  # each stays a linear layer
            for layer in (self.average, self.maximum):
                spectrally_normed(layer)
        self.conv1x1 = nn.Conv2d(2 * channels, channels, 1, **factory)
        self.activation = ACTIVATIONS[activation]()
        self.weighting = Weighting("channels", batched=False)

    @property
    def weights(self) -> Tensor:
        """(2, C), the weights of the means and of the maxima; of both uses of them."""
        return torch.cat([self.average.weight, self.maximum.weight])

    def forward(self, features: Tensor) -> CAMOutput:
        check_images(self, features, self.channels, "H, W")
        # read once: in training mode each reading of a spectrally normed weight is a step of the power iteration
        weights = self.weighting(self.weights)  # (2, C)
        flat = features.flatten(2)  # (B, C, H·W)
        pooled = torch.stack([flat.mean(2), flat.amax(2)], dim=1)  # (B, 2, C)
        logit = (pooled * weights).sum(2)  # (B, 2)
        weighed = features.unsqueeze(1) * weights[..., None, None]  # (B, 2, C, H, W)
        attended = self.activation(self.conv1x1(weighed.flatten(1, 2)))  # (B, C, H, W)
        return CAMOutput(attended, logit, attended.sum(1, keepdim=True))

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
        rename(state, prefix, {"gap_fc": "average", "gmp_fc": "maximum"})
        super()._load_from_state_dict(state, prefix, *args)

    def fold(self) -> nn.Conv2d:
        """The plain 1×1 convolution that computes ``attended`` before the activation: V diag(wa) and V diag(wm), added.

        Raises TypeError if ``conv1x1`` is no plain convolution any more (:func:`dynconv.surgery.convert`).
        """
        if type(self.conv1x1) is not nn.Conv2d:
            raise TypeError(f"CAMAttention folds with a plain conv1x1, got {type(self.conv1x1).__name__}")
        with torch.no_grad():
            kernel = self.conv1x1.weight.unflatten(1, (2, self.channels))  # (C, 2, C, 1, 1)
            kernel = torch.einsum("otchw,tc->ochw", kernel, self.weighting(self.weights))  # (C, C, 1, 1)
            factory: Factory = {"device": kernel.device, "dtype": kernel.dtype}
            conv: nn.Conv2d = torch.nn.utils.skip_init(nn.Conv2d, self.channels, self.channels, 1, **factory)
            conv.load_state_dict({"weight": kernel, "bias": self.conv1x1.bias})
        return conv.train(self.training)


class CAM:
    r"""The class activation maps of any net that ends in global average pooling and one linear layer.

    Reference: Zhou et al., https://arxiv.org/abs/1512.04150

    .. math:: M_{bk} = \sum_c w_{kc}\, f_{bc}

    where f is what ``layer`` puts out and w is the weight of ``classifier``. Inside the ``with`` block one hook listens
    to the net; the net itself, its mode and its gradients included, stays as it is: call ``model.eval()`` yourself.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> _ = net.append(torch.nn.Linear(8, 10))
        >>> with CAM(net) as cam:
        ...     maps = cam.maps(torch.randn(2, 3, 16, 16), class_index=[3, 8])
        >>> maps.shape
        torch.Size([2, 14, 14])

    Args:
        model: the net.
        layer: the module, or its dotted name, whose output is pooled; None for the input of the last adaptive average
            pooling.
        classifier: the final ``nn.Linear``, or its dotted name; None for the last one in the model.

    Raises:
        ValueError: a layer is not found in the model, or the classifier is not linear.
    """

    def __init__(
        self, model: nn.Module, layer: nn.Module | str | None = None, classifier: nn.Module | str | None = None
    ) -> None:
        self.model = model
        self.layer = _last(model, POOLINGS, "layer") if layer is None else _find(model, layer, "layer")
        self.classifier = (
            _last(model, nn.Linear, "classifier") if classifier is None else _find(model, classifier, "classifier")
        )
        if not isinstance(self.classifier, nn.Linear):
            raise ValueError(f"classifier must be an nn.Linear, got {type(self.classifier).__name__}")
        self._takes_input = layer is None
        self._hook, self._features = None, None

    def __enter__(self) -> CAM:
        if self._hook is not None:
            raise RuntimeError("this CAM is in use already: leave its `with` block first")
        if self._takes_input:
            self._hook = self.layer.register_forward_pre_hook(lambda _, inputs: self._keep(inputs[0]))
        else:
            self._hook = self.layer.register_forward_hook(lambda _, inputs, output: self._keep(output))
        return self

    def __exit__(self, *error) -> None:
        self._hook.remove()
        self._hook, self._features = None, None

    def _keep(self, features):
        self._features = features  # returns None: the hook changes nothing

    def maps(self, images: Tensor, class_index: int | Sequence[int] | Tensor | None = None) -> Tensor:
        """Run the model on a batch of any size: maps (B, classes, *S), or (B, *S) for a ``class_index``."""
        if self._hook is None:
            raise RuntimeError("CAM listens inside its block only: `with CAM(model) as cam: cam.maps(images)`")
        self._features = None
        self.model(images)
        features, self._features = self._features, None  # let go of what may be a large tensor
        if features is None:
            raise RuntimeError(f"the model did not run the layer {type(self.layer).__name__}: there are no features")
        return class_activation_map(features, self.classifier.weight, class_index)


def _last(model, kind, name):
    found = [module for module in model.modules() if isinstance(module, kind)]
    if not found:
        kinds = "adaptive average pooling" if kind is POOLINGS else "nn.Linear"
        raise ValueError(f"{name} must be given: {type(model).__name__} has no {kinds} module")
    return found[-1]


def _find(model, wanted, name):
    modules = dict(model.named_modules())
    if isinstance(wanted, str) and wanted in modules:
        return modules[wanted]
    if any(module is wanted for module in modules.values()):
        return wanted
    raise ValueError(f"{name} must be a module of the model or its dotted name, got {wanted!r}")

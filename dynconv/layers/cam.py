"""Class activation maps: a head that has them, the tool that finds them in any net, and U-GAT-IT's attention.

References: Zhou et al., https://arxiv.org/abs/1512.04150; Kim et al., *U-GAT-IT*, https://arxiv.org/abs/1907.10830
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as spectrally_normed
from torch.types import Device

from ..functional.cam import class_activation_map, normalize_map
from ..functional.checks import check_choice, check_counts
from .hooks import hooked
from .inputs import check_images, tensors
from .layer import Factory, Layer
from .same import holding
from .weighting import Weighting

__all__ = ["CAM", "CAMAttention", "CAMHead", "CAMOutput"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "none": nn.Identity,
}
POOLINGS: tuple[type[nn.Module], ...] = (
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),  # over all of the image, as in nets for small ones
)
# what may come after the logits without changing whose they are
FINAL: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda logits: logits,
    lambda logits: logits.softmax(1),
    lambda logits: logits.log_softmax(1),
    lambda logits: logits.sigmoid(),
)


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

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
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

    their_names: ClassVar = {"gap_fc": "average", "gmp_fc": "maximum"}

    def __init__(
        self,
        channels: int,
        activation: str = "relu",
        spectral_norm: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(channels=channels)
        check_choice("activation", activation, ACTIVATIONS)
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

    def fold(self) -> nn.Conv2d:
        """The plain 1×1 convolution that computes ``attended`` before the activation: V diag(wa) and V diag(wm), added.

        Raises TypeError if ``conv1x1`` is no plain convolution any more (:func:`dynconv.surgery.convert`).
        """
        if type(self.conv1x1) is not nn.Conv2d:
            raise TypeError(f"CAMAttention folds with a plain conv1x1, got {type(self.conv1x1).__name__}")
        with torch.no_grad():
            kernel = self.conv1x1.weight.reshape(-1, 2, self.channels, 1, 1)  # (C, 2, C, 1, 1)
            kernel = torch.einsum("otchw,tc->ochw", kernel, self.weighting(self.weights))  # (C, C, 1, 1)
        return holding(nn.Conv2d, kernel, self.conv1x1.get_parameter("bias")).train(self.training)


class CAM:
    r"""The class activation maps of any net that ends in global average pooling and one linear layer.

    Reference: Zhou et al., https://arxiv.org/abs/1512.04150

    .. math:: M_{bk} = \sum_c w_{kc}\, f_{bc}

    where f is what ``layer`` puts out and w is the weight of ``classifier``. Each run is held against the identity that
    makes it a map of the logit: its mean plus the bias. Between pooling and classifier there may be a flatten or an
    inactive dropout, but nothing that changes a number (ConvNeXt's norm, a hidden layer, a pooling of maxima): such a net
    has no class activation maps, :func:`dynconv.functional.grad_cam` needs no particular head.

    Inside the ``with`` block hooks listen to the net (one that was compiled runs eagerly); the net itself, its mode and its
    gradients included, stays as it is: call ``model.eval()`` yourself.

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
        layer: the module, or its dotted name, whose output is pooled; None for the input of the average pooling whose means
            give the output.
        classifier: the ``nn.Linear``, or its dotted name, whose logits are meant; None for the one that gives the model's
            output (softmax or sigmoid may follow).

    Attributes:
        layer, classifier: the modules that the maps of the last run are of; before it, what was given or is last in the
            model.

    Raises:
        ValueError: a layer is not found in the model, or the classifier is not linear; from :meth:`maps`: mean and bias are
            not the logit, or several heads put out logits.
    """

    def __init__(
        self, model: nn.Module, layer: nn.Module | str | None = None, classifier: nn.Module | str | None = None
    ) -> None:
        self.model = model
        self._pooled = layer is None
        self._layers = _all(model, POOLINGS, "layer") if layer is None else [_find(model, layer, "layer")]
        self._own_logits = classifier is not None
        heads = _all(model, nn.Linear, "classifier") if classifier is None else [_find(model, classifier, "classifier")]
        self._linears = [module for module in heads if isinstance(module, nn.Linear)]
        if not self._linears:
            raise ValueError(f"classifier must be an nn.Linear, got {type(heads[0]).__name__}")
        self.layer, self.classifier = self._layers[-1], self._linears[-1]
        self._block = ExitStack()
        self._listening = False
        self._ran, self._seen, self._logits = self._nothing()

    @staticmethod
    def _nothing() -> tuple[bool, list[tuple[nn.Module, Tensor]], list[Tensor]]:
        """Whether a layer ran, what features were seen, and what logits."""
        return False, [], []

    def __enter__(self) -> CAM:
        if self._listening:
            raise RuntimeError("this CAM is in use already: leave its `with` block first")
        layers = {str(number): layer for number, layer in enumerate(self._layers)}
        self._block.enter_context(hooked(layers, lambda _: self._keep_features))
        if self._own_logits:
            self._block.enter_context(hooked({"": self.classifier}, lambda _: self._keep_logits))
        self._listening = True
        return self

    def __exit__(self, *error: object) -> None:
        self._listening = False
        self._block.close()

    def _keep_features(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        features = (inputs[0] if inputs else None) if self._pooled else output
        if not isinstance(features, Tensor):
            what = f"{type(module).__name__}'s {'input' if self._pooled else 'output'}"
            raise ValueError(
                f"layer must be given: {what} is no tensor (B, C, *spatial), got {type(features).__name__}"
            )
        self._ran = True
        widths = [linear.in_features for linear in self._linears]
        if not self._pooled or (features.ndim > 2 and features.shape[1] in widths):  # else no classifier's: let it go
            self._seen.append((module, features))

    def _keep_logits(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._logits.append(output)

    def maps(self, images: Tensor, class_index: int | Sequence[int] | Tensor | None = None) -> Tensor:
        """Run the model on a batch of any size: maps (B, classes, *S), or (B, *S) for a ``class_index``."""
        if not self._listening:
            raise RuntimeError("CAM listens inside its block only: `with CAM(model) as cam: cam.maps(images)`")
        self._ran, self._seen, self._logits = self._nothing()
        try:
            output = self.model(images)
            ran, seen, logits = self._ran, self._seen, self._logits
        finally:
            self._ran, self._seen, self._logits = self._nothing()  # let go of what may be large tensors
        if not ran:
            raise RuntimeError(f"the model did not run the layer {type(self.layer).__name__}: there are no features")
        self.layer, features, self.classifier = self._head(seen, logits or list(tensors(output)))
        weight = self.classifier.weight
        dtype = torch.promote_types(features.dtype, weight.dtype)  # under autocast they differ
        return class_activation_map(features.to(dtype), weight.to(dtype), class_index)

    def _head(self, seen: list[tuple[nn.Module, Tensor]], logits: list[Tensor]) -> tuple[nn.Module, Tensor, nn.Linear]:
        """The layer, its features and the classifier whose mean and bias are logits."""
        candidates = [(_deviation(f, linear, z), i, layer, f, linear) for layer, f in seen for linear in self._linears
                      for i, z in enumerate(logits) if _fit(f, linear, z)]  # fmt: skip
        found = [candidate for candidate in candidates if candidate[0][1]]
        heads = {linear for (_, _), _, _, _, linear in found}
        if len({i for _, i, _, _, _ in found}) > 1 and len(heads) > 1:
            names = ", ".join(sorted(repr(_name(self.model, head)) for head in heads))
            raise ValueError(f"classifier must be given: several linear layers give an output of the model, {names}")
        if not found:
            raise ValueError(self._refusal(candidates))
        # what is pooled twice has its positions before the first time
        _, _, layer, features, linear = max(found, key=lambda candidate: candidate[3].numel())
        return layer, features, linear

    def _refusal(self, candidates: list[Any]) -> str:
        whose = f"the logits of {_name(self.model, self.classifier)!r}" if self._own_logits else "the model's output"
        pooled = "any average pooling's input" if self._pooled else repr(_name(self.model, self.layer))
        why = f"no nn.Linear of the model takes the mean of {pooled} to the shape of {whose}"
        if candidates:
            (error, _), _, layer, _, linear = min(candidates, key=lambda candidate: candidate[0][0])
            names = f"layer={_name(self.model, layer)!r} and classifier={_name(self.model, linear)!r}"
            why = f"with {names} the mean of the maps plus the bias is off {whose} by {error:.1%}"
        mode = " (in training mode; call model.eval())" if self.model.training else ""
        return (
            f"{type(self.model).__name__} has no class activation maps: {why}{mode}. Pass layer= and classifier= such that "
            "nothing but an average lies between them, or use dynconv.functional.cam.grad_cam"
        )


def _fit(features: Tensor, linear: nn.Linear, logits: Tensor) -> bool:
    shape = (features.shape[0], linear.out_features)
    return (
        features.ndim > 2
        and features.shape[1] == linear.in_features
        and logits.is_floating_point()
        and logits.shape in (shape, shape[:1] if shape[1] == 1 else shape)
    )


def _deviation(features: Tensor, linear: nn.Linear, logits: Tensor) -> tuple[float, bool]:
    """How far mean and bias are off these logits, relative to their norm, and whether rounding explains it."""
    precision = max(torch.finfo(t.dtype).eps for t in (features, linear.weight, logits))
    if features.is_cuda and precision < 1e-3 and torch.get_float32_matmul_precision() != "highest":
        precision = 2**-10  # TF32's
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(features.dtype, linear.weight.dtype), torch.float32)
        means, weight = features.flatten(2).mean(2, dtype=dtype), linear.weight.to(dtype)  # (B, C), (classes, C)
        ours = means @ weight.T if linear.bias is None else torch.addmm(linear.bias.to(dtype), means, weight.T)
        theirs = logits.to(dtype).reshape(ours.shape)  # (B, classes)
        # each mean is rounded for itself: the roundings add up like a random walk
        size = (means.square() @ weight.T.square()).sqrt() + ours.abs()
        error = min((function(ours) - theirs).norm().item() for function in FINAL)
        allowed = (4 if precision > 1e-4 else 64) * precision * size.norm().item()
        return error / max(theirs.norm().item(), 1e-30), error <= allowed


def _name(model: nn.Module, wanted: nn.Module) -> str:
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
    return names[wanted]


def _all(model: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...], name: str) -> list[nn.Module]:
    found = [module for module in model.modules() if isinstance(module, kind)]
    if not found:
        kinds = "average pooling" if kind is POOLINGS else "nn.Linear"
        raise ValueError(f"{name} must be given: {type(model).__name__} has no {kinds} module")
    return found


def _find(model: nn.Module, wanted: nn.Module | str, name: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(model.named_modules())
    for own, module in modules.items():
        if module is wanted or own == wanted:
            return module
    raise ValueError(f"{name} must be a module of the model or its dotted name, got {wanted!r}")

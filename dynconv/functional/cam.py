"""Class activation maps: where in an image a classifier finds its class.

References: Zhou et al., *Learning Deep Features for Discriminative Localization*, https://arxiv.org/abs/1512.04150;
Selvaraju et al., *Grad-CAM*, https://arxiv.org/abs/1610.02391; Kim et al., *U-GAT-IT*, https://arxiv.org/abs/1907.10830
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_choice, check_maps, check_together

__all__ = ["auxiliary_classifier_loss", "class_activation_map", "grad_cam", "normalize_map"]

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"bce": F.binary_cross_entropy_with_logits, "mse": F.mse_loss}


def class_activation_map(
    features: Tensor, weight: Tensor, class_index: int | Sequence[int] | Tensor | None = None
) -> Tensor:
    r"""Weighted sum of the feature maps, with the weights a linear classifier gives their means.

    Reference: Zhou et al., eq. 2, https://arxiv.org/abs/1512.04150

    .. math:: M_{bk}(p) = \sum_c w_{kc}\, f_{bc}(p)

    where p is a position. The classifier sees the means of the features, and a mean of sums is a sum of means: the
    spatial mean of a map plus the classifier's bias is exactly the logit. The maps differ from image to image, the
    weights do not.

    Example:
        >>> import torch
        >>> features, weight = torch.randn(2, 16, 7, 7), torch.randn(10, 16)
        >>> class_activation_map(features, weight).shape
        torch.Size([2, 10, 7, 7])
        >>> class_activation_map(features, weight, class_index=[3, 8]).shape  # class 3 in image 0, class 8 in image 1
        torch.Size([2, 7, 7])

    Args:
        features: (B, C, *S), what goes into the global average pooling; at least one spatial dimension.
        weight: (classes, C), the linear classifier's.
        class_index: None for all classes, one class for all images, or B classes, one an image.

    Returns:
        (B, classes, *S), or (B, *S) for a ``class_index``; unrectified, in units of the logit.

    Raises:
        ValueError: shapes do not fit, or a class does not exist. A CUDA tensor of classes is not looked at (that would
            make the CPU wait for the GPU), nor is one under ``torch.compile``.
        TypeError: features are not floating point, weight has another dtype, or class_index holds no integers.
        RuntimeError: features and weight are on two devices.
    """
    check_maps("features", features)
    if weight.ndim != 2 or weight.shape[1] != features.shape[1]:
        raise ValueError(
            f"weight must be (classes, C) with C = {features.shape[1]} feature channels, got {tuple(weight.shape)}"
        )
    check_together(features=features, weight=weight)
    if class_index is None:
        return torch.einsum("bc...,kc->bk...", features, weight)  # (B, classes, *S)
    index = _one_class_an_image(class_index, features.shape[0], weight.shape[0], weight.device)  # (B,)
    return torch.einsum("bc...,bc->b...", features, weight[index])  # (B, *S)


def grad_cam(features: Tensor, logits: Tensor, class_index: int | Sequence[int] | Tensor) -> Tensor:
    r"""Weighted sum of the feature maps, with the mean gradient of a logit as the weight of each; then ReLU.

    Reference: Selvaraju et al., eq. 1 and 2, https://arxiv.org/abs/1610.02391

    .. math:: L_b(p) = \mathrm{relu}\Big(\sum_c \alpha_{bc} f_{bc}(p)\Big), \qquad
        \alpha_{bc} = \frac{1}{|S|} \sum_q \frac{\partial z_{b k_b}}{\partial f_{bc}(q)}

    where z are the logits, k_b is the class of image b and q runs over the \|S\| positions. It needs no particular
    classifier; behind a global average pooling and one linear layer it is relu(CAM) / \|S\|.

    Example:
        >>> import torch
        >>> features = torch.rand(2, 16, 7, 7, requires_grad=True)
        >>> logits = features.square().mean((2, 3)) @ torch.randn(16, 10)
        >>> grad_cam(features, logits, class_index=[3, 8]).shape
        torch.Size([2, 7, 7])

    Args:
        features: (B, C, *S), from which the logits were computed with gradients on; the graph is kept, so that other
            classes can follow.
        logits: (B, classes). Row b may depend on image b alone: a batch norm in training mode mixes the images.
        class_index: one class for all images, or B classes, one an image.

    Returns:
        (B, *S), at least 0, without gradient.

    Raises:
        ValueError: shapes do not fit, a class does not exist, or the features have no part in the logits' graph.
        TypeError: features are not floating point, or class_index holds no integers.
    """
    check_maps("features", features)
    if logits.ndim != 2 or logits.shape[0] != features.shape[0]:
        raise ValueError(f"logits must be (B, classes) with B = {features.shape[0]}, got {tuple(logits.shape)}")
    index = _one_class_an_image(class_index, logits.shape[0], logits.shape[1], logits.device)  # (B,)
    if not (features.requires_grad and logits.requires_grad):
        raise ValueError("logits must be computed from features that require gradients, and with gradients on")
    # one backward pass for the batch: image b's features reach no logit but their own
    chosen = logits.gather(1, index.unsqueeze(1)).sum()
    (gradient,) = torch.autograd.grad(chosen, features, retain_graph=True, allow_unused=True)  # (B, C, *S)
    if gradient is None:
        raise ValueError("logits must be computed from these features, got logits they have no part in")
    alpha = gradient.flatten(2).mean(2)  # (B, C)
    return torch.relu(torch.einsum("bc...,bc->b...", features.detach(), alpha))  # (B, *S)


def normalize_map(maps: Tensor, spatial_dims: int = 2) -> Tensor:
    r"""Stretch each map to 0 … 1; a map that is the same everywhere becomes 0.

    Reference: how Zhou et al. show their maps, https://github.com/zhoubolei/CAM

    .. math:: \hat M(p) = \frac{M(p) - \min M}{\max M - \min M}

    What is lost is the logit: after stretching, a class that is absent looks as bright as one that is there.

    Example:
        >>> import torch
        >>> normalize_map(torch.tensor([[[1.0, 2.0, 5.0]], [[7.0, 7.0, 7.0]]]))
        tensor([[[0.0000, 0.2500, 1.0000]],
                [[0.0000, 0.0000, 0.0000]]])

    Args:
        maps: (..., *S), floating point, for example (B, *S) or (B, classes, *S).
        spatial_dims: how many of the last dimensions make one map.

    Raises:
        ValueError: a map has no positions, or ``maps`` fewer than ``spatial_dims`` dimensions.
        TypeError: maps are not floating point.
    """
    if not maps.is_floating_point():
        raise TypeError(f"maps must be floating point, got {maps.dtype}")
    if not 1 <= spatial_dims <= maps.ndim or 0 in maps.shape[maps.ndim - spatial_dims :]:
        raise ValueError(f"maps must end in spatial_dims={spatial_dims} sizes of at least 1, got {tuple(maps.shape)}")
    dims = tuple(range(-spatial_dims, 0))
    least = maps.amin(dims, keepdim=True)
    stretch = maps.amax(dims, keepdim=True) - least
    # a constant map is 0 / 0; adding a small number to the divisor instead would change every other map too
    return (maps - least) / torch.where(stretch > 0, stretch, 1)


def auxiliary_classifier_loss(positive_logit: Tensor, negative_logit: Tensor, kind: str = "bce") -> Tensor:
    r"""The loss that trains U-GAT-IT's attention: tell two kinds of images apart from the attention's logits.

    Reference: Kim et al., section 3.2 (CAM loss), https://arxiv.org/abs/1907.10830

    .. math:: L = \ell(z^+, 1) + \ell(z^-, 0)

    where :math:`\ell` is the binary cross entropy of the sigmoid ("bce", the generator's: translated against already
    of the target domain) or the squared error ("mse", the discriminator's: real against generated). It is the only loss
    that tells the attention which channels to weigh; at inference the weights it found stay the same for every image.

    Example:
        >>> import torch
        >>> auxiliary_classifier_loss(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, -2.0]]), kind="mse")
        tensor(3.)

    Args:
        positive_logit: of the images to be called 1, any shape.
        negative_logit: of the images to be called 0, any shape.
        kind: "bce" or "mse".

    Returns:
        a scalar: each term is the mean over its logits.

    Raises:
        ValueError: kind is neither.
    """
    check_choice("kind", kind, LOSSES)
    loss = LOSSES[kind]
    return loss(positive_logit, torch.ones_like(positive_logit)) + loss(
        negative_logit, torch.zeros_like(negative_logit)
    )


def _one_class_an_image(
    class_index: int | Sequence[int] | Tensor, batch: int, num_classes: int, device: torch.device
) -> Tensor:
    """Class indices of every kind as a tensor (B,)."""
    if isinstance(class_index, Integral):
        _check_classes([int(class_index)], num_classes)
        return torch.full((batch,), int(class_index), device=device)
    if not isinstance(class_index, Tensor):
        classes = list(cast("Sequence[int]", class_index))
        if not all(isinstance(k, Integral) for k in classes):
            raise TypeError(f"class_index must hold integers, got {class_index!r}")
        class_index = torch.tensor(classes, dtype=torch.long, device="cpu")
    if class_index.dtype == torch.bool or class_index.is_floating_point() or class_index.is_complex():
        raise TypeError(f"class_index must hold integers, got {class_index.dtype}")
    if class_index.ndim == 0:
        class_index = class_index.expand(batch)
    if class_index.shape != (batch,):
        raise ValueError(
            f"class_index must be one class or {batch}, one an image, got a shape of {tuple(class_index.shape)}"
        )
    if class_index.device.type == "cpu" and not torch.compiler.is_compiling():  # elsewhere, looking means waiting
        _check_classes(class_index.tolist(), num_classes)
    return class_index.to(device=device, dtype=torch.long)


def _check_classes(classes: Iterable[int], num_classes: int) -> None:
    for k in classes:
        if not 0 <= k < num_classes:
            raise ValueError(f"class_index must be 0 to {num_classes - 1} for {num_classes} classes, got {k}")

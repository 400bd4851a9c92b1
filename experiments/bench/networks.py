"""Whole networks: a plain one, and the same with its convolutions made dynamic, by us and by peers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynconv.surgery import convert, report

from .peers import with_peers
from .unet import UNet

__all__ = ["NETWORKS", "dynamic_share", "networks", "step", "steps"]

NETWORKS = ("resnet18", "mobilenet_v2", "convnext_tiny", "unet")


def networks(name: str, num_kernels: int, peers: bool = True) -> dict[str, nn.Module]:
    """The "static" network, ours ("dynamic"), and the peers': all compute the same to begin with.

    Reference: torchvision's models, https://docs.pytorch.org/vision/stable/models.html

    Example:
        >>> list(networks("unet", 2))[:2]
        ['static', 'dynamic']

    Args:
        name: one of NETWORKS, or any torchvision classification model.
        num_kernels: K of every converted convolution; all are but those that see colours, as in the paper.
        peers: with the peers.
    """

    def dynamic() -> nn.Module:
        return _dynamic(name, num_kernels)

    return {"static": _plain(name), "dynamic": dynamic(), **(with_peers(dynamic) if peers else {})}


def dynamic_share(name: str) -> float:
    """The part of the plain network's multiply-adds that becomes dynamic: the rest costs what it cost before.

    Example:
        >>> 0.9 < dynamic_share("unet") < 1
        True

    Args:
        name: as in :func:`networks`.
    """
    return report(_dynamic(name, 1, sample=torch.rand(1, 3, 64, 64))).share


def _dynamic(name: str, num_kernels: int, **options) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* stay static", UserWarning)  # the table says how much
        return convert(_plain(name), num_kernels, where=_not_the_first, **options)


def _plain(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "unet":
        return UNet()
    import torchvision

    return torchvision.models.get_model(name, weights=None)


def _not_the_first(name: str, conv: nn.Module) -> bool:
    return conv.in_channels != 3


def steps(
    name: str,
    num_kernels: int,
    images: Tensor,
    train: bool,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Mapping[str, Callable[[], object]]:
    """Each of :func:`networks` → one training step (forward, loss, backward) or one inference of it.

    Example:
        >>> sorted(steps("unet", 2, torch.rand(1, 3, 32, 32), train=False))[:2]
        ['dynamic', 'one grouped convolution']

    Args:
        name, num_kernels: as there.
        images: (B, 3, H, W); the networks take their device and dtype.
        train: a training step instead of an inference.
        memory_format: of the images and the networks.
    """
    images = images.contiguous(memory_format=memory_format)
    models = networks(name, num_kernels)
    return {n: step(m.to(images).to(memory_format=memory_format), images, train) for n, m in models.items()}


def step(
    model: nn.Module, images: Tensor, train: bool, run: Callable[[Tensor], Tensor] | None = None
) -> Callable[[], object]:
    """One step of a network as a call without arguments.

    Example:
        >>> step(nn.Conv2d(3, 2, 1), torch.rand(1, 3, 4, 4), train=False)().shape
        torch.Size([1, 2, 4, 4])

    Args:
        model: it is put into training or eval mode.
        images, train: as in :func:`steps`; the loss is the cross entropy of class 0 everywhere.
        run: what is called in place of the model, such as itself compiled.
    """
    run = model if run is None else run
    model.train(train)
    return partial(_training if train else _inference, model, run, images)


def _inference(model: nn.Module, run: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    with torch.no_grad():
        return run(images)


def _training(model: nn.Module, run: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    model.zero_grad(set_to_none=True)
    scores = run(images)  # (B, classes) or (B, classes, H, W)
    loss = F.cross_entropy(scores, scores.new_zeros(scores.shape[:1] + scores.shape[2:], dtype=torch.long))
    loss.backward()
    return loss.detach()

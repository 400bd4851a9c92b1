"""Whole networks: a torchvision model, and the same with its convolutions made dynamic."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import nn

from dynconv.surgery import convert

__all__ = ["NETWORKS", "steps"]

NETWORKS = ("resnet18", "mobilenet_v2", "convnext_tiny")


def steps(
    name: str,
    num_kernels: int,
    device: str,
    batch: int,
    size: int,
    train: bool,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Mapping[str, Callable]:
    """The "static" network and the "dynamic" one → one training step (forward, loss, backward) or one inference of the network.

    Reference: torchvision's models, https://docs.pytorch.org/vision/stable/models.html

    Example:
        >>> sorted(steps("resnet18", 2, "cpu", 1, 32, train=False))
        ['dynamic', 'static']

    Args:
        name: of a torchvision classification model.
        num_kernels: K of every converted convolution.
        device: "cpu" or "cuda".
        batch: images.
        size: their height and width.
        train: a training step instead of an inference.
        dtype, memory_format: of the images and the networks.
    """
    import torchvision

    images = torch.rand(batch, 3, size, size, device=device, dtype=dtype).contiguous(memory_format=memory_format)
    labels = torch.zeros(batch, dtype=torch.long, device=device)

    def step(model: nn.Module) -> Callable[[], object]:
        model.to(device, dtype=dtype, memory_format=memory_format).train(train)

        def inference():
            with torch.no_grad():
                return model(images)

        def training():
            model.zero_grad(set_to_none=True)
            F.cross_entropy(model(images), labels).backward()

        return training if train else inference

    torch.manual_seed(0)
    plain = torchvision.models.get_model(name, weights=None)
    dynamic = convert(torchvision.models.get_model(name, weights=None), num_kernels, where=_not_the_first)
    return {"static": step(plain), "dynamic": step(dynamic)}


def _not_the_first(name: str, conv: nn.Module) -> bool:
    return conv.in_channels != 3  # as in the paper

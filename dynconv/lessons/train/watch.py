"""What to watch while a network learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...probe import record

__all__ = ["attention_by_class"]


@torch.no_grad()
def attention_by_class(model: nn.Module, inputs: Tensor, classes: Tensor) -> dict[str, list[list[float]]]:
    """Mean attention over kernels of every class of images, layer by layer, as plain numbers for a record.

    Reference: Chen et al., figure 5 (attention by class and level), https://arxiv.org/abs/1912.03458

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> model = torch.nn.Sequential(DynamicConv2d(1, 4, 3), torch.nn.ReLU(), DynamicConv2d(4, 2, 3)).eval()
        >>> seen = attention_by_class(model, torch.rand(6, 1, 9, 9), torch.tensor([0, 0, 1, 1, 2, 2]))
        >>> list(seen), len(seen["0.attention"]), len(seen["0.attention"][0])
        (['0.attention', '2.attention'], 3, 4)

    Args:
        model: any module with layers that mix kernels by attention; run as it is, so put it in eval mode first.
        inputs: (N, C, H, W).
        classes: (N,), 0 … number of classes − 1, each of them at least once.

    Returns:
        Name of the attention → classes × K numbers. Static mixes, whose weights no image has a part in, are left out.

    Raises:
        ValueError: inputs and classes differ in number, or a class has no image.
    """
    if len(inputs) != len(classes):
        raise ValueError(f"inputs and classes must be equally many, got {len(inputs)} and {len(classes)}")
    counts = classes.bincount()
    if not counts.all():
        raise ValueError(f"class {int((counts == 0).nonzero()[0])} has no image")
    with record(model) as seen:
        model(inputs)
    dynamic = {r.name: r.weights for r in seen.values() if r.batched and r.over == "kernels"}
    groups = [classes == c for c in range(len(counts))]
    return {name: [weights[group].mean(0).tolist() for group in groups] for name, weights in dynamic.items()}

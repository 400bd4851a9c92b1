"""Parameters sorted for an optimiser."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..layers.kernel_stack import KernelStack
from ..layers.omni import OmniAttention
from ..layers.weighting import weightings

__all__ = ["parameter_groups"]


def parameter_groups(model: nn.Module, weight_decay: float = 1e-4, **options: Any) -> list[dict[str, Any]]:
    """Parameters for an optimiser: no weight decay on what decides the weights (gates and attention).

    Reference: He et al., *Bag of Tricks*, section 3.1, https://arxiv.org/abs/1812.01187 (no decay where it has no purpose);
    decay pulls logits to 0, which is to say the attention to the even mix, whatever the temperature.

    Example:
        >>> from dynconv import DynamicConv2d
        >>> groups = parameter_groups(DynamicConv2d(16, 32, 3), weight_decay=1e-4)
        >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
        [(2, 0.0001), (3, 0.0)]

    Args:
        model: any module.
        weight_decay: for everything else.
        options: go into both groups, such as ``lr``.

    Returns:
        Two groups, every trainable parameter in just one of them: the others, then the gates'.
    """
    # an ODConv2d's weightings are the heads of its attention: what they have in common is no weighting, but a gate too
    whole = [m.get_submodule("attention") for m in model.modules() if isinstance(m, KernelStack)]
    whole += [m for m in model.modules() if isinstance(m, OmniAttention)]
    deciding = (*whole, *weightings(model).values())
    gates = {p: None for gate in deciding for p in gate.parameters() if p.requires_grad}
    others = [p for p in model.parameters() if p.requires_grad and p not in gates]
    return [
        {"params": others, "weight_decay": weight_decay, **options},
        {"params": list(gates), "weight_decay": 0.0, **options},
    ]

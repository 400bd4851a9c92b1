"""Networks compiled by torch.compile (inductor), beside themselves in eager mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .networks import networks, step

__all__ = ["compiled_steps"]


def compiled_steps(
    name: str,
    num_kernels: int,
    images: Tensor,
    train: bool,
    memory_format: torch.memory_format = torch.contiguous_format,
    backend: str = "inductor",
) -> Mapping[str, Callable[[], object]]:
    """ "static" and "dynamic", and each "…, compiled" → one step.

    What was compiled before is forgotten: its code may be for another number of threads.

    Args:
        name, num_kernels, images, train, memory_format: as in :func:`experiments.bench.networks.steps`.
        backend: of torch.compile.
    """
    torch.compiler.reset()
    images = images.contiguous(memory_format=memory_format)
    made = {}
    for kind, model in networks(name, num_kernels, peers=False).items():
        model = model.to(images).to(memory_format=memory_format)
        made[kind] = step(model, images, train)
        made[f"{kind}, compiled"] = step(model, images, train, torch.compile(model, backend=backend))
    return made

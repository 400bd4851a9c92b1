"""Record what a model weighs with, layer by layer and batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..functional import mix_kernels
from ..layers.hooks import Hook, hooked
from .hooks import Layers, select, unwrapped

__all__ = ["Record", "Recording", "record"]


@dataclass(eq=False)
class Record:
    """The weights one layer used.

    Example:
        >>> import torch
        >>> from dynconv import SqueezeExcitation
        >>> se = SqueezeExcitation(16)
        >>> with record(se) as seen:
        ...     y = se(torch.randn(3, 16, 8, 8))
        >>> seen["gate"].over, seen["gate"].weights.shape
        ('channels', torch.Size([3, 16]))

    Attributes:
        name: of the weighting in the model.
        over: what each weight belongs to: "kernels", "branches", "channels", "filters", "taps", "positions" or "classes".
        batched: whether the first dimension of a batch is the image.
        batches: one tensor for each time the layer ran, detached copies. Replicas on several devices or threads add theirs
            in the order in which they finish.
    """

    name: str
    over: str
    batched: bool
    stack: nn.Module | None = field(default=None, repr=False)
    batches: list[Tensor] = field(default_factory=list, repr=False)

    @property
    def weights(self) -> Tensor:
        """All images, (N, ...); for weights no image has a part in, those of the last run, (...)."""
        if not self.batches:
            raise ValueError(f"{self.name!r} did not run inside the `with` block")
        if not self.batched:
            return self.batches[-1]
        sizes, devices = {tuple(b.shape[1:]) for b in self.batches}, {b.device for b in self.batches}
        for what, kinds in (("sizes", sizes), ("devices", devices)):
            if len(kinds) > 1:
                names = " and ".join(sorted(map(str, kinds)))
                raise ValueError(f"weights of {self.name!r} are of several {what}, {names}: read its `batches`")
        return torch.cat(self.batches)

    @property
    def kernels(self) -> Tensor:
        """The kernel each image was convolved with, (N, O, C/groups, *kernel); (O, ...) if it was the same for all."""
        if self.stack is None:
            raise ValueError(f"{self.name!r} weighs {self.over}; only a mix of K kernels has kernels to show")
        stack: Tensor = self.stack.get_parameter("weight").detach()
        return mix_kernels(stack, self.weights.to(stack))


class Recording(Mapping[str, Record]):
    """The records of a model, by name of the weighting or of the layer it belongs to.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> model = torch.nn.Sequential(DynamicConv2d(3, 8, 3))
        >>> with record(model) as seen:
        ...     y = model(torch.randn(5, 3, 16, 16))
        >>> seen
        Recording(
          0.attention: kernels, 5
        )
        >>> seen["0"] is seen["0.attention"]
        True
    """

    def __init__(self, records: dict[str, Record]) -> None:
        self._records = records

    def __getitem__(self, name: str) -> Record:
        inside = [r for key, r in self._records.items() if key == name or key.startswith(f"{name}." if name else "")]
        if len(inside) != 1:
            raise KeyError(f"{name!r} fits {[r.name for r in inside]}; there are: {', '.join(self._records)}")
        return inside[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        rows = [f"  {r.name}: {r.over}, {sum(map(len, r.batches)) if r.batched else 'shared'}" for r in self.values()]
        return "\n".join(["Recording(", *rows, ")"])


@contextmanager
def record(model: nn.Module, layers: Layers = None) -> Iterator[Recording]:
    """Record the weights of every layer that weighs something, while the ``with`` block lasts.

    Reference: forward hooks, https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> model = torch.nn.Sequential(DynamicConv2d(3, 8, 3), torch.nn.ReLU(), DynamicConv2d(8, 8, 3))
        >>> with record(model) as seen:
        ...     y = model(torch.randn(5, 3, 16, 16))
        >>> list(seen), seen["0"].weights.shape, seen["0"].kernels.shape
        (['0.attention', '2.attention'], torch.Size([5, 4]), torch.Size([5, 8, 3, 3, 3]))

    Seen is what is used: weights that :func:`intervene` puts in, whichever block was entered first. What a backward pass
    runs again (activation checkpointing) is not written down twice. A model compiled by torch.compile runs eagerly inside
    the block; no copy made in it keeps a hook. A block records what its own thread or task runs, and those that record
    nothing themselves.

    Args:
        model: any module; neither its mode nor its output changes.
        layers: names (``*`` is a wildcard) of layers or weightings; None for all.

    Yields:
        A :class:`Recording`: a mapping from names to :class:`Record`.

    Raises:
        ValueError: a name fits nothing.
    """
    modules = select(model, layers)
    records = {
        name: Record(name, getattr(m, "over", "kernels"), getattr(m, "batched", True), _stack(model, name, m))
        for name, m in modules.items()
    }

    def keep(name: str) -> Hook:
        entry = records[name]
        return lambda module, args, weights: entry.batches.append(unwrapped(weights, entry.batched))

    with hooked(modules, keep):
        yield Recording(records)


def _stack(model: nn.Module, name: str, weighting: nn.Module) -> nn.Module | None:
    """The layer whose K kernels this weighting mixes."""
    layer = model.get_submodule(name.rpartition(".")[0])
    mixes = getattr(layer, "mixes_kernels", False) and getattr(layer, "attention", None) is weighting
    return layer if mixes else None

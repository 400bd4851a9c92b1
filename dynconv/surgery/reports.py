"""What was done to a model, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from torch import nn
from torch.nn.parameter import is_lazy

from ..cost import Sample, Table, summary
from ..layers.kernel_stack import KernelStack
from .replace import outside_stacks, plain_name

__all__ = ["Change", "Report", "report"]

REST = "(other layers)"


@dataclass(frozen=True)
class Change:
    """One line of a report: a layer, what it was and is, why it was left, and what it costs.

    Example:
        >>> import torch
        >>> from dynconv.surgery import convert, report
        >>> report(convert(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)))).changes[0]
        Change(name='0', was='Conv2d', now='DynamicConv2d', why='', parameters=224, macs=None)
    """

    name: str
    was: str
    now: str
    why: str
    parameters: int
    macs: int | None = None

    @property
    def changed(self) -> bool:
        """Whether it is another layer now."""
        return self.was != self.now


@dataclass(frozen=True, repr=False)
class Report(Table):
    """What :func:`convert` or :func:`fold` did; it prints as a table.

    Example:
        >>> import torch
        >>> from dynconv.surgery import convert, report
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ConvTranspose2d(8, 3, 3))
        >>> report(convert(net, sample=torch.randn(1, 3, 16, 16)))
        layer        was              now              why         parameters  multiply-adds
        0            Conv2d           DynamicConv2d                       224         42,336
        1            ConvTranspose2d  ConvTranspose2d  transposed         219         42,336
        1 of 2                                                            51%            50%

    Attributes:
        changes: one :class:`Change` a layer that was changed or left.
        parameters: of the whole model, before.
        macs: multiply-adds of the whole model on the sample, before; None without one.
    """

    changes: tuple[Change, ...]
    parameters: int
    macs: int | None = None
    texts = 4

    @property
    def share(self) -> float:
        """The changed layers' part of the model's multiply-adds; of its parameters if they were not counted."""
        return self.part(change for change in self.changes if change.changed)

    def part(self, changes: Iterable[Change]) -> float:
        """The part that some layers have of the multiply-adds, or else of the parameters."""
        if self.macs is None:
            return sum(c.parameters for c in changes) / max(1, self.parameters)
        return sum(c.macs or 0 for c in changes) / max(1, self.macs)

    @property
    def counted(self) -> str:
        """What :attr:`share` is a part of."""
        return "parameters" if self.macs is None else "multiply-adds"

    def after(self, now: Mapping[str, str], why: Mapping[str, str]) -> Report:
        """The same with other kinds and reasons, by name."""
        told = (replace(c, now=now.get(c.name, c.now), why=why.get(c.name, c.why)) for c in self.changes)
        return replace(self, changes=tuple(told))

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text, the heading first and the changed layers' share last."""
        rows: list[tuple[str, ...]] = [("layer", "was", "now", "why", "parameters", "multiply-adds")]
        for c in self.changes:
            rows.append((c.name or "(model)", c.was, c.now, c.why, f"{c.parameters:,}", f"{c.macs or 0:,}"))
        changed = [c for c in self.changes if c.changed]
        share = sum(c.parameters for c in changed) / max(1, self.parameters)
        listed = sum(c.name != REST for c in self.changes)
        rows.append((f"{len(changed)} of {listed}", "", "", "", f"{share:.0%}", f"{self.share:.0%}"))
        return [row[:-1] for row in rows] if self.macs is None else rows


REPORTS: WeakKeyDictionary[nn.Module, Report] = WeakKeyDictionary()


def report(model: nn.Module) -> Report:
    """What the last :func:`convert` or :func:`fold` that returned ``model`` did to it.

    It is kept beside the model and not in it: copies and reloaded models have none. Reference, of its multiply-adds:
    https://docs.pytorch.org/docs/stable/generated/torch.utils.flop_counter.html

    Example:
        >>> import torch
        >>> from dynconv.surgery import convert
        >>> print(report(convert(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)))))
        layer   was     now            why  parameters
        0       Conv2d  DynamicConv2d              224
        1 of 1                                    100%

    Args:
        model: what ``convert`` or ``fold`` returned.

    Raises:
        ValueError: neither returned it.
    """
    if model not in REPORTS:
        raise ValueError(
            f"there is no report on this {type(model).__name__}: convert and fold keep one for what they return"
        )
    return REPORTS[model]


CONVS = (nn.modules.conv._ConvNd, KernelStack)


def layers(model: nn.Module, sample: Sample | None = None, kinds: tuple[type[nn.Module], ...] = CONVS) -> Report:
    """A report in which nothing has changed yet: the layers of some kinds."""
    costs = None if sample is None else summary(model, sample)
    macs = {} if costs is None else {layer.name: layer.macs for layer in costs.layers}
    listed = [(name, module) for name, module in outside_stacks(model).items() if isinstance(module, kinds)]
    seen: set[nn.Parameter] = set()
    lines = []
    for name, module in listed:
        own = set(module.parameters()) - seen  # one that is shared is counted once
        seen |= own
        lines.append(_line(name, module, _numbers(own), macs.get(name, 0) if costs else None))
    return Report(tuple(lines), _numbers(model.parameters()), None if costs is None else costs.macs)


def _numbers(parameters: Iterable[nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters if not is_lazy(p))


def _line(name: str, module: nn.Module, parameters: int, macs: int | None) -> Change:
    kind = type(module).__name__
    why = "transposed" if getattr(module, "transposed", False) else ""
    return Change(plain_name(name), kind, kind, why, parameters, macs)


def with_rest(made: Report, model: nn.Module) -> Report:
    """The report with one more line, for all that is no convolution."""
    parameters = made.parameters - sum(change.parameters for change in made.changes)
    macs = None if made.macs is None else made.macs - sum(change.macs or 0 for change in made.changes)
    if parameters <= 0 and not macs:
        return made
    kinds = Counter(type(m).__name__ for m in _rest(model) if any(True for _ in m.parameters(recurse=False)))
    names = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    rest = Change(REST, names, names, "no convolution", max(0, parameters), macs)
    return replace(made, changes=(*made.changes, rest))


def _rest(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of a model that are neither convolutions nor inside of one."""
    for child in module.children():
        if not isinstance(child, CONVS):
            yield child
            yield from _rest(child)

"""What a model costs: parameters and multiply-adds, with the share of gates and of the mixing of kernels.

Reference: torch's own counter, https://docs.pytorch.org/docs/stable/generated/torch.utils.flop_counter.html
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .functional import choose_method
from .layers.inputs import tensors
from .layers.kernel_stack import KernelStack
from .layers.static_mix import StaticMixConv1d, StaticMixConv2d, StaticMixConv3d

__all__ = ["LayerCost", "Summary", "layer_macs", "summary"]

Sample = Tensor | tuple[Any, ...] | Mapping[str, Any] | Any


def call(model: nn.Module, sample: Sample) -> Any:
    """Run a model on one input, on several in a tuple, or on named ones in a mapping."""
    if isinstance(sample, tuple):
        return model(*sample)
    return model(**sample) if isinstance(sample, Mapping) else model(sample)


class Table:
    """What prints as a table, in Jupyter as HTML: subclasses give ``rows()``, the heading first."""

    texts = 3  # so many columns stand left, the numbers after them right

    def rows(self) -> list[tuple[str, ...]]:
        raise NotImplementedError

    def __repr__(self) -> str:
        rows = self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        aligned = (
            [c.ljust(w) if i < self.texts else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
            for row in rows
        )
        return "\n".join("  ".join(cells).rstrip() for cells in aligned)

    def _repr_html_(self) -> str:
        head, *rows = self.rows()
        top = "".join(f'<th scope="col">{escape(c)}</th>' for c in head)
        body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
        return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def layer_macs(layer: KernelStack, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> dict[str, int]:
    r"""Multiply-adds of one mix of K kernels by formula, as "convolution" and "aggregation" (the gate is not in it).

    Reference: Chen et al., section 3.2, https://arxiv.org/abs/1912.03458

    .. math:: \text{convolution} = B\,S'\,O\,\tfrac{C}{g}\,k, \qquad \text{aggregation} = B\,K\,O\,(\tfrac{C}{g}\,k + 1)

    with S' positions of the output, k the places of a kernel, and the 1 for a bias. A static mix aggregates once, not B times.
    The method "outputs" convolves K times and mixes the outputs instead: K B S' O (C/g) k and B K O (S' + 1).

    Example:
        >>> from dynconv import DynamicConv2d
        >>> layer_macs(DynamicConv2d(16, 32, 3, padding=1, num_kernels=4), (1, 16, 56, 56), (1, 32, 56, 56))
        {'convolution': 14450688, 'aggregation': 18560}

    Args:
        layer: a StaticMixConv or a DynamicConv; its ``method`` counts.
        input_shape: (B, C, *S); output_shape: (B, O, *S').

    Returns:
        the two numbers.
    """
    batch, positions = output_shape[0], math.prod(output_shape[2:])
    num_kernels, out = layer.weight.shape[:2]
    one_kernel, with_bias = layer.weight.shape[1:].numel(), int(layer.bias is not None)
    aggregation = num_kernels * (one_kernel + with_bias * out)
    if isinstance(layer, (StaticMixConv1d, StaticMixConv2d, StaticMixConv3d)):
        return {"convolution": batch * positions * one_kernel, "aggregation": aggregation}
    method = getattr(layer, "method", "auto")
    if method == "auto":
        method = choose_method(torch.empty(input_shape, device="meta"), layer.weight)
    if method == "outputs":
        mixing = batch * num_kernels * out * (positions + with_bias)
        return {"convolution": num_kernels * batch * positions * one_kernel, "aggregation": mixing}
    return {"convolution": batch * positions * one_kernel, "aggregation": batch * aggregation}


@dataclass(frozen=True)
class LayerCost:
    """One line of a summary: a layer, its parameters and its multiply-adds (without those of lines of their own inside it).

    Example:
        >>> import torch
        >>> summary(torch.nn.Linear(3, 2), torch.randn(5, 3)).layers[0]
        LayerCost(name='', kind='Linear', output=(5, 2), parameters=8, macs=30, gate_macs=0, aggregation_macs=0)
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int
    gate_macs: int = 0
    aggregation_macs: int = 0

    def all_macs(self) -> tuple[int, int, int]:
        """All of them, those of the gate, those of the aggregation."""
        return self.macs, self.gate_macs, self.aggregation_macs


@dataclass(frozen=True, repr=False)
class Summary(Table):
    """The costs of a model. ``macs`` is torch's count of the whole pass; the layers' add up to it.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> costs = summary(DynamicConv2d(3, 8, 3), torch.randn(1, 3, 10, 10))
        >>> costs.parameters, costs.macs, costs.gate_macs, costs.aggregation_macs
        (907, 14727, 7, 896)

    Attributes:
        layers: one :class:`LayerCost` a layer that has parameters or works; "(other)" is work outside of any.
        parameters: of the model, each counted once.
        macs: multiply-adds of the pass, gates and aggregation included, additions elementwise not.
    """

    layers: tuple[LayerCost, ...]
    parameters: int
    macs: int

    @property
    def gate_macs(self) -> int:
        """Multiply-adds that compute weights."""
        return sum(layer.gate_macs for layer in self.layers)

    @property
    def aggregation_macs(self) -> int:
        """Multiply-adds that mix kernels."""
        return sum(layer.aggregation_macs for layer in self.layers)

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text, the heading first and the total last."""
        head = ("layer", "kind", "output", "parameters", "multiply-adds", "of them gate", "aggregation")
        total = LayerCost("total", "", (), self.parameters, self.macs, self.gate_macs, self.aggregation_macs)
        rows: list[tuple[str, ...]] = [head]
        for c in (*self.layers, total):
            numbers = map("{:,}".format, (c.parameters, *c.all_macs()))
            rows.append((c.name or "(model)", c.kind, "×".join(map(str, c.output)), *numbers))
        return rows


def summary(model: nn.Module, x: Sample) -> Summary:
    """Count parameters and multiply-adds of one forward pass, layer by layer.

    Everything is counted where it happens, by torch's counter, so that functional convolutions are not missed: the
    kernels an attention mixes are no modules, and counters that only know modules are off by an order of magnitude. A
    module that has parameters of its own beside further layers (ConvNeXt's blocks) gets a line for what is its own.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> model = torch.nn.Sequential(DynamicConv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 1))
        >>> summary(model, torch.randn(1, 3, 32, 32))
        layer  kind           output     parameters  multiply-adds  of them gate  aggregation
        0      DynamicConv2d  1×8×32×32         907        222,087             7          896
        2      Conv2d         1×8×32×32          72         65,536             0            0
        total                                   979        287,623             7          896

    Args:
        model: any module; counted in its mode, and left as it is.
        x: its input, several inputs as a tuple, or named ones as a dict; the numbers are for this batch.

    Returns:
        A :class:`Summary` that prints as a table, in Jupyter as HTML.
    """
    lines = outside(model, _is_whole)  # those that may get a line
    gates = {name: gate for name, module in lines.items() if (gate := _gate(module)) is not None}
    counter = FlopCounterMode(display=False, custom_mapping=MORE_OPERATIONS)
    with ExitStack() as stack, torch.no_grad(), _nothing_hidden():
        counts, gate_counts = _counted(lines, counter, stack), _counted(gates, counter, stack)
        kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
        with counter:
            call(model, x)
        for buffer, value in kept:
            buffer.copy_(value)  # to count is no step of training: batch norms keep their statistics
    parameters = _parameters(model, {n: m for n, m in lines.items() if _has_line(n, m, counts[n])})
    layers = [_line(n, lines[n], own, counts[n], gate_counts.get(n)) for n, own in parameters.items() if n != OTHER]
    total = counter.get_total_flops() // 2
    rest = total - sum(layer.macs for layer in layers)
    if rest or parameters[OTHER]:
        layers.append(LayerCost(OTHER, "", (), parameters[OTHER], rest))
    return Summary(tuple(layers), sum(p.numel() for p in model.parameters()), total)


OTHER = "(other)"


def _lstm_flops(x: Any, weight: Any, recurrent: Any, *rest: Any, **more: Any) -> int:
    """Of one layer and direction, from shapes: x (T, B, C), weight (4H, C), recurrent (4H, H)."""
    return int(2 * math.prod(x[:2]) * (math.prod(weight) + math.prod(recurrent)))


MORE_OPERATIONS = {torch.ops.aten.mkldnn_rnn_layer: _lstm_flops}  # an LSTM on a CPU: torch's counter does not know it


@dataclass
class _Count:
    """What hooks saw of a module: multiply-adds in it and, of them, in modules inside it; the shapes of its last call."""

    macs: int = 0
    inside: int = 0
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def own(self) -> int:
        return self.macs - self.inside


@contextmanager
def _nothing_hidden() -> Iterator[None]:
    """Compiled modules run eagerly, and attention without the fused operation that torch's counter does not know."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
            # torch's counter has global hooks: a compiled part would say so
            warnings.filterwarnings("ignore", "Using `torch.compile", UserWarning)
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _is_whole(module: nn.Module) -> bool:
    """Whether a module is one line of the table, whatever it is made of: a mix of kernels, a gate."""
    gate = isinstance(getattr(module, "over", None), str) and any(True for _ in module.parameters())
    return gate or isinstance(module, KernelStack)


def _gate(module: nn.Module) -> nn.Module | None:
    """The part of a module that computes weights, if it has one; a gate by itself is all gate."""
    if isinstance(module, KernelStack):
        gate = module.attention
        return gate if isinstance(gate, nn.Module) else None
    return module if _is_whole(module) else None


def outside(model: nn.Module, whole: Callable[[nn.Module], bool]) -> dict[str, nn.Module]:
    """The modules of a model by name, without what those that count as a whole are made of."""
    found: dict[str, nn.Module] = {}
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():  # parents come before their children
        if not name.startswith(inside):
            found[name] = module
            inside += (f"{name}." if name else "",) if whole(module) else ()
    return found


def _has_line(name: str, module: nn.Module, count: _Count) -> bool:
    if not count.shapes:
        return False  # it was not called: whoever read its parameters did the work
    works = bool(name and count.own)  # what the model does outside of its layers is "(other)"
    return _is_whole(module) or any(True for _ in module.parameters(recurse=False)) or works


def _counted(modules: dict[str, nn.Module], counter: FlopCounterMode, stack: ExitStack) -> dict[str, _Count]:
    """Multiply-adds inside each module, filled in by hooks that ``stack`` removes."""
    counts = {name: _Count() for name in modules}
    running: list[list[int]] = []  # of the modules that are being called: the count at the start, and the part inside

    def begin(module: nn.Module, args: Any, kwargs: Any) -> None:
        running.append([counter.get_total_flops(), 0])

    def end(count: _Count) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            started, inside = running.pop()
            macs = (counter.get_total_flops() - started) // 2  # torch counts 2 flops a multiply-add
            count.macs, count.inside = count.macs + macs, count.inside + inside
            count.shapes = [_shape((*args, *kwargs.values())), _shape(output)]
            if running:
                running[-1][1] += macs

        return hook

    for name, module in modules.items():
        stack.callback(module.register_forward_pre_hook(begin, with_kwargs=True).remove)
        stack.callback(module.register_forward_hook(end(counts[name]), with_kwargs=True).remove)
    return counts


def _parameters(model: nn.Module, lines: dict[str, nn.Module]) -> dict[str, int]:
    """How many parameters each line has: those of the innermost line around them, each counted once."""
    owned, seen = dict.fromkeys((*lines, OTHER), 0), set[int]()
    for name, module in model.named_modules():
        around = [n for n in lines if n == "" or name == n or name.startswith(f"{n}.")]
        new = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, new))
        owned[max(around, key=len, default=OTHER)] += sum(p.numel() for p in new)
    return owned


def _line(name: str, module: nn.Module, parameters: int, count: _Count, gate: _Count | None) -> LayerCost:
    given, made = count.shapes
    aggregation = 0
    if isinstance(module, KernelStack) and len(given) == module.spatial_dims + 2:
        aggregation = layer_macs(module, given, made)["aggregation"]
    macs = count.macs if _is_whole(module) else count.own
    return LayerCost(name, type(module).__name__, made, parameters, macs, gate.macs if gate else 0, aggregation)


def _shape(value: Any) -> tuple[int, ...]:
    return next((tuple(tensor.shape) for tensor in tensors(value)), ())

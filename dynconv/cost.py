"""What a model costs: parameters and multiply-adds, with the share of gates and of the mixing of kernels.

Reference: torch's own counter, https://docs.pytorch.org/docs/stable/generated/torch.utils.flop_counter.html
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .functional import choose_method
from .layers.kernel_stack import KernelStack
from .layers.static_mix import StaticMixConv1d, StaticMixConv2d, StaticMixConv3d

__all__ = ["LayerCost", "Summary", "layer_macs", "summary"]


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
    one_kernel, with_bias = layer.weight[0].numel(), int(layer.bias is not None)
    if isinstance(layer, (StaticMixConv1d, StaticMixConv2d, StaticMixConv3d)):
        return {
            "convolution": batch * positions * one_kernel,
            "aggregation": num_kernels * (one_kernel + with_bias * out),
        }
    method = getattr(layer, "method", "auto")
    if method == "auto":
        method = choose_method(torch.empty(input_shape, device="meta"), layer.weight)
    if method == "outputs":
        mixing = batch * num_kernels * out * (positions + with_bias)
        return {"convolution": num_kernels * batch * positions * one_kernel, "aggregation": mixing}
    aggregation = batch * num_kernels * (one_kernel + with_bias * out)
    return {"convolution": batch * positions * one_kernel, "aggregation": aggregation}


@dataclass(frozen=True)
class LayerCost:
    """One line of a summary: a layer, its parameters and its multiply-adds (of all that is inside it).

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


@dataclass(frozen=True)
class Summary:
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
        lines = [
            (c.name or "(model)", c.kind, "×".join(map(str, c.output)), *map(_grouped, (c.parameters, *c.all_macs())))
            for c in self.layers
        ]
        numbers = (self.parameters, self.macs, self.gate_macs, self.aggregation_macs)
        return [head, *lines, ("total", "", "", *map(_grouped, numbers))]

    def __repr__(self) -> str:
        rows = self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        aligned = (
            [c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True))] for r in rows
        )
        return "\n".join("  ".join(cells).rstrip() for cells in aligned)

    def _repr_html_(self) -> str:
        head, *rows = self.rows()
        top = "".join(f'<th scope="col">{escape(c)}</th>' for c in head)
        body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
        return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def summary(model: nn.Module, x: Tensor) -> Summary:
    """Count parameters and multiply-adds of one forward pass, layer by layer.

    Everything is counted where it happens, by torch's counter, so that functional convolutions are not missed: the
    kernels an attention mixes are no modules, and counters that only know modules are off by an order of magnitude.

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
        model: any module; left in its mode.
        x: its input; the numbers are for this batch.

    Returns:
        A :class:`Summary` that prints as a table, in Jupyter as HTML.
    """
    units = _outermost(model)
    gates = {name: gate for name, unit in units.items() if (gate := _gate(unit)) is not None}
    counter, shapes = FlopCounterMode(display=False), {}
    with ExitStack() as stack, torch.no_grad():
        macs = _counted(units, counter, stack, shapes)
        gate_macs = _counted(gates, counter, stack)
        with counter:
            model(x)
    layers = [_line(name, unit, shapes, macs, gate_macs) for name, unit in units.items() if name in shapes]
    total = counter.get_total_flops() // 2
    rest = total - sum(layer.macs for layer in layers)
    parameters = sum(p.numel() for p in model.parameters())
    unseen = parameters - sum(layer.parameters for layer in layers)
    if rest or unseen > 0:
        layers.append(LayerCost("(other)", "", (), max(unseen, 0), rest))
    return Summary(tuple(layers), parameters, total)


def _is_unit(module: nn.Module) -> bool:
    """Whether a module is one line of the table, whatever it is made of."""
    gate = isinstance(getattr(module, "over", None), str) and any(True for _ in module.parameters())
    return gate or isinstance(module, KernelStack) or any(True for _ in module.parameters(recurse=False))


def _gate(unit: nn.Module) -> nn.Module | None:
    """The part of a unit that computes weights, if it has one; a gate by itself is all gate."""
    return unit.attention if isinstance(unit, KernelStack) else unit if hasattr(unit, "over") else None


def _outermost(model: nn.Module) -> dict[str, nn.Module]:
    units: dict[str, nn.Module] = {}
    for name, module in model.named_modules():  # parents come before their children
        inside = any(outer == "" or name.startswith(f"{outer}.") for outer in units)
        if _is_unit(module) and not inside:
            units[name] = module
    return units


def _counted(modules: dict[str, nn.Module], counter: FlopCounterMode, stack: ExitStack, shapes: dict | None = None):
    """Multiply-adds inside each module, filled in by hooks that ``stack`` removes; with ``shapes``, of what went in and out."""
    totals, started = dict.fromkeys(modules, 0), []

    def begin(module, args):
        started.append(counter.get_total_flops())

    def end(name):
        def hook(module, args, output):
            totals[name] += (counter.get_total_flops() - started.pop()) // 2  # torch counts 2 flops a multiply-add
            if shapes is not None:
                shapes[name] = (_shape(args), _shape(output))

        return hook

    for name, module in modules.items():
        stack.callback(module.register_forward_pre_hook(begin).remove)
        stack.callback(module.register_forward_hook(end(name)).remove)
    return totals


def _grouped(number: int) -> str:
    return f"{number:,}"


def _line(name: str, unit: nn.Module, shapes: dict, macs: dict, gate_macs: dict) -> LayerCost:
    given, made = shapes[name]
    mixes = isinstance(unit, KernelStack) and len(given) == unit.spatial_dims + 2
    aggregation = layer_macs(unit, given, made)["aggregation"] if mixes else 0
    parameters = sum(p.numel() for p in unit.parameters())
    return LayerCost(name, type(unit).__name__, made, parameters, macs[name], gate_macs.get(name, 0), aggregation)


def _shape(output) -> tuple[int, ...]:
    if isinstance(output, Tensor):
        return tuple(output.shape)
    first = (
        next((part for part in output if isinstance(part, Tensor)), None) if isinstance(output, (tuple, list)) else None
    )
    return () if first is None else tuple(first.shape)

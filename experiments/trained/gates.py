"""Find where a traced network multiplies by what it computed from the whole image, and make a weighting of it.

A *gate* here is found by structure, whatever its module is called: a factor without positions, computed from the image
through a global pool, for feature maps that have positions (Squeeze-and-Excitation and its kin); or the weights that a
convolution is told as its second input (CondConv).
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.modules.conv import _ConvNd

from dynconv.layers.weighting import Weighting

__all__ = ["Gate", "closed", "exposed", "traced"]

PRODUCTS = (operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_", "multiply")
OVER = {4: "channels", 5: "branches"}  # (B, C, 1, 1); (B, K, C, 1, 1), as in SKNet and ResNeSt
SILENT = {
    "view",
    "reshape",
    "unsqueeze",
    "expand",
    "flatten",
    "size",
    "getattr",
    "getitem",
    "shape",
    "floordiv",
    "dropout",
}


@dataclass(frozen=True)
class Gate:
    """One gate of a network.

    Attributes:
        name: of its weighting in the exposed network, for :func:`dynconv.probe.intervene`.
        at: the module of the network that multiplies; "" where the network has no modules of its own.
        over: "channels", "branches" or "kernels"; size: how many weights an image has.
        steps: from the pool to the last activation, in words.
    """

    name: str
    at: str
    over: str
    size: int
    steps: str


def traced(model: nn.Module) -> fx.GraphModule:
    """A model's graph; convolutions that are told their weights, and what timm says cannot be traced, stay whole.

    Raises:
        ValueError: torch.fx cannot trace it, and why.
    """
    if isinstance(model, fx.GraphModule):
        return model
    functions, modules = _whole()
    tracer = _Tracer(functions, modules)
    try:
        return fx.GraphModule(model, tracer.trace(model), type(model).__name__)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"torch.fx cannot trace {type(model).__name__}: {reason}") from error


class _Tracer(fx.Tracer):
    def __init__(self, functions: tuple[Any, ...], modules: tuple[type, ...]) -> None:
        super().__init__(autowrap_functions=functions)
        self.whole = modules

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, self.whole) or super().is_leaf_module(module, name)


def _whole() -> tuple[tuple[Any, ...], tuple[type, ...]]:
    try:
        from timm.layers import CondConv2d
        from timm.models._features_fx import get_notrace_functions, get_notrace_modules
    except ImportError:  # torchvision's networks need none of it
        return (), ()
    return tuple(get_notrace_functions()), (*get_notrace_modules(), CondConv2d)


@torch.no_grad()
def exposed(model: nn.Module, sample: Tensor) -> tuple[fx.GraphModule, list[Gate]]:
    """The same network with a weighting after each gate, for `dynconv.probe`; what it computes stays as it was.

    Example:
        >>> from torchvision.ops import SqueezeExcitation
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), SqueezeExcitation(8, 2)).eval()
        >>> twin, (gate,) = exposed(net, torch.randn(2, 3, 16, 16))
        >>> gate
        Gate(name='gates.00', at='1', over='channels', size=8, steps='AdaptiveAvgPool2d, Conv2d, ReLU, Conv2d, Sigmoid')
        >>> x = torch.randn(4, 3, 16, 16)
        >>> bool(torch.equal(net(x), twin(x)))
        True

    Args:
        model: in eval mode.
        sample: at least two images, (B, C, H, W), of a size at which the last feature maps have positions.

    Raises:
        ValueError: it cannot be traced; one image only; no gate is to be seen; or the twin's output is another one.
    """
    if len(sample) < 2:
        raise ValueError(f"sample must be at least 2 images, which tells a batch from a parameter, got {len(sample)}")
    graph_module = traced(model)
    expected = graph_module(sample)
    ShapeProp(graph_module).propagate(sample)
    graph_module.gates, gates = nn.ModuleDict(), []
    for node, index, over in _places(graph_module, len(sample)):
        gates.append(_insert(graph_module, node, index, over, len(gates)))
    if not gates:
        hidden = closed(graph_module)
        also = (
            f"; gates inside of {', '.join(hidden)} are not to be seen, torch.fx cannot trace these" if hidden else ""
        )
        raise ValueError(f"{type(model).__name__} multiplies by nothing that it computes from the whole image{also}")
    graph_module.graph.lint()
    graph_module.recompile()
    off = (graph_module(sample) - expected).abs().max().item() / expected.abs().max().clamp_min(1e-30).item()
    if not off < 1e-5:
        raise ValueError(f"with its gates laid open the network's output is off by {off:.1g}")
    return graph_module.eval(), gates


def closed(graph_module: fx.GraphModule) -> list[str]:
    """The kinds of modules with layers of their own that were not traced: whatever these multiply by stays hidden."""
    called = [node.target for node in graph_module.graph.nodes if node.op == "call_module"]
    parts = {name: list(graph_module.get_submodule(str(name)).modules())[1:] for name in called}
    hiding = [name for name, inside in parts.items() if any(isinstance(m, (_ConvNd, nn.Linear)) for m in inside)]
    return sorted({type(graph_module.get_submodule(str(name))).__name__ for name in hiding})


def _places(graph_module: fx.GraphModule, images: int) -> list[tuple[fx.Node, int, str]]:
    """Where a gate goes in: the node, which of its inputs, and what it weighs."""
    found, of_image = [], _from_image(graph_module.graph)
    for node in graph_module.graph.nodes:
        if len(node.args) != 2 or not all(isinstance(a, fx.Node) and _shape(a) for a in node.args):
            continue
        for index in (1, 0):
            user, at = _before_expanding(node, index)
            gate, other = _shape(user.args[at]), _shape(node.args[1 - index])
            if user.args[at] not in of_image or gate[0] != images:
                continue
            if _multiplies(graph_module, node) and _without_positions(gate, other):
                found.append((user, at, OVER[len(gate)]))
            elif index == 1 and _told(graph_module, node):
                found.append((node, index, "kernels"))
    return found


def _before_expanding(node: fx.Node, index: int) -> tuple[fx.Node, int]:
    """Some repeat the factor at every position before they multiply: it is one factor all the same."""
    while node.args[index].target in ("expand", "expand_as"):
        node, index = node.args[index], 0
    return node, index


def _from_image(graph: fx.Graph) -> set[fx.Node]:
    known: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or any(a in known for a in node.all_input_nodes):
            known.add(node)
    return known


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape) if hasattr(meta, "shape") and len(meta.shape) else None


def _multiplies(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":  # onnx2torch makes a module of each product
        module = graph_module.get_submodule(str(node.target))
        return getattr(module, "math_op_function", None) in PRODUCTS
    return node.op in ("call_function", "call_method") and node.target in PRODUCTS


def _told(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """A convolution whose weights come in beside the image: K of each are kept, in two dimensions."""
    if node.op != "call_module":
        return False
    weight = getattr(graph_module.get_submodule(str(node.target)), "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2 and _shape(node.args[1])[1:] == (len(weight),)


def _without_positions(gate: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(gate) in OVER and len(gate) == len(other) and gate[-2:] == (1, 1) != other[-2:]


def _insert(graph_module: fx.GraphModule, node: fx.Node, index: int, over: str, number: int) -> Gate:
    name, source = f"{number:02d}", node.args[index]
    graph_module.gates.add_module(name, Weighting(over))
    with graph_module.graph.inserting_before(node):
        weighting = graph_module.graph.call_module(f"gates.{name}", (source,))
    node.update_arg(index, weighting)
    stack = node.meta.get("nn_module_stack") or {}
    at = next((path for path, _ in reversed(stack.values()) if path), "") if stack else ""
    return Gate(f"gates.{name}", at, over, math.prod(_shape(source)[1:]), ", ".join(_steps(graph_module, source)))


def _steps(graph_module: fx.GraphModule, node: fx.Node | None) -> list[str]:
    """Back from a gate to the pool that it begins with, along the first input that depends on the image."""
    words: list[str] = []
    while node is not None and node.op != "placeholder":
        shape, before = _shape(node), next((a for a in node.all_input_nodes if _shape(a)), None)
        target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        word = type(graph_module.get_submodule(target)).__name__ if node.op == "call_module" else target
        pooled = before is not None and _pools(_shape(before), shape)
        if pooled or word.lower() not in SILENT | {"identity"}:
            words.append(word.removeprefix("Onnx").removesuffix("WithKnownInputShape"))
        if pooled:
            break
        node = before
    return words[::-1]


def _pools(before: tuple[int, ...] | None, after: tuple[int, ...] | None) -> bool:
    """Whether positions were there, and are gone."""
    if before is None or after is None or len(before) < 4 or math.prod(before) == math.prod(after):
        return False
    return math.prod(before[-2:]) > 1 and (len(after) < 4 or math.prod(after[-2:]) == 1)

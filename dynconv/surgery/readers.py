"""Modules whose forward reads a child's parameters, or hands the child to a function, instead of calling it.

Such a child cannot be exchanged: its parent would go on with a weight of another shape. Nothing is run to find them: the
source of ``forward`` is read, and of the methods that it mentions. Reference: https://docs.python.org/3/library/ast.html
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable
from functools import lru_cache
from types import FunctionType
from typing import Any

from torch import nn

from ..layers.kernel_stack import Geometry, KernelStack

__all__: list[str] = []

CHILDREN = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, KernelStack)
# what every convolution here answers alike, before and after an exchange
ALIKE = {"in_channels", "out_channels", "kernel_size", *Geometry.__required_keys__, "training"}
ALIKE |= {"forward", "__class__", "train", "eval", "num_features"}
OF_PARAMETERS = {"dtype", "device", "requires_grad", "is_cuda"}
HARMLESS = {"isinstance", "type", "len", "id", "hasattr", "zip", "enumerate", "reversed", "list", "tuple"}
INSIDE = {"children", "named_children", "values", "items", "modules", "zip", "enumerate", "reversed", "list", "tuple"}


def readers(model: nn.Module) -> dict[nn.Module, str]:
    """Each convolution or norm that its parent does not only call, with what the parent does."""
    found: dict[nn.Module, str] = {}
    for module in model.modules():
        if not type(module).__module__.startswith("torch.nn."):
            kind: Any = type(module)  # mypy does not take a class for hashable
            for tree in _reachable(kind):
                _Reading(module, found).visit(tree)
    return found


@lru_cache(maxsize=1024)
def _reachable(kind: Any) -> tuple[ast.FunctionDef, ...]:
    """``forward`` and the methods it mentions, those of parent classes too, as far as there is source."""
    names, trees = ["forward"], []
    for name in names:  # grows
        for base in kind.__mro__:
            function: Any = vars(base).get(name)
            function = function.fget if isinstance(function, property) else inspect.unwrap(function)
            if isinstance(function, FunctionType) and base is not nn.Module and (tree := _tree(function)) is not None:
                trees.append(tree)
                names += {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} - set(names)
    return tuple(trees)


@lru_cache(maxsize=4096)
def _tree(function: FunctionType) -> ast.FunctionDef | None:
    try:
        first = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, SyntaxError, TypeError, IndexError):
        return None  # no source, or a lambda in the middle of a line
    return first if isinstance(first, ast.FunctionDef) and first.args.args else None


class _Reading(ast.NodeVisitor):
    """Walks a method, knows which modules each expression stands for, and notes uses that are no calls."""

    def __init__(self, module: nn.Module, found: dict[nn.Module, str]) -> None:
        self.module, self.found, self.known = module, found, dict[str, list[nn.Module]]()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if not self.known and node.args.args:
            self.known[node.args.args[0].arg] = [self.module]
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self._name(target, self.modules(node.value))

    def visit_For(self, node: ast.For | ast.comprehension) -> None:
        self._loop(node.target, node.iter)
        self.generic_visit(node)

    visit_comprehension = visit_For

    def _loop(self, target: ast.expr, source: ast.expr) -> None:
        """What the names of a loop stand for: of zip, enumerate and items, each name for its own part."""
        match target, source:
            case ast.Tuple(elts=names), ast.Call(func=ast.Name(id="zip"), args=parts) if len(names) == len(parts):
                for name, part in zip(names, parts, strict=True):
                    self._loop(name, part)
            case ast.Tuple(elts=[_, inner]), ast.Call(func=ast.Name(id="enumerate"), args=[part, *_]):
                self._loop(inner, part)
            case ast.Tuple(elts=[_, inner]), ast.Call(func=ast.Attribute(attr="items" | "named_children")):
                self._name(inner, _with_children(self.modules(source)))
            case _:
                self._name(target, _with_children(self.modules(source)))

    def _comprehension(self, node: Any) -> None:
        for part in (*node.generators, *(getattr(node, name, None) for name in ("elt", "key", "value"))):
            if part is not None:
                self.visit(part)  # the loop first, for the element uses its names

    visit_ListComp = visit_GeneratorExp = visit_SetComp = visit_DictComp = _comprehension  # noqa: N815

    def visit_Attribute(self, node: ast.Attribute) -> None:
        value = node.value
        if node.attr in OF_PARAMETERS and isinstance(value, ast.Attribute):
            node, value = value, value.value  # conv.weight.dtype is no look at the weight
        elif node.attr not in ALIKE:
            self._note(value, f"reads its {node.attr}")
        self.visit(value)

    def visit_Compare(self, node: ast.Compare) -> None:
        parts = (node.left, *node.comparators)
        nothing = any(isinstance(part, ast.Constant) and part.value is None for part in parts)
        for part in parts:  # `conv.bias is None` is no look at the bias
            self.visit(part.value if nothing and isinstance(part, ast.Attribute) else part)

    def visit_Call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func)
        if name not in HARMLESS and "checkpoint" not in name:
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                self._note(argument, f"hands it to {name}")
        self.generic_visit(node)

    def _note(self, node: ast.expr, what: str) -> None:
        for module in self.modules(node):
            if isinstance(module, CHILDREN) and module is not self.module:
                self.found.setdefault(module, f"{type(self.module).__name__} {what}")

    def _name(self, target: ast.expr, modules: list[nn.Module]) -> None:
        for name in ast.walk(target):
            if isinstance(name, ast.Name):
                self.known[name.id] = modules

    def modules(self, node: ast.expr) -> list[nn.Module]:
        """The modules that an expression may stand for."""
        match node:
            case ast.Name(id=name):
                return self.known.get(name, [])
            case ast.Attribute(value=value, attr=name):
                return [m for of in self.modules(value) for m in _held(of, name)]
            case ast.IfExp(body=a, orelse=b):
                return self.modules(a) + self.modules(b)
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.BoolOp(values=parts):
                return [m for part in parts for m in self.modules(part)]
            case ast.Call(func=ast.Name(id=name), args=args) if name in INSIDE:
                return [m for part in args for m in _with_children(self.modules(part))]
            case ast.Call(func=ast.Name(id="getattr"), args=[of, ast.Constant(value=str(name)), *_]):
                return self.modules(ast.Attribute(of, name))
            case ast.Subscript(value=of) | ast.Call(func=ast.Name(id="getattr"), args=[of, *_]):
                return _with_children(self.modules(of))
            case ast.Call(func=ast.Attribute(value=of, attr=name)) if name in INSIDE:
                return _with_children(self.modules(of))
        return []


def _held(module: nn.Module, name: str) -> list[nn.Module]:
    """The modules in an attribute: itself, or those of a plain list, tuple or dict."""
    value = dict(module.named_children()).get(name, vars(module).get(name))
    if isinstance(value, nn.Module):
        return [value]
    parts: Iterable[Any] = (
        value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    )
    return [part for part in parts if isinstance(part, nn.Module)]


def _with_children(modules: list[nn.Module]) -> list[nn.Module]:
    return [m for module in modules for m in (module, *module.children())]

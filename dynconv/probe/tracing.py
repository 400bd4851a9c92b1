"""Look into a function while it runs: which products does it take, and of what?

A weight is a factor. Every product of the run is noted with a fingerprint of its factors; a factor whose fingerprint differs
between two batches depends on the image. Where both factors do, something is weighed by what was computed from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .calls import Subject

__all__: list[str] = []

FACTORS = {  # of each product, where its factors stand among the arguments
    **dict.fromkeys(("mul", "mul_", "div", "div_", "mm", "bmm", "mv", "dot", "convolution"), (0, 1)),
    **dict.fromkeys(("addmm", "addmv", "baddbmm", "addbmm", "addcmul", "addcmul_", "addcdiv"), (1, 2)),
    **dict.fromkeys(("grid_sampler_2d", "grid_sampler_3d", "_cdist_forward"), (0, 1)),
}
SQUASHED = {"_softmax": "softmax", "_safe_softmax": "softmax", "sigmoid": "sigmoid", "sigmoid_": "sigmoid"}
SQUASHED |= {"hardsigmoid": "sigmoid", "hardsigmoid_": "sigmoid"}
COPIES = ("clone", "_to_copy", "cat", "stack", "index", "index_select", "repeat", "native_dropout", "gather", "where")
GLOBAL, LOCAL = 0.3, 0.6  # a weight that follows the moved image by less has no position; by more, it has one
SAMPLE = 2000  # values that tell whether one map is an activation of another


@dataclass(eq=False)
class Product:
    """One product (or normalisation) of a run.

    Attributes:
        operation: its name in torch; module: the layer that ran it, "" for the function itself.
        weight: the factor that weighs; kind: "softmax", "sigmoid", "norm" or "" (any other factor).
        prints: a fingerprint for each factor; pointwise: the two factors are functions of each other, as in x · σ(x).
        shared: how many values each entry of it weighs; rows: how many of its entries are not added up.
        choices: of an operation of another library, whatever may be the weight.
    """

    operation: str
    module: str
    weight: Tensor
    kind: str
    prints: list[tuple[float, ...]]
    pointwise: bool
    shared: int
    rows: int
    choices: tuple[Tensor, ...] = ()


class Trace(TorchDispatchMode):
    """The products of whatever runs inside; with ``swap``, those numbered get the weights of the next image."""

    def __init__(self, shape: torch.Size, swap: frozenset[int] = frozenset()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shape, self.images, self.swap = shape, shape[0], swap
        self.products: list[Product] = []
        self.positions = {shape[2:].numel()}  # of the maps, at each resolution
        self.unbatched = False
        self.eps = 0.0  # of the coarsest number format that was met
        self._at: list[str] = []
        self._squashed: dict[int, tuple[Tensor, str]] = {}  # storage → something that keeps it alive, kind

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in FACTORS:
            args = self._product(name, list(args))
        output = func(*args, **(kwargs or {}))
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(first, Tensor):
            self._mark(name, args, first)
            if first.ndim == len(self.shape) and any(part in name for part in ("conv", "pool", "norm", "upsample")):
                self.positions.add(first.shape[2:].numel())
            if first.is_floating_point():
                self.eps = max(self.eps, torch.finfo(first.dtype).eps)
        if "norm" in name and isinstance(output, tuple) and len(output) > 2 and output[2].numel():
            sizes = output[0].numel() // output[2].numel(), output[2].numel()
            self._note(name, output[2], "norm", [output[2]], False, *sizes)
        elif func.namespace not in ("aten", "prim", "prims"):
            self._foreign(name, args)
        return output

    def _product(self, name: str, args: list[Any]) -> list[Any]:
        indices = [i for i in FACTORS[name] if isinstance(args[i], (Tensor, float, int))]
        tensors = [i for i in indices if isinstance(args[i], Tensor)]
        if len(indices) < 2 or not tensors:
            return args
        squashed = {i: kind for i in tensors if (kind := self._kind(args[i]))}
        smallest = min(tensors, key=lambda i: args[i].numel())
        index = next(iter(squashed), indices[1] if name in ("convolution", "grid_sampler_2d") else smallest)
        self.unbatched |= name == "convolution" and args[0].shape == (1, *self.shape)  # torch takes one image, too
        if len(self.products) in self.swap:
            args[index] = args[index].unflatten(0, (self.images, -1)).roll(1, 0).flatten(0, 1)
        factors = [args[i] for i in indices]
        sizes = _sizes(name, args[index], args[indices[index == indices[0]]], index == indices[0])
        self._note(name, args[index], squashed.get(index, ""), factors, _pointwise(*factors), *sizes)
        return args

    def _foreign(self, name: str, args: Any) -> None:
        """An operation of another library: whatever goes in may be multiplied."""
        factors = [a for a in args if isinstance(a, Tensor) and a.is_floating_point() and a.numel()]
        if len(factors) > 1:
            self._note(name, factors[1], "", factors, False, 1, factors[1].numel(), tuple(factors))

    def _note(self, name: str, weight: Tensor, kind: str, factors: list[Any], *rest: Any) -> None:
        """A product of these factors; ``rest``: what else is known of it, from ``pointwise`` on."""
        module, prints = self._at[-1] if self._at else "", [_print(factor) for factor in factors]
        self.products.append(Product(name, module, weight.detach(), kind, prints, *rest))

    def _mark(self, name: str, args: Any, output: Tensor) -> None:
        """Outputs of a softmax or sigmoid, and copies of them; views share their storage, which is what is marked."""
        kind = SQUASHED.get(name, "")
        if name in COPIES:
            given = [a for a in tree_leaves(args) if isinstance(a, Tensor)]
            kind = next(filter(None, map(self._kind, given)), "")
        if kind:
            self._squashed[output.untyped_storage().data_ptr()] = (output, kind)

    def _kind(self, tensor: Tensor) -> str:
        """What squashed the numbers of a tensor; "" if nothing did."""
        return self._squashed.get(tensor.untyped_storage().data_ptr(), (tensor, ""))[1]

    @contextmanager
    def watching(self, module: nn.Module | None) -> Iterator[None]:
        """Know by its name which layer runs; attention computed step by step, so that its softmax is seen."""

        def leave(layer: nn.Module, inputs: Any, output: Any) -> None:
            self._at.pop()

        with ExitStack() as stack:
            for name, layer in [] if module is None else module.named_modules():
                stack.enter_context(layer.register_forward_pre_hook(lambda m, a, name=name: self._at.append(name)))
                stack.enter_context(layer.register_forward_hook(leave, always_call=True))
            stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
            torch.backends.mha.set_fastpath_enabled(False)
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(self)
            yield


def trace(subject: Subject, x: Tensor, swap: frozenset[int] = frozenset()) -> tuple[Trace, Tensor] | None:
    """One run, looked into; None where that cannot be done."""
    seen = Trace(x.shape, swap)
    try:
        with seen.watching(subject.module):
            output = subject.function(x.clone())
        return seen, subject.tensor(output, len(x)).detach()
    except Exception:
        return None


@dataclass(eq=False)
class Factor:
    """A factor found in a run, and what several batches say of it.

    Attributes:
        number: of its product; product: the product itself, of the run on the batch.
        varies: it depends on the image.
        moves: how much of it follows when the image moves, 0 (it has no position) … 1; None if that could not be told.
    """

    number: int
    product: Product
    varies: bool
    moves: float | None


def factors(run: Trace, other: Trace, here: Trace | None, there: Trace | None) -> list[Factor] | None:
    """What weighs: softmaxes and sigmoids, and whatever depends on the image and multiplies what does.

    ``run`` and ``other`` saw unlike images; ``here`` and ``there`` the same ones before and after they moved.
    """
    if not _alike(run, other):
        return None
    runs = [r for r in (run, other, here, there) if r is not None and _alike(run, r)]
    found = []
    for number, (one, two) in enumerate(zip(run.products, other.products, strict=True)):
        differing = [a != b for a, b in zip(one.prints, two.prints, strict=True)]
        for product in [run.products[number] for run in runs] if one.choices and any(differing[1:]) else []:
            choice = min((k for k, d in enumerate(differing) if d and k), key=lambda k: one.choices[k].numel())
            product.weight, product.rows = product.choices[choice].detach(), product.choices[choice].numel()
        varies = differing[0] if one.kind == "norm" else not torch.equal(one.weight, two.weight)
        # one factor of a norm is known, which varies unless it is of running statistics
        dynamic = varies if one.kind == "norm" else sum(differing) > 1
        if one.pointwise or not (dynamic or one.kind in ("softmax", "sigmoid")):
            continue
        weights = [r.products[number].weight for r in runs[2:]]  # before and after the images moved
        followed = moves(weights[0], weights[1], run.images) if len(weights) == 2 else None
        found.append(Factor(number, one, varies, followed))
    return found


def local(factor: Factor, positions: set[int], images: int) -> bool | None:
    """Whether the weight differs from position to position: each entry weighs no whole map, and it moves with the image."""
    p = factor.product
    norm = p.operation.endswith(("group_norm", "batch_norm", "no_stats"))
    if norm or p.operation == "convolution" or p.rows <= images:
        return False
    if not factor.varies:  # parameters: K numbers have no position; of more the order is not known
        return False if p.weight.numel() == max(p.weight.shape, default=1) else None
    if p.operation.startswith("grid_sampler"):
        return True
    if factor.moves is None or GLOBAL < factor.moves < LOCAL:
        return None
    maps = any(p.shared % size == 0 for size in positions)
    return False if factor.moves <= GLOBAL else None if maps else True


def swappable(factor: Factor, images: int) -> bool:
    """Whether a run can be given another image's weight in its place."""
    p = factor.product
    return p.kind != "norm" and not p.choices and p.weight.ndim > 0 and len(p.weight) % images == 0


def _alike(one: Trace, two: Trace) -> bool:
    return [p.operation for p in one.products] == [p.operation for p in two.products]


def moves(here: Tensor, there: Tensor, images: int) -> float | None:
    """Change by moving the image, over the change by taking another one."""
    if here.shape != there.shape or not here.ndim or len(here) % images:
        return None
    rows = [w.double().reshape(images, -1) for w in (here, there)]
    other = (rows[0] - rows[0].roll(1, 0)).norm()
    return ((rows[0] - rows[1]).norm() / other).item() if other > 0 else None


def _pointwise(one: Any, other: Any) -> bool:
    """Whether two maps are functions of each other: sorted by one, the other hardly jumps."""
    if not (isinstance(one, Tensor) and isinstance(other, Tensor) and one.shape == other.shape and one.numel() > 200):
        return False
    step = max(1, one.numel() // SAMPLE)
    a, b = (t.detach().reshape(-1)[::step].double() for t in (one, other))
    return min(_roughness(a, b), _roughness(b, a)) < 0.1


def _roughness(by: Tensor, values: Tensor) -> float:
    ordered, mean = values[by.argsort()], (values - values.mean()).abs().mean()
    return (ordered.diff().abs().mean() / mean).item() if mean > 0 else 1.0


def _sizes(name: str, weight: Tensor, other: Any, left: bool) -> tuple[int, int]:
    """How many values each entry of a weight weighs, and how many entries are not added up."""
    if not isinstance(other, Tensor) or name not in ("mul", "mul_", "div", "div_", "mm", "bmm", "addmm", "baddbmm"):
        return 1, weight.numel()
    if name.endswith("mm"):  # (…, rows, inner) · (…, inner, columns)
        return other.shape[-1 if left else -2], weight.numel() // max(1, weight.shape[-1 if left else -2])
    return max(1, (weight + other).numel() // max(1, weight.numel())), weight.numel()


def _print(factor: Any) -> tuple[float, ...]:
    if not isinstance(factor, Tensor):
        return (float(factor),)
    if not factor.numel() or factor.is_complex():
        factor = torch.view_as_real(factor.resolve_conj()) if factor.numel() else factor.new_zeros(1)
    values = factor.detach().reshape(-1)
    some = values[:: 1 + len(values) // SAMPLE].double()
    order = torch.arange(len(some), device=some.device)  # two masks may well be open equally often
    return (values.sum(dtype=torch.float64).item(), some.square().sum().item(), (some * order).sum().item())

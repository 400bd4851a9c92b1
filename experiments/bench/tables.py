"""Each table: its rows measured, then put into words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from . import report
from .by_layer import distinct_layers, kind_of
from .cases import Case, methods
from .compiled import compiled_steps
from .exported import exported_runs
from .layers import layer_calls, layer_of
from .measure import alone
from .networks import dynamic_share, steps
from .networks import networks as made
from .rows import Row
from .settings import Settings

__all__ = ["by_layer", "compiled", "exported", "layers", "networks", "shapes", "tiny"]

Found = Iterator[tuple[list[Row], str]]  # a table's rows, and its text


def shapes(cases: Sequence[Case], directions: Sequence[bool], settings: Settings) -> Found:
    """Every method on every shape, and two peers, a table a direction.

    Args:
        cases: the shapes.
        directions: False for forward, True for both ways.
        settings: how it is measured.
    """
    s = settings
    for train in directions:
        rows = []
        for case in cases:
            functions = methods(case, s.num_kernels, s.device, s.dtype, train, s.memory_format)
            rows.append(s.measure("shapes", str(case), train, functions, memory=("static", "auto")))
        yield rows, report.shapes(rows)


def layers(cases: Sequence[Case], directions: Sequence[bool], settings: Settings) -> Found:
    """Whole layers where networks spend their time, a table a direction.

    Args:
        cases, directions, settings: as in :func:`shapes`.
    """
    for train in directions:
        rows = [_layer("layers", case, train, settings) for case in cases]
        yield rows, report.layers(rows)


def tiny(cases: Sequence[Case], directions: Sequence[bool], settings: Settings) -> Found:
    """Layers so small that the way to the arithmetic is all there is.

    Args:
        cases, directions, settings: as in :func:`shapes`.
    """
    rows = [_layer("tiny", case, train, settings) for train in directions for case in cases]
    yield rows, report.tiny(rows)


def networks(names: Sequence[str], directions: Sequence[bool], shape: tuple[int, int], settings: Settings) -> Found:
    """Whole networks beside the static ones and the peers, each row in a process of its own, as a network is mostly run.

    Args:
        names: of the networks; directions: False for inference, True for training.
        shape: how many images, and their height and width.
        settings: how it is measured.
    """
    rows = [alone(_network, name, train, shape, settings) for name in names for train in directions]
    yield rows, report.networks(rows, _words(shape), {name: dynamic_share(name) for name in names})


def compiled(names: Sequence[str], directions: Sequence[bool], shape: tuple[int, int], settings: Settings) -> Found:
    """Networks compiled, and not.

    Args:
        names, directions, shape, settings: as in :func:`networks`.
    """
    rows = []
    for name in names:
        for train in directions:
            images = _images(shape, settings)
            functions = compiled_steps(name, settings.num_kernels, images, train, settings.memory_format)
            rows.append(settings.measure("compiled", name, train, functions, memory=(), network=True))
    yield rows, report.compiled(rows, _words(shape))


def exported(names: Sequence[str], shape: tuple[int, int], settings: Settings) -> Found:
    """Networks in onnxruntime: one image, with graphs for one, and all, with graphs for any number.

    Args:
        names, shape, settings: as in :func:`networks`.
    """
    rows = []
    for name in names:
        for count, free in ((1, False), (shape[0], True)):
            functions = exported_runs(
                name, settings.num_kernels, _images((count, shape[1]), settings), free, settings.threads
            )
            said = f"{name}, {'free batch' if free else 'batch 1'}: {_words((count, shape[1]))}"
            rows.append(settings.measure("onnx", said, False, functions, memory=(), network=True))
    yield rows, report.exported(rows)


def by_layer(names: Sequence[str], directions: Sequence[bool], shape: tuple[int, int], settings: Settings) -> Found:
    """Where a network's time goes: a table a network and direction.

    Args:
        names, directions, shape, settings: as in :func:`networks`.
    """
    for name in names:
        model = made(name, settings.num_kernels, peers=False)["dynamic"].to(settings.device, settings.dtype)
        found = distinct_layers(model, _images(shape, settings))
        for train in directions:
            kinds: dict[str, list[tuple[Row, int]]] = {}
            for layer, size, count in found:
                x = torch.randn(size, device=settings.device, dtype=settings.dtype)
                functions = layer_calls(layer, x.contiguous(memory_format=settings.memory_format), train, peers=False)
                kind = kind_of(layer, size)
                kinds.setdefault(kind, []).append((settings.measure("by-layer", kind, train, functions, ()), count))
            rows = [summed(parts, kind) for kind, parts in kinds.items()]
            every = [part for parts in kinds.values() for part in parts]
            yield rows, report.by_layer([*rows, summed(every, "all")], name)


def summed(parts: Iterable[tuple[Row, int]], name: str) -> Row:
    """All layers of a kind together: each row as often as it comes.

    Example:
        >>> row = Row("by-layer", "1×1", False, 1, {"static": 1.0}, {"static": 2.0})
        >>> both = summed([(row, 2), (row, 3)], "1×1 expand")
        >>> both.name, both.wall, both.cpu
        ('5 × 1×1 expand', {'static': 5.0}, {'static': 10.0})

    Args:
        parts: rows of the same kinds, and how often each comes.
        name: of the sum.
    """
    parts = list(parts)
    first = parts[0][0]
    wall = {kind: sum(count * row.wall[kind] for row, count in parts) for kind in first.wall}
    cpu = {kind: sum(count * row.cpu[kind] for row, count in parts) for kind in first.cpu}
    return replace(first, name=f"{sum(count for _, count in parts)} × {name}", wall=wall, cpu=cpu, peak={})


def _layer(table: str, case: Case, train: bool, settings: Settings) -> Row:
    torch.manual_seed(0)
    made = {"device": settings.device, "dtype": settings.dtype}
    layer = layer_of(case, settings.num_kernels).to(**made, memory_format=settings.memory_format)
    x = torch.randn(case.batch, case.channels, case.size, case.size, **made)
    functions = layer_calls(layer, x.contiguous(memory_format=settings.memory_format), train)
    return settings.measure(table, str(case), train, functions, memory=())


def _network(name: str, train: bool, shape: tuple[int, int], settings: Settings) -> Row:
    torch.set_num_threads(settings.threads)
    functions = steps(name, settings.num_kernels, _images(shape, settings), train, settings.memory_format)
    return settings.measure("networks", name, train, functions, network=True)


def _images(shape: tuple[int, int], settings: Settings) -> Tensor:
    count, size = shape
    return torch.rand(count, 3, size, size, device=settings.device, dtype=settings.dtype)


def _words(shape: tuple[int, int]) -> str:
    count, size = shape
    return f"{count} {'image' if count == 1 else 'images'} of {size} × {size}"

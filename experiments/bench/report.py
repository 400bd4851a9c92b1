"""The tables as Markdown, each with its best and its worst below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .layers import ATTENTION, GIVEN
from .peers import PEERS
from .rows import Row, extremes, mean_ratio

__all__ = ["by_layer", "compiled", "exported", "layers", "networks", "shapes", "tiny"]

Number = Callable[[Row], float | None]
TIMM = "timm"
CLOCKS = {"wall": "by the clock on the wall", "cpu": "by CPU time"}
OTHER = {"wall": "cpu", "cpu": "wall"}


def shapes(rows: Sequence[Row]) -> str:
    """One convolution by every method, beside torch's.

    Example:
        >>> row = Row("shapes", "1 × 2 → 2, 3², 3×3", False, 1, {"static": 1e-3, "auto": 1e-3}, {"static": 1e-3, "auto": 2e-3})
        >>> print(shapes([row]).splitlines()[4])
        | 1 × 2 → 2, 3², 3×3 | 1.00 | 2.00 | – | 1.00 |

    Args:
        rows: of one direction; all have the names of the first.
    """
    kinds = [kind for kind in rows[0].wall if kind != "static"]
    columns: dict[str, Number] = {kind: _ratio(kind) for kind in kinds}
    columns |= {"peak memory, auto over static": lambda row: row.memory("auto")}
    other = OTHER[rows[0].clock]
    columns |= {f"auto over static {CLOCKS[other]}": _ratio("auto", clock=other)}
    direction = "forward and backward" if rows[0].train else "forward"
    means = " | ".join(f"**{mean_ratio(rows, kind):.2f}**" for kind in kinds)
    return "\n".join(
        [
            f"**{direction}**: time over that of one torch.nn.functional.conv2d of the shape, {CLOCKS[rows[0].clock]}\n",
            *_table("B × C → O, size, kernel", rows, {"static ms": _milliseconds("static")} | columns, {"peak": ".1f"}),
            f"| geometric mean | | {means} | | |",
            "",
            _ends("auto", rows, _ratio("auto")),
        ]
    )


def layers(rows: Sequence[Row]) -> str:
    """Layers as networks have them, with their attention.

    Args:
        rows: of one direction.
    """
    parts = {"attention alone": ATTENTION, "convolution alone": GIVEN}
    ours = {"static ms": _milliseconds("static")}
    columns = {"dynconv": _both("dynamic"), **{head: _ratio(kind) for head, kind in parts.items()}}
    columns |= {kind: _both(kind) for kind in PEERS}
    direction = "forward and backward" if rows[0].train else "forward"
    said = f"**layers of networks, {direction}**: the whole layer, over nn.Conv2d, {_clocks(rows)}\n"
    table = _table("B × C → O, size, kernel", rows, ours | columns)
    return "\n".join([said, *table, "", _ends("dynconv", rows, _ratio("dynamic")), *_lead(rows)])


def tiny(rows: Sequence[Row]) -> str:
    """Microseconds of layers so small that nothing but the way to the arithmetic counts.

    Args:
        rows: both directions may be among them.
    """
    kinds = {"nn.Conv2d": "static", "dynconv": "dynamic", **{kind: kind for kind in PEERS}}
    columns = {f"{head} µs": _microseconds(kind) for head, kind in kinds.items()}
    columns |= {"dynconv over timm": _ratio("dynamic", TIMM), "over nn.Conv2d": _ratio("dynamic")}
    table = _table("B × C → O, size, kernel", rows, columns, {"µs": ".0f"}, step=True)
    last = [_ends("dynconv over timm", rows, _ratio("dynamic", TIMM))] if any(TIMM in row.wall for row in rows) else []
    return "\n".join([f"**tiny layers**: one call, {CLOCKS[rows[0].clock]}\n", *table, "", *last])


def networks(rows: Sequence[Row], images: str, shares: Mapping[str, float]) -> str:
    """Whole networks, with the peers in the same places.

    Args:
        rows: inference and training.
        images: how many and how large, in words.
        shares: network → the part of its multiply-adds that is dynamic.
    """
    columns: dict[str, Callable] = {"dynamic": lambda row: f"{shares[row.name]:.0%}"}
    columns |= {"static ms": _milliseconds("static", ".1f"), "dynconv": _both("dynamic")}
    columns |= {kind: _both(kind) for kind in PEERS}
    columns |= {f"× faster than {kind}": _both(kind, "dynamic") for kind in PEERS}
    columns |= {"peak memory": lambda row: row.memory("dynamic")}
    said = f"**whole networks**, {images}: over the static network, {_clocks(rows)}; *dynamic* is the part of its multiply-adds that became so\n"
    table = _table("network", rows, columns, {"peak": ".1f"}, step=True)
    return "\n".join([said, *table, "", _ends("dynconv", rows, _ratio("dynamic")), *_lead(rows)])


def compiled(rows: Sequence[Row], images: str) -> str:
    """torch.compile, over the static network that was compiled too.

    Args:
        rows, images: as in :func:`networks`.
    """
    base = "static, compiled"
    columns = {"static compiled ms": _milliseconds(base, ".1f"), "static eager": _both("static", base)}
    columns |= {"dynconv eager": _both("dynamic", base), "dynconv compiled": _both("dynamic, compiled", base)}
    columns |= {"compiled over eager": _both("dynamic, compiled", "dynamic")}
    said = f"**compiled** (torch.compile, inductor), {images}: over the compiled static network, {_clocks(rows)}\n"
    compiled, eager = (_ratio("dynamic, compiled", other) for other in (base, "dynamic"))
    ends = [_ends("dynconv compiled", rows, compiled), _ends("dynconv compiled over eager", rows, eager)]
    return "\n".join([said, *_table("network", rows, columns, step=True), "", *ends])


def exported(rows: Sequence[Row]) -> str:
    """onnxruntime, over the static network that was exported in the same way.

    Args:
        rows: with a fixed batch and with a free one.
    """
    columns = {"static ms": _milliseconds("static", ".1f"), "dynconv": _both("dynamic")}
    columns |= {kind: _both(kind) for kind in PEERS}
    columns |= {f"× faster than {kind}": _both(kind, "dynamic") for kind in PEERS}
    said = f"**ONNX** (onnxruntime, inference): over the static network, {_clocks(rows)}; peers cannot leave the batch free\n"
    table = _table("network, graph", rows, columns)
    return "\n".join([said, *table, "", _ends("dynconv", rows, _ratio("dynamic")), *_lead(rows)])


def by_layer(rows: Sequence[Row], network: str) -> str:
    """What each kind of layer takes in one step of a network, all layers of the kind together, and all of them.

    Args:
        rows: of one direction, a kind each, as :func:`experiments.bench.tables.by_layer` sums them.
        network: its name.
    """
    kinds = {"static": "static", "dynconv": "dynamic", "attention alone": ATTENTION, "convolution alone": GIVEN}
    columns = {f"{head} ms": _milliseconds(kind) for head, kind in kinds.items()}
    columns |= {
        "more ms": lambda row: 1e3 * (row.seconds["dynamic"] - row.seconds["static"]),
        "dynconv": _both("dynamic"),
    }
    said = f"**{network} layer by layer, {rows[0].step}**: all layers of a kind together, each on what it sees there\n"
    return "\n".join([said, *_table("layers", rows, columns)])


def _table(
    first: str,
    rows: Sequence[Row],
    columns: dict[str, Callable],
    formats: dict[str, str] | None = None,
    step: bool = False,
) -> list[str]:
    """Lines; a number's format is that of the first key of ``formats`` that its column's name contains, or two places."""
    heads = [first, *(["step"] * step), *columns]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " --- |" * step + " --: |" * len(columns)]
    for row in rows:
        shown = [_shown(value(row), head, formats or {}) for head, value in columns.items()]
        lines.append(f"| {' | '.join([row.name, *([row.step] * step), *shown])} |")
    return lines


def _shown(value: float | str | None, head: str, formats: dict[str, str]) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    return format(value, next((how for part, how in formats.items() if part in head), ".2f"))


def _clocks(rows: Sequence[Row]) -> str:
    """What stands in a cell, and in its brackets."""
    return f"{CLOCKS[rows[0].clock]} ({CLOCKS[OTHER[rows[0].clock]]})"


def _ratio(kind: str, base: str = "static", clock: str | None = None) -> Number:
    return lambda row: row.ratio(kind, base, clock)


def _both(kind: str, base: str = "static") -> Callable[[Row], str | None]:
    """Both clocks' ratios in one cell."""

    def shown(row: Row) -> str | None:
        found = [row.ratio(kind, base, clock) for clock in (row.clock, OTHER[row.clock])]
        return None if found[0] is None else f"{found[0]:.2f} ({_shown(found[1], '', {})})"

    return shown


def _milliseconds(kind: str, how: str = ".2f") -> Callable[[Row], str | None]:
    return lambda row: format(1e3 * row.seconds[kind], how) if kind in row.seconds else None


def _microseconds(kind: str) -> Number:
    return lambda row: 1e6 * row.seconds[kind] if kind in row.seconds else None


def _ends(what: str, rows: Sequence[Row], value: Number) -> str:
    """Best and worst, in words."""
    (least, best), (most, worst) = extremes(rows, value)
    return f"{what}: best {least:.2f} ({_named(best, rows)}), worst {most:.2f} ({_named(worst, rows)}).  "


def _lead(rows: Sequence[Row]) -> list[str]:
    """How far ahead of each peer, at the worst and at the best."""
    lines = []
    for kind in PEERS:
        if any(kind in row.wall for row in rows):
            (least, worst), (most, best) = extremes(rows, _ratio(kind, "dynamic"))
            ends = f"worst {least:.2f} ({_named(worst, rows)}), best {most:.2f} ({_named(best, rows)})"
            lines.append(f"Times faster than {kind}: {ends}.  ")
    return lines


def _named(row: Row, rows: Sequence[Row]) -> str:
    return row.name if len({other.train for other in rows}) == 1 else f"{row.name}, {row.step}"

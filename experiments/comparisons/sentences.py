"""The sentences: where each stands, which cells measure it, and when it holds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from .cells import run_cells

Numbers = dict[str, float]


class Sentence(NamedTuple):
    """``says``, in ``lesson``; ``measure`` makes numbers of what the cells left behind and a seed; ``holds`` judges them."""

    lesson: str
    says: str
    cells: tuple[str, ...]
    measure: Callable[[dict[str, Any], int], Numbers]
    holds: Callable[[Numbers], bool]

    def numbers(self, seed: int) -> Numbers:
        return _measured(self.lesson, self.cells, self.measure, seed)


@functools.cache  # two sentences may stand on the same numbers
def _measured(lesson: str, cells: tuple[str, ...], measure: Callable, seed: int) -> Numbers:
    found = measure(run_cells(lesson, cells, seed), seed)
    return {name: float(value) for name, value in found.items()}


def _disc(names: dict[str, Any], seed: int) -> Numbers:
    after = names["found_after"]
    return {
        "untrained": after(0, attention=10.0, seed=seed),
        "with the loss": after(40, attention=10.0, seed=seed),
        "without it": after(40, attention=0.0, seed=seed),
    }


def _restored(
    names: dict[str, Any], seed: int, temperature: float, anneal: tuple | None, num_kernels: int = 4
) -> float:
    """The test loss of lesson 05's network, trained as there."""
    torch.manual_seed(seed)
    model, wanted = names["network"](temperature, num_kernels), names["center"](names["train"].clean)
    for _ in names["fit"](model, names["train"].degraded, wanted, **names["recipe"], anneal=anneal, progress=False):
        pass
    return names["measure"](model)["test_loss"]


COOLED = (30, 1, 0.5)


def _temperatures(names: dict[str, Any], seed: int) -> Numbers:
    settings = {"T = 1": (1.0, None), "T = 30": (30.0, None), "30 → 1": (30.0, COOLED)}
    return {"one filter": names["one"]} | {name: _restored(names, seed, *each) for name, each in settings.items()}


def _kernels(names: dict[str, Any], seed: int) -> Numbers:
    found = {f"K = {K}": _restored(names, seed, 30.0, COOLED, num_kernels=K) for K in (1, 2)}
    return {"one filter": names["one"]} | found


RESTORERS = ("c02", "c06", "c08", "c14", "c31", "c40", "c42")
SENTENCES: dict[str, Sentence] = {
    "02.lower-loss": Sentence(
        "02",
        "One convolution and the softmax mix reach the loss of least squares.",
        ("c02", "c04", "c06", "c08", "c12", "c24", "c29", "c30", "c40", "c41"),
        lambda names, _: names["losses"],
        lambda n: max(n.values()) - min(n.values()) < 0.002,
    ),
    "04.mark": Sentence(
        "04",
        "Only the gate that sees the maximum solves it; the mean's is no better than none.",
        ("c02", "c04", "c06", "c07", "c09", "c11", "c13", "c18", "c37", "c48", "c50", "c51"),
        lambda names, _: {name: names["error"](model) for name, model in names["solvers"].items()},
        lambda n: n["mean and max"] < n["no gate"] / 4 and n["mean"] > 0.9 * n["no gate"],
    ),
    "05.which-T": Sentence(
        "05",
        "T = 1, T = 30 and 30 → 1 all beat every single filter.",
        RESTORERS,
        _temperatures,
        lambda n: max(value for name, value in n.items() if name != "one filter") < n["one filter"],
    ),
    "05.second-kernel": Sentence(
        "05",
        "With K = 1 training ends at the single filter; the second kernel takes it further.",
        RESTORERS,
        _kernels,
        lambda n: abs(n["K = 1"] - n["one filter"]) < 0.01 * n["one filter"] and n["K = 2"] < 0.95 * n["K = 1"],
    ),
    "06.hurts": Sentence(
        "06",
        "Shuffling hurts most, argmax least; uniform and frozen lie between.",
        ("c02", "c04", "c07", "c08", "c10", "c19", "c21"),
        lambda names, _: names["errors"],
        lambda n: n["shuffled"] > max(n["uniform"], n["frozen"]) and min(n["uniform"], n["frozen"]) > n["argmax"],
    ),
    "08.control": Sentence(
        "08",
        "Without the attention loss the map finds the disc less often than before the training, and than with it.",
        ("c02", "c04", "c39", "c45", "c53"),
        _disc,
        lambda n: n["without it"] < min(n["untrained"], n["with the loss"]),
    ),
    "08.with-the-loss": Sentence(
        "08",
        "With the attention loss the map finds the disc more often than before the training.",
        ("c02", "c04", "c39", "c45", "c53"),
        _disc,
        lambda n: n["with the loss"] > n["untrained"],
    ),
    "12.importance": Sentence(
        "12",
        "The largest weight marks the most important of four maps more often than by chance, not always; what a map adds does it better.",
        ("c3136bc7", "28d0f282", "0d0ec831", "8d492729", "86480b5c"),
        lambda names, _: names["hits"],
        lambda n: 5 < n["weight"] < 20 and n["adds"] > n["weight"],
    ),
}

"""The sentences: where each stands, which cells measure it, and when it holds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynconv.probe import intervene, record
from dynconv.surgery import set_temperature

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


def _apart(names: dict[str, Any], _: int) -> Numbers:
    gaps = names["gaps"]
    return {kind: kernel for kind, (kernel, _) in gaps.items()} | {
        f"{kind}, pictures": p for kind, (_, p) in gaps.items()
    }


@torch.no_grad()
def _window(names: dict[str, Any], _: int) -> Numbers:
    """What lesson 05's trained network makes of a part of a photo that it never saw, cold and hot."""
    damaged, clean = names["damaged_window"]("chelsea", size=96)
    wanted, found = names["center"](clean)[0], {}
    for kind, image in damaged.items():
        found[kind] = F.mse_loss(names["center"](image)[0], wanted)
        for temperature in (1, 30):
            set_temperature(names["cooled"], temperature)
            found[f"{kind}, T = {temperature}"] = F.mse_loss(names["cooled"](image[None])[0, 0], wanted)
    return found


def _kernels(names: dict[str, Any], seed: int) -> Numbers:
    found = {f"K = {K}": _restored(names, seed, 30.0, COOLED, num_kernels=K) for K in (1, 2)}
    return {"one filter": names["one"]} | found


def _learned(names: dict[str, Any], _: int) -> Numbers:
    steps = [name for name in names["kernels"] if name.startswith("step")]
    off = {name: (names["kernels"][name] - names["edges"]).abs().max() / names["edges"].max() for name in steps}
    return off


def _digits(names: dict[str, Any], seed: int) -> Numbers:
    """Lesson 04's networks for digits, trained as there; a gate's spread is over the test images."""
    networks = {
        "without gate": lambda: names["digit_network"](False),
        "with gate": lambda: names["digit_network"](True),
    }
    networks["linear"] = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    recipe, found = {"epochs": 10, "batch_size": 64, "loss": F.cross_entropy, "progress": False}, {}
    for name, network in networks.items():
        torch.manual_seed(seed)
        model = network()
        for _ in names["fit"](model, names["images"], names["labels"], **recipe):
            pass
        with record(model) as seen, torch.no_grad():
            found[name] = _right(model(names["test_images"]), names["test_labels"])
        for layer in seen.values():
            found["spread of the gates"] = layer.weights.std(0).mean()
    return found


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).float().mean()


@torch.no_grad()
def _maps(names: dict[str, Any], _: int) -> Numbers:
    """How often lesson 07's maps point at the digit; those of marked images before and after the mark was learned."""
    found = dict(names["rates"]) | {"untrained": max(names["untrained"])}
    found["wrong class"] = names["hit_rate"](names["wrong"], names["test"].boxes, 40)
    found["right"] = _right(names["small"](names["test"].images), names["test"].labels)
    marked, digit = names["plain"].maximum(names["mark"]), names["digit"]
    for when, model in {"before": names["small"], "after": names["spoiled"]}.items():
        named, maps = names["look"](model, marked, digit)
        found[f"named, {when}"] = (named == digit).float().mean()
        found[f"hit, {when}"] = names["hit_rate"](maps, names["boxes"], 40)
    return found


@torch.no_grad()
def _gates(names: dict[str, Any], _: int) -> Numbers:
    """Where lesson 09's gates open, how much they use, and what another picture's are worth."""
    gates, kinds = names["quarter"]["gates"], names["kinds"]
    found = {f"block {k + 1}, {kind}": gates[:, k][kinds[kind]].mean() for k in (0, 1) for kind in list(kinds)[2:]}
    found |= {"threshold": names["quarter"]["used"], "noise": names["used"].sum() / sum(names["total"])}
    with intervene(names["gated"], "shuffled"):
        shuffled = _right(names["gated"](names["test"].images)[0], names["test"].labels)
    return found | {"right": names["quarter"]["right"], "shuffled": shuffled}


MAPS = ("c03", "c36", "c37", "c38", "c45", "c46", "c48", "c53", "c54")
GATES = ("c02", "c04", "c06", "c11", "c37", "c38", "c41", "c43")
RESTORERS = ("c02", "c06", "c08", "c14", "c31", "c40", "c42")
SENTENCES: dict[str, Sentence] = {
    "01.learned": Sentence(
        "01",
        "Training finds the kernel that made the wanted map.",
        ("c02", "c22", "c23", "learned", "learned-loop", "learned-seen"),
        _learned,
        lambda n: n["step 1000"] < 0.01,
    ),
    "02.lower-loss": Sentence(
        "02",
        "One convolution and the softmax mix reach the loss of least squares.",
        ("c02", "c04", "c06", "c08", "c12", "c24", "c29", "c30", "c40", "c41"),
        lambda names, _: names["losses"],
        lambda n: max(n.values()) - min(n.values()) < 0.002,
    ),
    "04.digits": Sentence(
        "04",
        "With the gate or without, the digits differ by less than three points; the gates are the same for every image.",
        ("c02", "c04", "c06", "c07", "c09", "c11", "c13", "c18", "c43"),
        _digits,
        lambda n: abs(n["with gate"] - n["without gate"]) < 0.03 and n["spread of the gates"] < 0.01,
    ),
    "04.linear": Sentence(
        "04",
        "A linear layer on the pixels names more digits than both networks.",
        ("c02", "c04", "c06", "c07", "c09", "c11", "c13", "c18", "c43"),
        _digits,
        lambda n: n["linear"] > max(n["with gate"], n["without gate"]),
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
    "05.restored": Sentence(
        "05",
        "On a part of a photo held out, the vertical blur and the noise come nearer to the clean one, and are farther from it hot again.",
        (*RESTORERS, "c43"),
        _window,
        lambda n: all(
            n[f"{kind}, T = 1"] < min(n[kind], n[f"{kind}, T = 30"]) for kind in ("vertical blur", "strong noise")
        ),
    ),
    "05.second-kernel": Sentence(
        "05",
        "With K = 1 training ends at the single filter; the second kernel takes it further.",
        RESTORERS,
        _kernels,
        lambda n: abs(n["K = 1"] - n["one filter"]) < 0.01 * n["one filter"] and n["K = 2"] < 0.95 * n["K = 1"],
    ),
    "05.unlike": Sentence(
        "05",
        "For the noise the learned kernel is least squares' own; for the blurs along one axis it is unlike, and its pictures are far nearer.",
        (*RESTORERS, "c43", "c44", "learned-kernels"),
        _apart,
        lambda n: (
            n["strong noise"] < 0.5
            and all(
                n[kind] > 0.5 and n[f"{kind}, pictures"] < n[kind] / 2 for kind in ("horizontal blur", "vertical blur")
            )
        ),
    ),
    "06.hurts": Sentence(
        "06",
        "Shuffling hurts most, argmax least; uniform and frozen lie between.",
        ("c02", "c04", "c07", "c08", "c10", "c19", "c21"),
        lambda names, _: names["errors"],
        lambda n: n["shuffled"] > max(n["uniform"], n["frozen"]) and min(n["uniform"], n["frozen"]) > n["argmax"],
    ),
    "07.finds": Sentence(
        "07",
        "The map points at the digit more often than its rivals and than untrained nets' maps; the brightest spot comes next.",
        MAPS,
        _maps,
        lambda n: n["CAM"] > max(n["brightest spot"], n["untrained"]) and n["brightest spot"] > n["centre"],
    ),
    "07.wrong": Sentence(
        "07",
        "The net is wrong about half of the time or more; a wrong class's map, too, beats a random place by far.",
        MAPS,
        _maps,
        lambda n: n["right"] < 0.6 and n["CAM"] > n["wrong class"] > 2 * n["random place"],
    ),
    "07.company": Sentence(
        "07",
        "After three epochs the marked digit's map is mostly brightest on the mark, and the answers are as good.",
        MAPS,
        _maps,
        lambda n: n["hit, after"] < 0.5 < n["hit, before"] and n["named, after"] > n["named, before"] - 0.05,
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
    "09.where": Sentence(
        "09",
        "Block 1 opens for most strokes of the digit, and for pieces too; block 2 tells the digit from the pieces.",
        GATES,
        _gates,
        lambda n: (
            n["block 1, digit's strokes"] > 0.5
            and n["block 1, pieces' strokes"] > 0.3
            and n["block 2, digit's strokes"] > 3 * n["block 2, pieces' strokes"]
        ),
    ),
    "09.noise": Sentence(
        "09",
        "With noise about the budget of 25 % is used; the threshold is stricter.",
        GATES,
        _gates,
        lambda n: n["threshold"] < n["noise"] and abs(n["noise"] - 0.25) < 0.05,
    ),
    "09.shuffled": Sentence(
        "09",
        "With another picture's gates fewer than half as many are right.",
        GATES,
        _gates,
        lambda n: n["shuffled"] < n["right"] / 2,
    ),
    "12.importance": Sentence(
        "12",
        "The largest weight marks the most important of four maps more often than by chance, not always; what a map adds does it better.",
        ("c3136bc7", "28d0f282", "0d0ec831", "8d492729", "86480b5c"),
        lambda names, _: names["hits"],
        lambda n: 5 < n["weight"] < 20 and n["adds"] > n["weight"],
    ),
}

"""The rows of trained.csv: the three networks that come with a package, on rendered lines."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from functools import cache
from statistics import fmean

import torch
from torch import Tensor, nn

from .gates import Gate, exposed
from .measure import MODES, TRAINED, answers, each, variations
from .networks import network
from .tasks import Task, task

__all__ = ["ALONE", "COLUMNS", "SEEDS", "run", "settings"]

COLUMNS = (
    *("network", "gates", "mode", "seed", "images", "score", "clear", "hard", "varies"),
    *("seconds", "torch", "command"),
)
SEEDS = {"direction": 10, "direction-loose": 10, "detector": 5, "recogniser": 5}  # for all gates together
SEEDS_EACH, ALONE = 5, ("uniform", "shuffled", "frozen")  # for each gate alone
BATCH = {"direction": 50, "direction-loose": 50, "detector": 4, "recogniser": 10}


@cache
def opened(name: str) -> tuple[nn.Module, list[Gate]]:
    """A network with its gates laid open."""
    net, gates = exposed(network(name.removesuffix("-loose")), _task(name, 0).images[:2])
    return net.to(memory_format=torch.channels_last), gates  # a third faster, on one core


@cache
def _task(name: str, seed: int) -> Task:
    return task(name, seed)


@cache
def _plain(name: str, seed: int) -> Tensor:
    one = _task(name, seed)
    return answers(opened(name)[0], one.images, one.others, answer=one.answer, batch=BATCH[name])


@cache
def _varying(name: str, seed: int) -> dict[str, float]:
    return variations(opened(name)[0], _task(name, seed).images, BATCH[name])


def settings(name: str) -> Iterator[tuple[str, str, int]]:
    """All gates, modes and seeds of a network, as a line names them; all gates together only on loose lines.

    No argmax of one gate alone: a channel with the weight of all breaks the network, whether attention matters or not.
    """
    gates = [] if name.endswith("-loose") else [gate.name for gate in opened(name)[1]]
    for seed in range(SEEDS[name]):
        for label, _ in each(gates if seed < SEEDS_EACH else []):
            for mode in (TRAINED, *(MODES if label == "all" else ALONE)):
                yield label, mode, seed


def run(name: str, label: str, mode: str, seed: int) -> dict:
    """Measure one network under one intervention on the images of one seed: one line of trained.csv.

    Reference: the interventions are :func:`dynconv.probe.intervene`'s; "frozen" is the mean over other images

    Example:
        >>> run("direction", "07", "sideways", seed=0)
        Traceback (most recent call last):
        ValueError: mode must be one of 'as trained', 'uniform', 'argmax', 'shuffled', 'frozen', got 'sideways'

    Args:
        name: of the network; label: "all" gates or the number of one, such as "03"; mode: see MODES; seed: of the images.

    Returns:
        COLUMNS → value. ``score`` is a mean over images, ``clear`` and ``hard`` over those that are so;
        ``varies``: see :func:`experiments.trained.measure.variations`.

    Raises:
        ValueError: unknown mode or gate.
    """
    if mode not in (TRAINED, *MODES):
        raise ValueError(f"mode must be one of {', '.join(map(repr, (TRAINED, *MODES)))}, got {mode!r}")
    started, (net, gates) = time.perf_counter(), opened(name)
    choices = dict(each([gate.name for gate in gates]))
    if label not in choices:
        raise ValueError(f"gates of {name!r} must be one of {', '.join(map(repr, choices))}, got {label!r}")
    one = _task(name, seed)
    if mode == TRAINED:
        said = _plain(name, seed)
    else:
        said = answers(net, one.images, one.others, mode, choices[label], one.answer, BATCH[name], seed)
    varying, names = _varying(name, seed), choices[label] or [gate.name for gate in gates]
    return {
        "network": name,
        "gates": label,
        "mode": mode,
        "seed": seed,
        "images": len(one.images),
        **_scores(one, said),
        "varies": fmean(varying[each_name] for each_name in names),
        "seconds": round(time.perf_counter() - started, 1),
        "torch": torch.__version__.split("+")[0],
        "command": f"python -m experiments.trained --network {name} --gates {label} --mode {shlex.quote(mode)} --seed {seed}",
    }


def _scores(one: Task, said: Tensor) -> dict[str, float]:
    scores = torch.tensor([one.score(i, answer) for i, answer in enumerate(said)], dtype=torch.float64)
    return {
        "score": scores.mean().item(),
        "clear": scores[~one.hard].mean().item(),
        "hard": scores[one.hard].mean().item(),
    }

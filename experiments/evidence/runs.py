"""One run of one row: train, measure, intervene."""

from __future__ import annotations

import multiprocessing
import platform
import time
from collections.abc import Iterator
from functools import cache

import torch
from torch import nn

from dynconv.cost import summary
from dynconv.lessons import tasks
from dynconv.lessons.train import fit
from dynconv.probe import intervene

from .rows import Row

__all__ = ["COLUMNS", "INTERVENTIONS", "run", "run_all"]

INTERVENTIONS = ("uniform", "argmax", "shuffled", "frozen")
COLUMNS = (
    *("task", "system", "num_kernels", "temperature", "seed", "parameters", "macs"),
    *("train_loss", "test_loss", "test_accuracy", *(f"loss_{mode}" for mode in INTERVENTIONS)),
    *("seconds", "torch", "python", "command"),
)


def run(row: Row, seed: int = 0) -> dict:
    """Train a row's network from one seed and measure it: one line of the CSV.

    Reference: the interventions are :func:`dynconv.probe.intervene`'s

    Example:
        >>> line = run(Row("digits", "static"), seed=0)
        >>> line["parameters"], 0.5 < line["test_accuracy"] < 1
        (1442, True)

    Args:
        row: what to run.
        seed: of the first weights and of the order of the images.

    Returns:
        COLUMNS → value. ``loss_…`` is the test loss under an intervention, "" where nothing depends on the image.
    """
    task, started = _task(row.task), time.perf_counter()
    torch.manual_seed(seed)
    model = task.network(row.system, **row.options()).eval()
    data = (task.train.inputs, task.train.targets)
    records = list(fit(model, *data, loss=task.loss, anneal=row.anneal(), seed=seed, progress=False, **task.recipe))
    seconds = time.perf_counter() - started
    cost = summary(model, task.test.inputs[:1])
    measured = {"test_accuracy": ""} | tasks.measure(model, task)
    setting = {"num_kernels": row.num_kernels or "", "temperature": row.temperature, "seed": seed}
    line = {"task": row.task, "system": row.system} | setting
    line |= {"parameters": cost.parameters, "macs": cost.macs, "train_loss": records[-1]["loss"]} | measured
    line |= {f"loss_{mode}": value for mode, value in _interventions(row, model, task).items()}
    flags = "".join(f" --{name.replace('_', '-')} {value}" for name, value in setting.items() if value != "")
    command = f"python -m experiments.evidence --task {row.task} --system {row.system}{flags}"
    versions = {"torch": torch.__version__.split("+")[0], "python": platform.python_version()}
    return {name: (line | {"seconds": round(seconds, 1), "command": command} | versions)[name] for name in COLUMNS}


def run_all(jobs: list[tuple[Row, int]], processes: int = 2) -> Iterator[dict]:
    """The lines of many runs as they come, from processes with one thread each.

    Reference: https://docs.python.org/3/library/multiprocessing.html

    Example:
        >>> [line["seed"] for line in run_all([(Row("digits", "static"), 3)])]
        [3]

    Args:
        jobs: rows and seeds.
        processes: how many at a time.
    """
    if processes < 2 or len(jobs) < 2:
        yield from map(_job, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(min(processes, len(jobs)), torch.set_num_threads, (1,)) as pool:
        yield from pool.imap_unordered(_job, jobs)
        pool.close()
        pool.join()  # they end by themselves, and leave no semaphore behind


def _job(job: tuple[Row, int]) -> dict:
    return run(*job)


@cache
def _task(name: str) -> tasks.Task:
    return tasks.task(name)


def _interventions(row: Row, model: nn.Module, task: tasks.Task) -> dict[str, float | str]:
    """Test loss with the attention replaced; shuffling and freezing need the whole test set at once."""
    if row.system not in ("se", "dynamic", "condconv", "odconv"):
        return dict.fromkeys(INTERVENTIONS, "")
    losses = {}
    for mode in INTERVENTIONS:
        with intervene(model, mode):
            losses[mode] = tasks.measure(model, task, batch_size=len(task.test))["test_loss"]
    return losses

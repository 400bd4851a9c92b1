"""The playground's training, as the page does it: its JavaScript run by Node, held-out photos, several seeds."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from dynconv.lessons.tables import mean_and_std
from dynconv.lessons.views import Playground
from dynconv.lessons.views.javascript import bundle

__all__ = ["CHOICE_SEEDS", "CHOSEN", "COLUMNS", "SEEDS", "TRIED", "jobs", "run", "way"]

COLUMNS = (
    *("task", "temperature", "learning_rate", "seed", "one", "each", "plain", "mix", "dynamic"),
    *("train_one", "train_each", "train_dynamic", "seconds", "node", "command"),
)
CHOSEN = ("3", 0.02)  # the playground's start: the lowest error on the patches trained on, with CHOICE_SEEDS
TRIED = [(temperature, rate) for temperature in ("30-1", "3", "1") for rate in (0.01, 0.02, 0.04)]
CHOICE_SEEDS, SEEDS = (5, 6, 7), range(5)
SCRIPT = """
import { LAST, prepared, trainer } from "./trainer.mjs";

const { photos, settings } = ASKED;
const data = prepared(photos, settings.task);
const run = trainer(data, settings);
while (run.now.step < LAST) run.step();
console.log(JSON.stringify({ held: { ...data.held.references, ...run.measure() },
  train: { ...data.train.references, ...run.measure("train") }, node: process.version }));
"""


def jobs(task: str | None = None, seed: int | None = None) -> list[tuple]:
    """Arguments of :func:`run`: the chosen start on both tasks with five seeds, and what was tried, with three others.

    Reference: none

    Example:
        >>> jobs("shifts", 4)
        [('shifts', '3', 0.02, 4)]

    Args:
        task, seed: only these; None for all.
    """
    reported = [(name, *CHOSEN, one) for name in ("damages", "shifts") for one in SEEDS]
    tried = [("damages", *setting, one) for setting in TRIED for one in CHOICE_SEEDS]
    return [job for job in reported + tried if task in (None, job[0]) and seed in (None, job[-1])]


def run(task: str, temperature: str, learning_rate: float, seed: int) -> dict:
    """Train the three networks from one seed to the end of the playground's run: one line of playground.csv.

    Reference: the page's own modules; a test compares their training with torch's

    Args:
        task: "damages" or "shifts".
        temperature: "30-1" cools, or a number that stays.
        learning_rate: of the first step.
        seed: of first weights and batches; the patches are the same for all.

    Returns:
        COLUMNS → value: mean squared errors after the last step on the photos held out, of the two lines and the three
        networks; "train_…" the same on the patches trained on.

    Raises:
        RuntimeError: there is no Node, or it fails.
    """
    started, start = time.perf_counter(), Playground(task=task)
    own = {name: getattr(start, name) for name in ("task", "num_kernels", "batch_size")}
    heat = {"cooling": temperature == "30-1", "temperature": 1.0 if temperature == "30-1" else float(temperature)}
    settings = own | heat | {"learning_rate": learning_rate, "seed": seed}
    found = _node({"photos": json.loads(start.data)["photos"], "settings": settings})
    start.close()
    errors = {name: found["held"][name] for name in ("one", "each", "plain", "mix", "dynamic")}
    trained = {f"train_{name}": found["train"][name] for name in ("one", "each", "dynamic")}
    command = f"python -m experiments.evidence --playground --task {task} --seed {seed}"
    return (
        {"task": task, "temperature": temperature, "learning_rate": learning_rate, "seed": seed}
        | errors
        | trained
        | {"seconds": round(time.perf_counter() - started, 1), "node": found["node"], "command": command}
    )


def way(lines: list[dict], network: str, side: str = "") -> tuple[float, float] | None:
    """Mean and standard deviation over lines of the share of the way from one filter's error to four filters', in percent.

    Reference: none

    Example:
        >>> way([{"one": "3", "each": "1", "dynamic": "2"}], "dynamic")
        (50.0, 0.0)

    Args:
        lines: of playground.csv.
        network: "plain", "mix" or "dynamic".
        side: "train_" for the patches trained on, else those of the photos held out.
    """
    errors = [[float(line[side + name]) for name in ("one", "each", network)] for line in lines]
    shares = [{"way": str(100 * (one - error) / (one - each))} for one, each, error in errors]
    return mean_and_std(shares, "way")


def _node(asked: dict) -> dict:
    node = shutil.which("node")
    if node is None:
        raise RuntimeError(
            "the playground's training is JavaScript: Node (https://nodejs.org) is needed to run it here"
        )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "trainer.mjs").write_text(bundle("trainer"), encoding="utf-8")
        (Path(folder) / "run.mjs").write_text(SCRIPT.replace("ASKED", json.dumps(asked)), "utf-8")
        done = subprocess.run([node, Path(folder) / "run.mjs"], capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"Node fails: {done.stderr}")
    return json.loads(done.stdout)

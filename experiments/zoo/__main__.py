"""Every architecture through every step: python -m experiments.zoo [NAMES] [--out FILE] [--steps ...] [--report]"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from .architectures import ARCHITECTURES
from .report import report
from .steps import STEPS, PlainFails, Trial

COLOUR = re.compile(r"\x1b\[[\d;]*m")  # what programs for a terminal write into their errors
COLUMNS = ("architecture", "step", "result", "value", "seconds", "torch")


def main(argv: list[str] | None = None) -> int:
    """Run what is missing in the CSV, one process a network, and write the report beside it; the exit status."""
    args = _arguments(argv)
    if args.here:
        for line in _lines(args.names[0], args.steps, args.num_kernels):
            print(json.dumps(line), flush=True)
        return 0
    done = {(line["architecture"], line["step"]): line["result"] for line in read(args.out)}
    for name in _chosen(args.names):
        steps = [s for s in args.steps if s != "ONNX" or args.onnx or ARCHITECTURES[name].small]
        missing = [s for s in steps if (name, s) not in done or (args.again and done[name, s] != "ok")]
        if missing:
            lines = list(_in_a_process(name, missing, args))
            _append(args.out, lines)
            print(f"{name:45}", " ".join(f"{line['step']}: {line['result']}" for line in lines), flush=True)
    args.out.with_suffix(".md").write_text(report(read(args.out), list(STEPS)), encoding="utf-8")
    return int(any(line["result"] == "fails" for line in read(args.out)))


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.zoo", description=__doc__)
    parser.add_argument("names", nargs="*", help="networks, * works: 'timm/tf_*' (all)")
    parser.add_argument("--out", type=Path, default=Path("experiments/zoo.csv"), help="lines are added to it")
    parser.add_argument(
        "--steps", nargs="+", default=list(STEPS), choices=list(STEPS), metavar="STEP", help=", ".join(STEPS)
    )
    parser.add_argument("--again", action="store_true", help="what did not pass, once more")
    parser.add_argument("--onnx", action="store_true", help="ONNX of large networks too")
    parser.add_argument("--num-kernels", type=int, default=4, help="K (4)")
    parser.add_argument("--minutes", type=float, default=10.0, help="at most, for one network (10)")
    parser.add_argument("--here", action="store_true", help="one network, in this process, lines of JSON to stdout")
    return parser.parse_args(argv)


def _chosen(names: list[str]) -> list[str]:
    for pattern in names:
        if not any(fnmatchcase(name, pattern) for name in ARCHITECTURES):
            raise SystemExit(f"no network is named {pattern!r}; there are: {', '.join(ARCHITECTURES)}")
    return [name for name in ARCHITECTURES if not names or any(fnmatchcase(name, pattern) for pattern in names)]


def _lines(name: str, steps: list[str], num_kernels: int = 4) -> Iterator[dict[str, str]]:
    """One line a step."""
    warnings.simplefilter("ignore")
    trial = Trial(ARCHITECTURES[name], num_kernels)
    for step in steps:
        started = time.perf_counter()
        try:
            result, value = "ok", STEPS[step](trial)
        except PlainFails as error:
            result, value = "plain fails", _one_line(str(error))
        except Exception as error:
            result, value = "fails", _one_line(f"{type(error).__name__}: {error}")
        seconds = f"{time.perf_counter() - started:.1f}"
        line = (name, step, result, value, seconds, torch.__version__.partition("+")[0])
        yield dict(zip(COLUMNS, line, strict=True))


def _one_line(text: str, length: int = 160) -> str:
    """The first line that says something, without addresses and paths of this machine."""
    lines = [line.strip() for line in COLOUR.sub("", text).splitlines() if line.strip()]
    line = " ".join(lines[:2]) if lines else "no message"
    line = " ".join(word if "/" not in word[:2] else Path(word).name for word in line.split())
    return line if len(line) <= length else f"{line[:length]}…"


def _in_a_process(name: str, steps: list[str], args: argparse.Namespace) -> Iterator[dict[str, str]]:
    """In a process of its own: what one network leaves in memory, or dies of, is no other's matter."""
    command = [sys.executable, "-m", "experiments.zoo", name, "--here", "--num-kernels", str(args.num_kernels)]
    started, got = time.perf_counter(), []
    try:
        run = subprocess.run(
            [*command, "--steps", *steps], capture_output=True, text=True, timeout=60 * args.minutes, check=False
        )
        out, why = run.stdout, f"the process ended with {run.returncode}"
    except subprocess.TimeoutExpired as error:
        out = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        why = f"more than {args.minutes:g} minutes"
    for line in out.splitlines():
        if line.startswith("{"):
            got.append(json.loads(line))
            yield got[-1]
    if len(got) < len(steps):
        seconds = f"{time.perf_counter() - started:.1f}"
        yield dict(zip(COLUMNS, (name, steps[len(got)], "fails", why, seconds, torch.__version__), strict=True))


def read(path: Path) -> list[dict[str, str]]:
    """The lines of the CSV, the latest of each network and step."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        latest = {(line["architecture"], line["step"]): line for line in csv.DictReader(file)}
    return list(latest.values())


def _append(path: Path, lines: list[dict[str, str]]) -> None:
    kept = {(line["architecture"], line["step"]): line for line in [*read(path), *lines]}
    order = {name: i for i, name in enumerate(ARCHITECTURES)}
    steps = list(STEPS)
    ordered = sorted(kept.values(), key=lambda e: (order.get(e["architecture"], 999), steps.index(e["step"])))
    part = path.with_name(f"{path.name}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())

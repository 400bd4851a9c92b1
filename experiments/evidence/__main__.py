"""Run rows of the tables and write the report.

python -m experiments.evidence --task cue --system mix            five seeds of one row, printed beside the kept ones
python -m experiments.evidence --all --out experiments/runs.csv   everything that is not in the file yet
python -m experiments.evidence --gates --out experiments/gates.csv                accuracy against budget
python -m experiments.evidence --localisation --out experiments/localisation.csv  CAM, Grad-CAM and torchcam's on one net
python -m experiments.evidence --playground --out experiments/playground.csv      the page's own training, by Node
python -m experiments.evidence --report experiments               tables and figures from the CSVs
"""

from __future__ import annotations

import argparse
import itertools
import sys

import torch

from dynconv.lessons.tables import mean_and_std, read

from . import gates, localisation, playground
from .report import report
from .rows import Row, rows
from .runs import COLUMNS, run_all
from .table import KEY, summarise, write

SEEDS = range(5)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.evidence", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--task")
    parser.add_argument("--system")
    parser.add_argument("--num-kernels", type=int, help="K of the rows to run")
    parser.add_argument("--temperature", help="T of the rows to run, such as 30 or 30-1")
    parser.add_argument("--seed", type=int, help="only this seed (default: 0 to 4)")
    parser.add_argument("--gates", action="store_true", help="train gated nets")
    parser.add_argument("--budget", type=float, help="only this budget of the gated nets")
    parser.add_argument("--quiet", type=float, help="only this share of their training without noise, at its end")
    parser.add_argument("--localisation", action="store_true", help="score maps against known places")
    parser.add_argument("--playground", action="store_true", help="train as the playground's page does")
    parser.add_argument(
        "--all", action="store_true", help="every row that is asked for, but none that --out already has"
    )
    parser.add_argument("--out", help="CSV to add the runs to")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each (2)")
    parser.add_argument("--report", metavar="FOLDER", help="write README.md and figures from FOLDER/runs.csv")
    args = parser.parse_args(argv)
    if args.report:
        print("\n".join(str(path) for path in report(args.report)))
        return 0
    if args.gates or args.localisation or args.playground:
        return series(args)
    if not (args.all or args.task):
        parser.error("say which rows: --task (and --system, …), or --all")
    jobs = wanted(args)
    lines = read(args.out, COLUMNS) if args.out else []
    done = {tuple(line[name] for name in (*KEY, "seed")) for line in lines} if args.all else set()
    jobs = [job for job in jobs if identity(*job) not in done]
    fresh: list[dict] = []
    for line in run_all(jobs, args.jobs):
        fresh.append(line)
        print(
            f"{len(fresh)}/{len(jobs)} {line['command']}: test loss {line['test_loss']:.4f}, {line['seconds']} s",
            flush=True,
        )
        if args.out:
            write(args.out, [*lines, *fresh])
    for key, seeds in summarise([{n: str(v) for n, v in line.items()} for line in fresh]).items():
        mean, std = mean_and_std(seeds, "test_loss")
        print(f"{' '.join(filter(None, key))}: test loss {mean:.4f} ± {std:.4f} over {len(seeds)} seeds")
    return 0


def series(args) -> int:
    """Gated nets, localisation or the playground: one line a seed, and a budget or setting where there is one."""
    seeds = [args.seed] if args.seed is not None else SEEDS
    if args.playground:
        columns, runs = playground.COLUMNS, ((playground.run, job) for job in playground.jobs(args.task, args.seed))
    elif args.gates:
        budgets = [args.budget] if args.budget is not None else gates.BUDGETS
        quiet = [args.quiet] if args.quiet is not None else gates.QUIET
        columns, runs = gates.COLUMNS, ((gates.run, job) for job in itertools.product(budgets, quiet, seeds))
    else:
        columns, runs = localisation.COLUMNS, ((localisation.run, (seed,)) for seed in seeds)
    torch.set_num_threads(1)
    lines = read(args.out, columns) if args.out else []
    for function, arguments in runs:
        lines.append(function(*arguments))
        print(", ".join(f"{name} {value}" for name, value in lines[-1].items() if name != "command"), flush=True)
        if args.out:
            write(args.out, lines, columns)
    return 0


def wanted(args) -> list[tuple[Row, int]]:
    """Rows and seeds that the arguments ask for."""
    found = [
        row
        for row in rows(args.task, args.system)
        if args.num_kernels in (None, row.num_kernels) and args.temperature in (None, row.temperature)
    ]
    if not found:
        sys.exit(f"no row has K = {args.num_kernels} and T = {args.temperature}; rows: {rows(args.task, args.system)}")
    return [(row, seed) for row in found for seed in ([args.seed] if args.seed is not None else SEEDS)]


def identity(row: Row, seed: int) -> tuple[str, ...]:
    return row.task, row.system, str(row.num_kernels or ""), row.temperature, str(seed)


if __name__ == "__main__":
    sys.exit(main())

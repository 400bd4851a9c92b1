"""Interventions on networks that others trained.

python -m experiments.trained                                    what trained.csv does not have yet; no connection needed
python -m experiments.trained --network direction --gates all --mode frozen --seed 0     one row, printed beside the kept one
python -m experiments.trained --report                           trained.md and its figure from trained.csv
python -m experiments.trained --model timm/skresnet18.ra_in1k --images FOLDER    any network of timm or torchvision
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from dynconv.lessons.tables import read
from experiments.evidence.table import write

from . import by_name, offline
from .report import report

OUT = Path("experiments/trained.csv")


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.report:
        print("\n".join(str(path) for path in report(args.out or OUT)))
        return 0
    if args.model:
        if not args.images:
            parser.error("--model needs --images FOLDER")
        return by_name.main(args)
    torch.set_num_threads(1)
    return _rows(args, args.out or OUT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.trained", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--network", choices=list(offline.SEEDS), help="only this one")
    parser.add_argument("--gates", help='"all", or the number of one, such as 03')
    parser.add_argument("--mode", choices=(offline.TRAINED, *offline.MODES), help="only this intervention")
    parser.add_argument("--seed", type=int, help="only this seed of the images")
    parser.add_argument("--out", type=Path, help=f"CSV that lines are added to ({OUT})")
    parser.add_argument(
        "--again", action="store_true", help="rows that the CSV has, too: both are printed, the new one is kept"
    )
    parser.add_argument("--report", action="store_true", help="write the tables and the figure beside the CSV")
    online = parser.add_argument_group("any network by name")
    online.add_argument(
        "--model", metavar="NAME", help="timm/NAME or torchvision/NAME; its weights are downloaded once"
    )
    online.add_argument("--images", type=Path, metavar="FOLDER", help="with images; subfolders may name classes")
    online.add_argument("--random", action="store_true", help="random weights, no download")
    online.add_argument("--limit", type=int, default=1000, help="images at most, spread over the folder (1000)")
    online.add_argument("--each", action="store_true", help="each gate alone, too")
    return parser


def _rows(args: argparse.Namespace, out: Path) -> int:
    lines = read(out, offline.COLUMNS)
    kept = {(line["network"], line["gates"], line["mode"], line["seed"]): line for line in lines}
    whole = None not in (args.network, args.gates, args.mode, args.seed)  # one row, asked for by all of its name
    asked = 0
    for name in [args.network] if args.network else offline.SEEDS:
        for gates, mode, seed in offline.settings(name):
            if args.gates not in (None, gates) or args.mode not in (None, mode) or args.seed not in (None, seed):
                continue
            before, asked = kept.get((name, gates, mode, str(seed))), asked + 1
            if before and not (whole or args.again):
                continue
            lines.append(offline.run(name, gates, mode, seed))
            was = f" (kept: {float(before['score']):.4f})" if before else ""
            score = f"{lines[-1]['score']:.4f}{was}"
            print(f"{name}, gates {gates}, {mode}, seed {seed}: {score}, {lines[-1]['seconds']} s", flush=True)
            if args.out or not whole:
                write(out, lines, offline.COLUMNS)
    if not asked:
        print(f"no row has gates {args.gates!r} and seed {args.seed}; see {out}", file=sys.stderr)
    return int(not asked)


if __name__ == "__main__":
    sys.exit(main())

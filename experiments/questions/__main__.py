"""Ask the layers sharper questions than which is best, and write down what comes out.

python -m experiments.questions importance --out experiments/questions.csv          what the file lacks of one question
python -m experiments.questions importance --case "clutter, mix" --seed 3           one row, printed, not kept
python -m experiments.questions --report experiments                                questions.md and figures from the CSV
"""

from __future__ import annotations

import argparse
import fnmatch
import sys

import torch

from .report import report
from .rows import QUESTIONS, ask


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.questions", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--case", default="*", help="only this case of it; * stands for anything")
    parser.add_argument("--seed", type=int, help="only this seed")
    parser.add_argument("--out", help="CSV that the rows are added to; none that it has is run again")
    parser.add_argument("--report", metavar="FOLDER", help="write questions.md and figures from FOLDER/questions.csv")
    args = parser.parse_args(argv)
    if args.report:
        print("\n".join(str(path) for path in report(args.report)))
        return 0
    if not args.questions:
        parser.error(f"say which question: {', '.join(QUESTIONS)}; or --report")
    for unknown in (name for name in args.questions if name not in QUESTIONS):
        parser.error(f"there is no question {unknown!r}; there are: {', '.join(QUESTIONS)}")
    for name in args.questions:
        if not fnmatch.filter(QUESTIONS[name].CASES, args.case):
            parser.error(f"{name} has no case {args.case!r}; it has: {'; '.join(QUESTIONS[name].CASES)}")
    torch.set_num_threads(1)  # the same sums in the same order
    for line in ask(args.questions, args.case, args.seed, args.out):
        print(f"{line['question']}: {line['case']}, seed {line['seed']}: {line['numbers']}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

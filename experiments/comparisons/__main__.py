"""How often the lessons' sentences about trained numbers hold.

python -m experiments.comparisons                         the table, from comparisons.csv
python -m experiments.comparisons --run [NAME ...]        run what is not in the file yet, five seeds each
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import torch

from dynconv.lessons.tables import read

from .sentences import SENTENCES

FILE = Path(__file__).parents[1] / "comparisons.csv"
SEEDS, COLUMNS = range(5), ("comparison", "seed", "held", "numbers")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.comparisons",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--run", nargs="*", metavar="NAME", help="; ".join(SENTENCES))
    parser.add_argument("--out", type=Path, default=FILE, help="the CSV")
    args = parser.parse_args(argv)
    if args.run is not None:
        names = args.run or list(SENTENCES)
        if unknown := set(names) - set(SENTENCES):
            parser.error(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(SENTENCES)}")
        torch.set_num_threads(1)  # the same sums in the same order
        run(names, args.out)
    print(table(read(args.out, COLUMNS)))
    return 0


def row(name: str, seed: int) -> dict[str, str]:
    """One line of the CSV, measured."""
    sentence = SENTENCES[name]
    numbers = sentence.numbers(seed)
    rounded = {which: float(f"{value:.4g}") for which, value in numbers.items()}
    held = "yes" if sentence.holds(numbers) else "no"
    return dict(zip(COLUMNS, (name, str(seed), held, json.dumps(rounded, ensure_ascii=False)), strict=True))


def run(names: list[str], file: Path) -> None:
    """Measure what the file lacks; each line is written as soon as it is there."""
    kept = read(file, COLUMNS)
    done = {(line["comparison"], line["seed"]) for line in kept}
    for name in names:
        for seed in SEEDS:
            if (name, str(seed)) not in done:
                kept.append(row(name, seed))
                print(", ".join(kept[-1].values()), flush=True)
                _write(sorted(kept, key=lambda line: (line["comparison"], line["seed"])), file)


def _write(lines: list[dict[str, str]], file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def table(lines: list[dict[str, str]]) -> str:
    """Sentence, lesson, and how many seeds it held with."""
    said = ["| lesson | sentence | held |", "| --- | --- | --- |"]
    for name, sentence in SENTENCES.items():
        held = [line["held"] == "yes" for line in lines if line["comparison"] == name]
        said.append(f"| {sentence.lesson} | {sentence.says} | {sum(held)} of {len(held)} |")
    return "\n".join(said)


if __name__ == "__main__":
    sys.exit(main())

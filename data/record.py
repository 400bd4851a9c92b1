"""Record the shipped training runs anew: python data/record.py [name] (a minute on one core)

Trains the task's dynamic layer at T = 1, T = 30 and annealed 30 → 1 from one seed and writes recordings/NAME.json and
recordings/SHA256SUMS. L-BFGS magnifies the last bit: with another torch or processor the later epochs differ a little.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch

from experiments.evidence.recording import record_training

FOLDER = Path(__file__).resolve().parent / "recordings"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="restoration", help="of the task")
    name = parser.parse_args().name
    torch.set_num_threads(1)  # the same sums in the same order
    kept = {"command": f"python data/record.py {name}"} | record_training(name)
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
    (FOLDER / f"{name}.json").write_text(text.replace('{"epoch"', '\n{"epoch"') + "\n", encoding="utf-8", newline="\n")
    files = sorted(FOLDER.glob("*.json"))
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (FOLDER / "SHA256SUMS").write_text(sums, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

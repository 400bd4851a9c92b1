"""The two small layers behind the lessons' diagrams, trained at the scale at which they are shown.

    python -m experiments.restorers              five seeds, printed as a table (five minutes on a quiet core)
    python -m experiments.restorers --write      the same, and the first seed's layers into data/layers/

A softmax mix (the question's) and a dynamic layer, K = 4 kernels of 9 × 9 each, undo one of four damages without being told which.
They learn from the left 60 % of the shipped photos and are judged, and shown, on the right 35 %. The first seed is kept, not the best.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynconv.functional import dynamic_conv
from dynconv.lessons.data import DEGRADATIONS, restoration
from dynconv.lessons.data.degradations import Restoration
from dynconv.lessons.systems import filter_network
from dynconv.lessons.train import fit

FOLDER = Path(__file__).resolve().parents[1] / "data" / "layers"
SYSTEMS, SEEDS, EPOCHS = ("mix", "dynamic"), range(5), 20
SHOWN = 136  # pixels a side, of what a diagram shows


def center(x: Tensor) -> Tensor:
    """What a 9 × 9 kernel reaches without padding."""
    return x[..., 4:-4, 4:-4].contiguous()


def train(system: str, data: Restoration, seed: int) -> nn.Module:
    """The system's layer at T = 1. Its kernels begin small, so that what is seen in them was learned."""
    torch.manual_seed(seed)
    layer = filter_network(system, temperature=1.0)
    with torch.no_grad():
        layer.weight.mul_(0.1)
    recipe = {"optimizer": "lbfgs", "lr": 1.0, "epochs": EPOCHS, "seed": seed, "progress": False}
    for _ in fit(layer, data.degraded, center(data.clean), **recipe):
        pass
    return layer.eval().requires_grad_(False)


def errors(layers: dict[str, nn.Module], held: Restoration) -> dict[str, list[float]]:
    """Mean squared error for each damage: as it came, under both layers, and under the dynamic one's kernels evenly mixed."""
    dynamic, clean = layers["dynamic"], center(held.clean)
    even = torch.full((len(clean), dynamic.num_kernels), 1 / dynamic.num_kernels)
    results = {"damaged": center(held.degraded)} | {name: layer(held.degraded) for name, layer in layers.items()}
    results["dynamic, even shares"] = dynamic_conv(held.degraded, dynamic.weight, even, dynamic.bias)
    kinds = range(len(DEGRADATIONS))
    return {
        name: [F.mse_loss(y[held.kind == k], clean[held.kind == k]).item() for k in kinds]
        for name, y in results.items()
    }


def table(runs: list[dict[str, list[float]]]) -> Iterator[str]:
    """A line for each row of :func:`errors`: mean ± standard deviation over the seeds."""
    yield f"{'':22}" + "".join(f"{name:>24}" for name in DEGRADATIONS)
    for name in runs[0]:
        values = torch.tensor([run[name] for run in runs])  # (seeds, damages)
        spread = values.std(0) if len(runs) > 1 else torch.zeros(len(DEGRADATIONS))
        yield f"{name:22}" + "".join(f"{m:>15.4f} ± {s:.4f}" for m, s in zip(values.mean(0), spread, strict=True))


def write(layers: dict[str, nn.Module], seed: int, found: dict[str, list[float]]) -> None:
    """The layers' numbers, and where they come from."""
    FOLDER.mkdir(exist_ok=True)
    versions = {"torch": torch.__version__.split("+")[0], "python": platform.python_version()}
    origin = {"command": "python -m experiments.restorers --write", "seed": seed, "versions": versions}
    origin["errors"] = {name: [round(value, 4) for value in row] for name, row in found.items()}
    states = {
        name: {key: value.tolist() for key, value in layer.state_dict().items()} for name, layer in layers.items()
    }
    text = json.dumps(origin | {"layers": states}, separators=(",", ":")) + "\n"
    (FOLDER / "restorers.json").write_text(text, encoding="utf-8", newline="\n")
    digest = hashlib.sha256(text.encode()).hexdigest()
    (FOLDER / "SHA256SUMS").write_text(f"{digest}  restorers.json\n", encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the first seed's layers in data/layers/")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many seeds (5)")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the same sums in the same order
    data, held = restoration("train", per_photo=30, size=32), restoration("test", per_photo=4, size=SHOWN)
    runs = []
    for seed in range(args.seeds):
        layers = {system: train(system, data, seed) for system in SYSTEMS}
        runs.append(errors(layers, held))
        print(f"seed {seed}", *table(runs[-1:]), sep="\n", flush=True)
        if args.write and seed == 0:
            write(layers, seed, runs[-1])
    print("all seeds", *table(runs), sep="\n")


if __name__ == "__main__":
    main()

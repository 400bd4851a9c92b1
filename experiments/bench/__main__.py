"""A dynamic convolution beside a static one, in one run: python -m experiments.bench [--all] [--json FILE] ..."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from pathlib import Path

import torch

from dynconv.native import library

from .cases import CASES, GPU_CASES, MORE_CASES, methods
from .measure import interleaved, peak_memory
from .networks import NETWORKS, steps

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FORMATS = {False: torch.contiguous_format, True: torch.channels_last}
IMAGES = {"cpu": (8, 128), "cuda": (64, 224)}  # for whole networks: how many, and their height and width


def main(argv: list[str] | None = None) -> int:
    """Measure, print the tables, write the JSON; the exit status."""
    args = _arguments(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    results = {"machine": _machine(args), "cases": [], "networks": []}
    print("\n" + ", ".join(f"{name} {value}" for name, value in results["machine"].items()))
    for backward in (False, True):
        cases = GPU_CASES if args.device == "cuda" else MORE_CASES if args.all else CASES
        rows = [_case(case, args, backward) for case in cases]
        results["cases"] += rows
        _print_cases(rows, "forward and backward" if backward else "forward")
    if not args.no_networks:
        results["networks"] = [_network(name, args, train) for name in NETWORKS for train in (False, True)]
        _print_networks(results["networks"], *IMAGES[args.device])
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__)
    parser.add_argument("--all", action="store_true", help="more shapes: strides, groups, depthwise (CPU)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=list(DTYPES))
    parser.add_argument("--channels-last", action="store_true", help="images lie so that channels are side by side")
    parser.add_argument("--num-kernels", type=int, default=4, help="K (4)")
    parser.add_argument("--seconds", type=float, default=2.0, help="at least this long a shape and direction (2)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--no-networks", action="store_true", help="single layers only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers there")
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("this torch sees no CUDA device")
    return args


def _machine(args) -> dict:
    cpu = platform.processor() or platform.machine()
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"{cpu}, {os.cpu_count()} cores"
    versions = {"torch": torch.__version__, "Python": platform.python_version(), "threads": torch.get_num_threads()}
    built = "built" if library() else "not built: python -m dynconv.native"
    layout = "channels last" if args.channels_last else "contiguous"
    said = {"dtype": args.dtype, "images": layout, "K": args.num_kernels, "native": built}
    tf32 = {"TF32": torch.backends.cudnn.allow_tf32} if args.device == "cuda" else {}
    return {"device": device, **versions, **said, **tf32}


def _case(case, args, backward: bool) -> dict:
    layout = FORMATS[args.channels_last]
    functions = methods(case, args.num_kernels, args.device, DTYPES[args.dtype], backward, layout)
    seconds = interleaved(functions, args.device, args.seconds)
    memory = {name: peak_memory(functions[name], args.device) for name in ("static", "auto")}
    return {"case": str(case), "backward": backward, "seconds": seconds, "peak_bytes": memory}


def _network(name: str, args, train: bool) -> dict:
    made = {"dtype": DTYPES[args.dtype], "memory_format": FORMATS[args.channels_last]}
    functions = steps(name, args.num_kernels, args.device, *IMAGES[args.device], train=train, **made)
    seconds = interleaved(functions, args.device, 4 * args.seconds, least=5)
    memory = {kind: peak_memory(function, args.device) for kind, function in functions.items()}
    return {"network": name, "train": train, "seconds": seconds, "peak_bytes": memory}


def _print_cases(rows: list[dict], title: str) -> None:
    names = [name for name in rows[0]["seconds"] if name != "static"]
    print(f"\n**{title}**: time over that of one torch.nn.functional.conv2d of the shape\n")
    print("| B × C → O, size, kernel | static ms | " + " | ".join(names) + " | peak memory, auto over static |")
    print("| --- | " + "--: | " * (len(names) + 2))
    for row in rows:
        static = row["seconds"]["static"]
        ratios = " | ".join(f"{row['seconds'][name] / static:.2f}" if name in row["seconds"] else "–" for name in names)
        print(f"| {row['case']} | {1e3 * static:.2f} | {ratios} | {_memory_ratio(row['peak_bytes'], 'auto')} |")
    means = [
        statistics.geometric_mean(r["seconds"][name] / r["seconds"]["static"] for r in rows if name in r["seconds"])
        for name in names
    ]
    print("| geometric mean | | " + " | ".join(f"**{mean:.2f}**" for mean in means) + " | |", flush=True)


def _print_networks(rows: list[dict], images: int, size: int) -> None:
    print(f"\n**whole networks**, {images} images of {size} × {size}: dynamic over static\n")
    print("| network | step | static ms | time | peak memory |\n| --- | --- | --: | --: | --: |")
    for row in rows:
        static, dynamic = row["seconds"]["static"], row["seconds"]["dynamic"]
        step = "training" if row["train"] else "inference"
        memory = _memory_ratio(row["peak_bytes"], "dynamic")
        print(f"| {row['network']} | {step} | {1e3 * static:.1f} | {dynamic / static:.2f} | {memory} |", flush=True)


def _memory_ratio(peak: dict, name: str) -> str:
    if not peak["static"] or peak[name] is None:
        return "–"
    return f"{peak[name] / peak['static']:.1f}"


if __name__ == "__main__":
    sys.exit(main())

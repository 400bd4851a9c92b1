"""Dynamic convolutions beside static ones and beside what others do, in one run: python -m experiments.bench

Single layers: the shapes by every method, the layers of networks where time is spent, and tiny ones. Whole networks: inference
and training, with peers in the same places; compiled; exported to ONNX. Medians of turns, by the clock on the wall and by CPU time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch

from dynconv.native import library

from . import tables
from .cases import CASES, GPU_CASES, MORE_CASES, NETWORK_CASES, TINY_CASES
from .networks import NETWORKS
from .settings import Settings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FORMATS = {False: torch.contiguous_format, True: torch.channels_last}
IMAGES = {"cpu": (8, 128), "cuda": (64, 224)}  # for whole networks: how many, and their height and width
WAYS = ("inference", "training", "compiled", "onnx", "by-layer")


def main(argv: list[str] | None = None) -> int:
    """Measure, print the tables, write the JSON; the exit status."""
    args = _arguments(argv)
    results = {"machine": _machine(args), "passes": [], "rows": []}
    print("\n" + ", ".join(f"{name} {value}" for name, value in results["machine"].items()))
    for threads in args.threads:
        torch.set_num_threads(threads)
        began = _load()
        print(f"\n## {threads} thread{'s' * (threads > 1)}")
        for rows, text in _tables(args, replace(_settings(args), threads=threads)):
            print("\n" + text, flush=True)
            results["rows"] += [asdict(row) for row in rows]
            _keep(results, args.json)
        results["passes"].append({"threads": threads, "load_before": began, "load_after": _load()})
        print(f"\nLoad average of the machine (1 minute) before and after: {began} and {_load()}.", flush=True)
    _keep(results, args.json)
    return 0


def _keep(results: dict, file: Path | None) -> None:
    """After each table: a run that is ended keeps what it has."""
    if file:
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _tables(args: argparse.Namespace, settings: Settings) -> Iterator[tuple[list, str]]:
    """All tables that were asked for, each measured when it is its turn."""
    directions = [way == "training" for way in ("inference", "training") if way in args.ways]
    if args.layers is not None and directions:
        usual = GPU_CASES if args.device == "cuda" else MORE_CASES if args.all else CASES
        for table, cases in ((tables.shapes, usual), (tables.layers, NETWORK_CASES), (tables.tiny, TINY_CASES)):
            chosen = [case for case in cases if not args.layers or any(text in str(case) for text in args.layers)]
            if chosen:
                yield from table(chosen, directions, settings)
    if args.networks is None:
        return
    names, shape = args.networks, IMAGES[args.device]
    if directions:
        yield from tables.networks(names, directions, shape, settings)
    if "compiled" in args.ways:
        yield from tables.compiled(names, (False, True), shape, settings)
    if "onnx" in args.ways:
        yield from tables.exported(names, shape, settings)
    if "by-layer" in args.ways:
        yield from tables.by_layer(names, (False, True), shape, settings)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    shape = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__, **shape)
    parser.add_argument(
        "--layers", nargs="*", metavar="TEXT", help="single layers only; of them those whose name contains a TEXT"
    )
    parser.add_argument("--networks", nargs="*", metavar="NAME", help=f"whole networks only; of {', '.join(NETWORKS)}")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, help="which (all but by-layer, which says where a network's time goes)"
    )
    parser.add_argument("--threads", type=int, nargs="+", help="CPU threads, a pass each (default: torch's choice)")
    parser.add_argument("--all", action="store_true", help="more shapes: strides, groups, depthwise (CPU)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=list(DTYPES))
    parser.add_argument("--channels-last", action="store_true", help="images lie so that channels are side by side")
    parser.add_argument("--num-kernels", type=int, default=4, help="K (4)")
    parser.add_argument("--seconds", type=float, default=2.0, help="at least this long a row; networks four times (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers there")
    args = parser.parse_args(argv)
    _complete(args, parser)
    return args


def _complete(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Fill in what was not said, and refuse what cannot be measured."""
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("this torch sees no CUDA device")
    args.threads = args.threads or [torch.get_num_threads()]
    if min(args.threads) < 1:
        parser.error(f"--threads must be 1 or more, got {min(args.threads)}")
    if args.layers is None and args.networks is None:
        args.layers = args.networks = []
    if args.networks is not None:
        args.networks = args.networks or list(NETWORKS)
        if unknown := set(args.networks) - set(NETWORKS):
            parser.error(f"--networks must be of {', '.join(NETWORKS)}, got {min(unknown)}")
    if args.layers and not any(text in str(c) for text in args.layers for c in _all_cases()):
        parser.error(f"no layer's name contains {' or '.join(args.layers)}; one is named {CASES[0]}")
    can_export = args.device == "cpu" and args.dtype == "float32"
    missing = [name for name in ("onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if args.ways and "onnx" in args.ways and (missing or not can_export):
        parser.error(f"onnx needs {' and '.join(missing)}" if missing else "onnx runs in float32 on a CPU")
    args.ways = args.ways or [w for w in WAYS[:4] if w != "onnx" or (can_export and not missing)]


def _all_cases() -> tuple:
    return *MORE_CASES, *GPU_CASES, *NETWORK_CASES, *TINY_CASES


def _settings(args: argparse.Namespace) -> Settings:
    layout = FORMATS[args.channels_last]
    return Settings(args.device, DTYPES[args.dtype], layout, args.num_kernels, args.seconds, says=True)


def _machine(args: argparse.Namespace) -> dict:
    cpu = platform.processor() or platform.machine()
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"{cpu}, {os.cpu_count()} cores"
    versions = {"torch": torch.__version__, "Python": platform.python_version()}
    versions |= {"threads": " and ".join(map(str, args.threads))}
    built = "built" if library() else "not built: python -m dynconv.native"
    layout = "channels last" if args.channels_last else "contiguous"
    said = {"dtype": args.dtype, "images": layout, "K": args.num_kernels, "native": built}
    tf32 = {"TF32": torch.backends.cudnn.allow_tf32} if args.device == "cuda" else {}
    return {"device": device, **versions, **said, **tf32}


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    sys.exit(main())

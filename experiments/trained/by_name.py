"""Any network of timm or torchvision on a folder of images: with its gates, and with others in their place."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynconv.lessons.tables import read
from experiments.evidence.table import write

from .gates import Gate, closed, exposed
from .library import Known, WeightsError, load
from .measure import MODES, TRAINED, answers, each, variations

__all__ = ["COLUMNS", "main", "rows"]

COLUMNS = (
    *("model", "weights", "found", "gates", "mode", "images", "accuracy", "agreement", "moved", "varies"),
    *("torch", "command"),
)
ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
BATCH, FROZEN_ON = 16, 64  # images at once; images that gates are frozen on


def main(args: argparse.Namespace) -> int:
    """Measure, print, and write where --out says; 1 with a sentence where that cannot be."""
    try:
        known = load(args.model, args.random)
        images, labels = pictures(args.images, known, args.limit)
        net, gates = exposed(known.net, images[:2])
        if hidden := closed(net):
            print(f"torch.fx cannot trace {', '.join(hidden)}: gates inside of these stay as they are")
        made = []
        for line in rows(net, gates, images, labels, args.each):
            made.append(_about(args) | {"found": found(gates)} | line)
            print(said(made[-1]), flush=True)
    except (ValueError, WeightsError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    if args.out:
        write(args.out, [*read(args.out, COLUMNS), *made], COLUMNS)
    return 0


def rows(
    net: nn.Module, gates: list[Gate], images: Tensor, labels: Tensor | None, alone: bool
) -> Iterator[dict[str, Any]]:
    """One line an intervention: of all gates together and, if asked for, of each ``alone``.

    Args:
        net: with its gates laid open, see :func:`experiments.trained.gates.exposed`.
        images: (N, C, H, W), at least two; labels: (N,), None where they are not known.
    """
    others = images[:: max(1, len(images) // FROZEN_ON)]
    plain = answers(net, images, others, batch=BATCH).softmax(1)
    varying, names = variations(net, images, BATCH), [gate.name for gate in gates]
    for label, chosen in each(names if alone else []):
        mean = sum(varying[name] for name in chosen or names) / len(chosen or names)
        for mode in (TRAINED, *MODES):
            now = plain if mode == TRAINED else answers(net, images, others, mode, chosen, batch=BATCH).softmax(1)
            yield {
                "gates": label,
                "mode": mode,
                "images": len(images),
                "accuracy": "" if labels is None else (now.argmax(1) == labels).double().mean().item(),
                "agreement": (now.argmax(1) == plain.argmax(1)).double().mean().item(),
                "moved": (now - plain).abs().sum(1).mean().item() / 2,
                "varies": mean,
                "torch": torch.__version__.split("+")[0],
            }


def pictures(folder: Path, known: Known, limit: int) -> tuple[Tensor, Tensor | None]:
    """The images of a folder as the network takes them, and their classes where all subfolders name one.

    Raises:
        ValueError: there is no such folder, fewer than two images are in it, or one cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if len(paths) < 2:
        raise ValueError(f"at least 2 images are needed, {folder} has {len(paths)} ({', '.join(sorted(ENDINGS))})")
    paths = [paths[i * len(paths) // limit] for i in range(limit)] if len(paths) > limit else paths
    images = []
    for path in paths:
        try:
            with Image.open(path) as image:
                images.append(known.transform(image.convert("RGB")))
        except (OSError, UnidentifiedImageError) as error:
            raise ValueError(f"{path} cannot be read as an image: {error}") from error
    names = [path.relative_to(folder).parts[0].lower() if path.parent != folder else "" for path in paths]
    unknown = sorted({name for name in names if name not in known.classes})
    if unknown:
        words = "its images lie in no subfolders" if unknown == [""] else f"{unknown[-1]!r} is no class of the network"
        print(f"{folder}: {words}, so no accuracy, only the agreement with the untouched network")
        return torch.stack(images), None
    return torch.stack(images), torch.tensor([known.classes[name] for name in names])


def found(gates: list[Gate]) -> str:
    """What was found, counted: "40: 16 over channels, 24 over kernels"."""
    counts = Counter(gate.over for gate in gates)
    return f"{len(gates)}: " + ", ".join(f"{number} over {over}" for over, number in sorted(counts.items()))


def said(line: dict[str, Any]) -> str:
    accuracy = "" if line["accuracy"] == "" else f"accuracy {line['accuracy']:.1%}, "
    return (
        f"{line['model']} ({line['weights']} weights), gates {line['gates']}, {line['mode']}: {accuracy}agreement "
        f"{line['agreement']:.1%}, probability moved {line['moved']:.2g}"
    )


def _about(args: argparse.Namespace) -> dict[str, str]:
    options = " --random" if args.random else ""
    options += " --each" if args.each else ""
    options += f" --limit {args.limit}" if args.limit != 1000 else ""
    command = f"python -m experiments.trained --model {args.model} --images {args.images.as_posix()}{options}"
    return {"model": args.model, "weights": "random" if args.random else "trained", "command": command}

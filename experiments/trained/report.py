"""trained.md: the tables and the figure, made of trained.csv and trained_random.csv and nothing else."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

from matplotlib.figure import Figure

from dynconv.lessons.figures import KERNEL_COLOURS, KERNEL_HATCHES, Picture
from dynconv.lessons.tables import mean_and_std, read

from . import by_name, offline
from .measure import MODES, TRAINED
from .offline import ALONE

__all__ = ["report"]

WORDS = {
    "direction": ("direction", "lines whose direction is right, %"),
    "direction-loose": ("direction, loose lines", "lines whose direction is right, %"),
    "detector": ("detector", "F1 of the lines found, %"),
    "recogniser": ("recogniser", "characters read right, %"),
}
ALL = (TRAINED, *MODES)


def report(csv: str | Path) -> list[Path]:
    """Write a report and its figure beside the CSV they are made of.

    Example:
        >>> report("nowhere.csv")
        Traceback (most recent call last):
        FileNotFoundError: there are no rows in nowhere.csv

    Args:
        csv: as ``python -m experiments.trained`` writes it; NAME_random.csv beside it, of ``--model``, is read if it is there.

    Returns:
        The files that were written.

    Raises:
        FileNotFoundError: there are no rows.
    """
    csv = Path(csv)
    lines = read(csv, offline.COLUMNS)
    if not lines:
        raise FileNotFoundError(f"there are no rows in {csv.as_posix()}")
    whole = {name: _of(lines, name, "all") for name in WORDS if _of(lines, name, "all")}
    picture = _figure(whole)
    path, image = csv.with_suffix(".md"), csv.with_suffix(".png")
    image.write_bytes(picture.png)
    parts = [_head(csv, lines), _table(whole), f"![{picture.alt}]({image.name})", _verdicts(whole), _difficulty(whole)]
    parts += [_each(lines), _by_name(csv)]
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8", newline="\n")
    return [path, image]


def _of(lines: list[dict], network: str, gates: str) -> dict[str, list[dict]]:
    """Mode → lines, one a seed, in the order of the seeds."""
    own = [line for line in lines if line["network"] == network and line["gates"] == gates]
    own.sort(key=lambda line: int(line["seed"]))
    found = {mode: [line for line in own if line["mode"] == mode] for mode in ALL}
    return {mode: seeds for mode, seeds in found.items() if seeds}


def _percent(lines: list[dict], column: str = "score") -> str:
    mean, std = mean_and_std([{column: str(100 * float(line[column]))} for line in lines], column) or (0.0, 0.0)
    return f"{mean:.1f} ± {std:.1f}"


def _change(lines: list[dict], plain: list[dict], column: str = "score") -> tuple[float, float, int]:
    """Percentage points against the network as trained, seed by seed: mean, standard deviation, seeds."""
    base = {line["seed"]: float(line[column]) for line in plain}
    points = [100 * (float(line[column]) - base[line["seed"]]) for line in lines if line["seed"] in base]
    return statistics.fmean(points), statistics.stdev(points) if len(points) > 1 else 0.0, len(points)


def _said(change: tuple[float, float, int]) -> str:
    return f"{change[0]:+.1f} ± {change[1]:.1f}"


def _head(csv: Path, lines: list[dict]) -> str:
    hours = sum(float(line["seconds"]) for line in lines) / 3600
    versions = ", ".join(sorted({line["torch"] for line in lines}))
    images = {(line["network"], line["seed"]): int(line["images"]) for line in lines}
    counts = "; ".join(
        f"{WORDS[name][0]}: {sum(n for (own, _), n in images.items() if own == name):,} images in "
        f"{sum(own == name for own, _ in images)} seeds"
        for name in WORDS
        if any(own == name for own, _ in images)
    )
    return f"""# Networks that others trained

Does attention matter in networks people use? [PaddleOCR](https://github.com/PaddlePaddle/PaddleOCR)'s three, as the package
`rapidocr-onnxruntime` carries them: is a line upside down (*direction*, MobileNetV3-small × 0.35, 9 gates), where is text (*detector*,
PP-OCRv4, 10 gates, 8 of them beside a shortcut: x + g x), what does it say (*recogniser*, PP-OCRv4, 2 gates). Their [first
version](https://arxiv.org/abs/2009.09941) learned from 600,000, 97,000 and 17.9 million images. All gates are Squeeze-and-Excitation, one weight a channel, found by
structure in the graph (`experiments.trained.gates`), and replaced by `dynconv.probe.intervene`. Asked on rendered lines: 20 of matplotlib's
fonts, many sizes, blurs, contrasts and noises, half of the direction's lines upside down. *Loose* lines lie on a larger strip of paper, not cut
out as a detector does. *Frozen*: every gate at its mean over other lines of the same kind, which is no attention at all.

{counts}. Mean ± standard deviation over seeds. Made by `python -m experiments.trained` and
`python -m experiments.trained --report` ({hours:.1f} hours of one CPU core, torch {versions}); every line of [{csv.name}]({csv.name}) names
the command that repeats it."""


def _table(whole: dict[str, dict[str, list[dict]]]) -> str:
    text = [f"| network | score | {' | '.join(ALL)} | gates vary by |", f"| --- | --- |{' --: |' * (len(ALL) + 1)}"]
    for name, modes in whole.items():
        cells = " | ".join(_percent(modes[mode]) if mode in modes else "–" for mode in ALL)
        varies = statistics.fmean(float(line["varies"]) for line in next(iter(modes.values())))
        text.append(f"| {WORDS[name][0]} | {WORDS[name][1]} | {cells} | {100 * varies:.0f} % |")
    return "\n".join(text)


def _verdicts(whole: dict[str, dict[str, list[dict]]]) -> str:
    """What shuffling and freezing do: said from the numbers, whichever way they come out."""
    text = []
    for name, modes in whole.items():
        if not {TRAINED, "shuffled", "frozen"} <= set(modes):
            continue
        shuffled, frozen = (_change(modes[mode], modes[TRAINED]) for mode in ("shuffled", "frozen"))
        text.append(
            f"- **{WORDS[name][0]}**: another image's gates: {_said(shuffled)} points, {_word(shuffled, 'the match matters')}; frozen: "
            f"{_said(frozen)} points, {_word(frozen, 'attention buys something')}."
        )
    about = "Against the network as trained, seed by seed (*clearly* is a mean beyond twice its standard error):"
    return "\n".join([about, "", *text]) if text else ""


def _word(change: tuple[float, float, int], costs: str) -> str:
    mean, std, seeds = change
    if seeds < 2 or abs(mean) <= 2 * std / math.sqrt(seeds):
        return "no clear difference"
    return f"clearly worse: {costs}" if mean < 0 else "clearly better: the network is better without"


def _difficulty(whole: dict[str, dict[str, list[dict]]]) -> str:
    text = [
        "| network | as trained: clear | hard | frozen against it: clear | hard |",
        "| --- | --: | --: | --: | --: |",
    ]
    for name, modes in whole.items():
        if {TRAINED, "frozen"} <= set(modes):
            scores = [_percent(modes[TRAINED], column) for column in ("clear", "hard")]
            changes = [_said(_change(modes["frozen"], modes[TRAINED], column)) for column in ("clear", "hard")]
            text.append(f"| {WORDS[name][0]} | {' | '.join((*scores, *changes))} |")
    return "Blurred or faint images are *hard*, all others *clear*:\n\n" + "\n".join(text) if len(text) > 2 else ""


def _each(lines: list[dict]) -> str:
    parts = []
    for name in WORDS:
        numbers = sorted({line["gates"] for line in lines if line["network"] == name} - {"all"})
        plain, rows = _of(lines, name, "all").get(TRAINED, []), []
        for number in numbers:
            modes = _of(lines, name, number)
            if not plain or not set(ALONE) <= set(modes):
                continue
            varies = statistics.fmean(float(line["varies"]) for line in modes["frozen"])
            changes = " | ".join(_said(_change(modes[mode], plain)) for mode in ALONE)
            rows.append(f"| {int(number) + 1} | {100 * varies:.0f} % | {changes} |")
        if rows:
            head = [
                f"| {WORDS[name][0]}: gate | varies by | {' | '.join(ALONE)} |",
                f"| --: | --: |{' --: |' * len(ALONE)}",
            ]
            parts.append("\n".join([*head, *rows]))
    about = (
        "## Each gate alone\n\nPoints against the network as trained when only this gate is replaced, from the image on. *Varies by*: the "
        "standard deviation over the images as a share of the mean."
    )
    return "\n\n".join([about, *parts]) if parts else ""


def _by_name(csv: Path) -> str:
    lines = read(csv.with_name(f"{csv.stem}_random.csv"), by_name.COLUMNS)
    if not lines:
        return ""
    text = [f"| network | gates found | {' | '.join(MODES)} |", f"| --- | --- |{' --: |' * len(MODES)}"]
    for model in dict.fromkeys(line["model"] for line in lines):
        own = {line["mode"]: line for line in lines if line["model"] == model and line["gates"] == "all"}
        moved = " | ".join(f"{float(own[mode]['moved']):.2g}" if mode in own else "–" for mode in MODES)
        text.append(f"| {model} | {next(iter(own.values()))['found']} | {moved} |")
    about = (
        "## Any network by name\n\n`python -m experiments.trained --model timm/skresnet18.ra_in1k --images FOLDER` asks the same of any network "
        "of timm or torchvision: its weights are downloaded once and checked; subfolders named by class (number, WordNet id or name) give "
        "accuracy, else it is agreement with the untouched network. With `--random`, a dry run: no weights, so the numbers say nothing about "
        "attention, only that the gates are found and that replacing them reaches the output (share of the probability that moves, on the "
        f"repository's photos; [{csv.stem}_random.csv]({csv.stem}_random.csv)):"
    )
    return "\n\n".join([about, "\n".join(text)])


def _figure(whole: dict[str, dict[str, list[dict]]]) -> Picture:
    figure = Figure(figsize=(8, 3.2))
    axes = figure.subplots()
    width = 0.8 / len(ALL)
    for i, mode in enumerate(ALL):
        values = [mean_and_std(modes.get(mode, []), "score") or (math.nan, 0.0) for modes in whole.values()]
        places = [x + (i - (len(ALL) - 1) / 2) * width for x in range(len(whole))]
        means, stds = ([100 * value[part] for value in values] for part in (0, 1))
        style = {"color": KERNEL_COLOURS[i], "hatch": KERNEL_HATCHES[i], "edgecolor": "black", "linewidth": 0.5}
        axes.bar(places, means, width, yerr=stds, label=mode, capsize=2, **style)
    axes.set_xticks(range(len(whole)), [WORDS[name][0] for name in whole])
    axes.set_ylabel("score, %")
    axes.legend(ncols=len(ALL), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    words = "; ".join(
        f"{WORDS[name][0]}: " + ", ".join(f"{mode} {_percent(modes[mode])}" for mode in ALL if mode in modes)
        for name, modes in whole.items()
    )
    return Picture(figure, f"Bars of the score in % with the gates as trained and replaced. {words}.")

"""The report: README.md with tables, and figures, made of runs.csv and nothing else."""

from __future__ import annotations

import statistics
from pathlib import Path

from dynconv.lessons import figures
from dynconv.lessons.tables import mean_and_std, read
from dynconv.lessons.tasks import Task, task

from . import gates, localisation, playground
from .rows import KERNELS, TEMPERATURES, rows
from .runs import COLUMNS, INTERVENTIONS
from .table import KEY, summarise

__all__ = ["report"]

ABOUT = {
    "restoration": "Undo one of four degradations with one 9 × 9 layer, without being told which. Test MSE.",
    "cue": "A mark somewhere decides whether edges along x or along y are wanted, one 5 × 5 layer. Test MSE.",
    "digits": "The UCI digits with a small network; the layer is its second convolution. Test cross-entropy and accuracy.",
    "clutter": "A digit among pieces of others, the same network. Test cross-entropy and accuracy.",
}

TRAINED = "All of these are small. The same questions, put to networks that others trained and people use: [trained.md](trained.md)."


def report(folder: str | Path) -> list[Path]:
    """Write ``folder``/README.md and its figures from ``folder``/runs.csv.

    Reference: none; every number is a mean over seeds with its sample standard deviation

    Example:
        >>> report("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: there are no runs in nowhere/runs.csv

    Args:
        folder: with runs.csv in it.

    Returns:
        The files that were written.

    Raises:
        FileNotFoundError: there are no runs.
    """
    folder = Path(folder)
    lines = read(folder / "runs.csv", COLUMNS)
    if not lines:
        raise FileNotFoundError(f"there are no runs in {(folder / 'runs.csv').as_posix()}")
    lines.sort(key=_place)
    written, parts = [], [_head(lines)]
    if (folder / "trained.csv").exists():
        parts.append(TRAINED)
    for name in dict.fromkeys(line["task"] for line in lines):
        one, mine = task(name), [line for line in lines if line["task"] == name]
        recipe = f" Trained by {one.recipe['optimizer']}, {one.recipe['epochs']} epochs."
        parts += [f"## {name}", ABOUT[name] + recipe, _references(one), _table(one, mine), _beyond(one, mine)]
        parts += [_verdict(mine), _annealing(mine)]
        for kind, picture in (("temperature", _temperature(one, mine)), ("budget", _budget(mine))):
            if picture is not None:
                path = folder / f"{name}_{kind}.png"
                path.write_bytes(picture.png)
                written.append(path)
                parts.append(f"![{picture.alt}]({path.name})")
        parts += [
            "What breaks when the attention is replaced (test loss; the trained networks of above):",
            _interventions(mine),
        ]
    parts += [
        _gates(read(folder / "gates.csv", gates.COLUMNS)),
        _localisation(read(folder / "localisation.csv", localisation.COLUMNS)),
        _playground(read(folder / "playground.csv", playground.COLUMNS)),
    ]
    readme = folder / "README.md"
    readme.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8", newline="\n")
    return [readme, *written]


def _place(line: dict) -> tuple:
    """Where a line stands: as in the list of rows, which goes from static to dynamic, small K to large, T from low to high."""
    key = tuple(line[name] for name in KEY)
    listed = [(row.task, row.system, str(row.num_kernels or ""), row.temperature) for row in rows()]
    return (listed.index(key) if key in listed else len(listed), *key, int(line["seed"]))


def _head(lines: list[dict]) -> str:
    hours = sum(float(line["seconds"]) for line in lines) / 3600
    versions = ", ".join(sorted({f"torch {line['torch']} on Python {line['python']}" for line in lines}))
    seeds = len({line["seed"] for line in lines})
    return f"""# Evidence

What each system does on each task: {len(lines)} runs, {seeds} seeds a row, {hours:.1f} hours of one CPU core together ({versions}).
Made by `python -m experiments.evidence --all --out experiments/runs.csv` and `python -m experiments.evidence --report experiments`; every line
of [runs.csv](runs.csv) names the command that repeats it. Mean ± standard deviation over seeds; *against static* is the paired
difference, seed by seed, to the plain convolution (negative is better). Systems, widths and tasks are those of
`dynconv.lessons.systems` and `dynconv.lessons.tasks`: *static-parameters* and *static-flops* are plain networks as wide as the dynamic one
(K = 4) has parameters or multiply-adds for. Temperature 30-1 falls from 30 to 1 over the first 30 % of the steps. Where a
best one is named, it was chosen by the same test loss that is shown."""


def _references(one: Task) -> str:
    known = [f"{name} {loss:.4f}" for name, loss in one.references.items()]
    if not known:
        return ""
    return f"Known without training (least squares on the training images, test loss): {'; '.join(known)}."


def _name(key: tuple[str, ...]) -> str:
    _, system, kernels, temperature = key
    return (
        system
        + (f", K = {kernels}" if kernels else "")
        + (f", T = {temperature.replace('-', ' → ')}" if temperature else "")
    )


def _pm(value: tuple[float, float] | None, form: str = ".4f") -> str:
    return "–" if value is None else f"{value[0]:{form}} ± {value[1]:{form}}"


def _closed(one: Task, lines: list[dict]) -> str:
    first, last, *_ = one.references.values()
    shares = [{"closed": str(100 * (first - float(line["test_loss"])) / (first - last))} for line in lines]
    return _pm(mean_and_std(shares, "closed"), ".0f") + " %"


def _paired(lines: list[dict], others: list[dict]) -> str:
    base = {line["seed"]: float(line["test_loss"]) for line in others}
    both = [float(line["test_loss"]) - base[line["seed"]] for line in lines if line["seed"] in base]
    return f"{statistics.fmean(both):+.4f} ± {statistics.stdev(both):.4f}" if len(both) > 1 else "–"


def _table(one: Task, lines: list[dict]) -> str:
    found = summarise(lines)
    static = found.get((one.name, "static", "", ""), [])
    accuracy = any(line["test_accuracy"] for line in lines)
    last = "accuracy %" if accuracy else "gap closed"
    text = [
        f"| system | parameters | multiply-adds | test loss | against static | {last} |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for key, seeds in found.items():
        percent = [{"a": str(100 * float(line["test_accuracy"]))} for line in seeds] if accuracy else []
        end = _pm(mean_and_std(percent, "a"), ".1f") if accuracy else _closed(one, seeds)
        cost = f"{int(seeds[0]['parameters']):,} | {int(seeds[0]['macs']):,}"
        text.append(
            f"| {_name(key)} | {cost} | {_pm(mean_and_std(seeds, 'test_loss'))} | {_paired(seeds, static)} | {end} |"
        )
    return "\n".join(text)


def _verdict(lines: list[dict]) -> str:
    """Who wins: said from the numbers, also where it is not the dynamic convolution."""
    found = summarise(lines)
    means = {key: mean_and_std(seeds, "test_loss") for key, seeds in found.items()}
    best = min(means, key=lambda key: means[key][0])
    equal = (key for key in means if key[1:3] == ("dynamic", "4"))  # the static one was made as large as these
    dynamic = min(equal, key=lambda key: means[key][0], default=None)
    wide = next((key for key in means if key[1] == "static-parameters"), None)
    if dynamic is None or wide is None:
        return ""
    words = f"Lowest test loss: **{_name(best)}**, {_pm(means[best])}. "
    if lines[0]["test_accuracy"] != "":
        most = max(found, key=lambda key: mean_and_std(found[key], "test_accuracy")[0])
        words += f"Highest accuracy: **{_name(most)}**, {_percent(found[most], 'test_accuracy')} %. "
    words += f"At equal parameters, best of its temperatures: {_name(dynamic)}, {_pm(means[dynamic])}; "
    words += f"static-parameters, {_pm(means[wide])}; paired difference {_paired(found[dynamic], found[wide])}. "
    if means[wide][0] < means[dynamic][0]:
        return words + "Here dynamic convolution does **not** win: spend the parameters on width."
    return words + "Here the dynamic convolution wins at equal parameters."


def _beyond(one: Task, lines: list[dict]) -> str:
    """Why more than all of the gap can be closed, where it is."""
    if len(one.references) < 3:
        return ""
    first, last, finer = one.references.values()
    if min(mean_and_std(seeds, "test_loss")[0] for seeds in summarise(lines).values()) >= last:
        return ""
    return (
        "The gap is that between one filter and one filter for each degradation. More than 100 % is no mistake: a dynamic "
        "convolution has a kernel for each *image*, and photos differ too. One filter for each degradation and photo closes "
        f"{100 * (first - finer) / (first - last):.0f} %."
    )


def _annealing(lines: list[dict]) -> str:
    """What cooling from 30 to 1 does, against T = 1 from the start."""
    found = {key[2:]: seeds for key, seeds in summarise(lines).items() if key[1] == "dynamic"}
    both = [K for K in map(str, KERNELS) if (K, "1") in found and (K, "30-1") in found]
    if not both:
        return ""
    differences = "; ".join(f"K = {K}, {_paired(found[K, '30-1'], found[K, '1'])}" for K in both)
    return f"Cooled from 30 to 1 against T = 1 from the start, paired (negative: cooling helps): {differences}."


def _temperature(one: Task, lines: list[dict]) -> figures.Picture | None:
    found = {key: mean_and_std(seeds, "test_loss")[0] for key, seeds in summarise(lines).items()}
    fixed = [t for t in TEMPERATURES if "-" not in t]
    series = {}
    for K in KERNELS:
        values = [found.get((one.name, "dynamic", str(K), t)) for t in fixed]
        annealed = found.get((one.name, "dynamic", str(K), "30-1"))
        if None not in values:
            series[f"K = {K}" + (f" (30 → 1: {annealed:.4f})" if annealed else "")] = values
    if not series:
        return None
    alt = f"{one.name}: mean test loss against the temperature kept throughout, one line for each number of kernels."
    return figures.curves(
        series, alt, x=[float(t) for t in fixed], xlabel="temperature T", ylabel="test loss", log_x=True
    )


def _budget(lines: list[dict]) -> figures.Picture | None:
    points = {}
    for key, seeds in summarise(lines).items():
        if key[1] != "dynamic" or key[3] in ("1", "30-1"):
            points[_name(key)] = (float(seeds[0]["macs"]), *mean_and_std(seeds, "test_loss"))
    alt = "Mean test loss with its standard deviation against multiply-adds an image, one point a system."
    return figures.scatter(points, alt, xlabel="multiply-adds an image", ylabel="test loss", log_x=True)


def _interventions(lines: list[dict]) -> str:
    text = [
        f"| system | as trained | {' | '.join(INTERVENTIONS)} |",
        f"| --- | --: | {' | '.join(['--:'] * len(INTERVENTIONS))} |",
    ]
    for key, seeds in summarise(lines).items():
        values = [mean_and_std(seeds, f"loss_{mode}") for mode in INTERVENTIONS]
        if values[0] is not None:
            text.append(f"| {_name(key)} | {_pm(mean_and_std(seeds, 'test_loss'))} | {' | '.join(map(_pm, values))} |")
    return "\n".join(text)


def _gates(lines: list[dict]) -> str:
    if not lines:
        return ""
    text = [
        "| budget | without noise | accuracy % | multiply-adds used % | open inside the digit's box % | outside % | times as fast |",
        "| --: | --: | --: | --: | --: | --: | --: |",
    ]
    for budget, quiet in sorted({(float(x["budget"]), float(x["quiet"])) for x in lines}, key=lambda k: (-k[0], k[1])):
        seeds = [line for line in lines if (float(line["budget"]), float(line["quiet"])) == (budget, quiet)]
        shares = [_percent(seeds, name) for name in ("test_accuracy", "used", "inside", "outside")]
        fast, spread = mean_and_std(seeds, "times_as_fast")
        text.append(f"| {budget:.2f} | {_quiet(quiet)} | {' | '.join(shares)} | {fast:.2f} ± {spread:.2f} |")
    about = (
        "Two sparse blocks on digits in clutter, trained to use a share of their multiply-adds (`python -m experiments.evidence "
        "--gates`; [gates.csv](gates.csv)). Nobody told the gates where the digit is. *Without noise*: how much of the training, "
        "at its end. *Times as fast*: of the whole net, skipping, over the same net that computes everywhere; one picture at a "
        "time, one thread, a machine with other work."
    )
    return "\n\n".join(["## gates", about, "\n".join(text)])


def _quiet(share: float) -> str:
    return f"the last {share:.0%}" if share else "never"


def _localisation(lines: list[dict]) -> str:
    if not lines:
        return ""
    names = {"chance": "chance", "cam": "CAM", "grad_cam": "Grad-CAM", "grad_cam_torchcam": "torchcam's Grad-CAM"}
    text = [f"| accuracy % | {' | '.join(names.values())} |", "| --: | --: | --: | --: | --: |"]
    text.append(f"| {' | '.join(_percent(lines, name) for name in ('test_accuracy', *names))} |")
    worst = max(float(line["difference"]) for line in lines)
    about = (
        "Where the map of the true class is brightest: inside the digit's box or not (the pointing game), % of 500 test images "
        "(`python -m experiments.evidence --localisation`; [localisation.csv](localisation.csv)). The same trained nets for all three; "
        f"our Grad-CAM and torchcam {lines[0]['torchcam']}'s differ by at most {worst:.0e} (median image, maps stretched to 0 … 1)."
    )
    return "\n\n".join(["## localisation", about, "\n".join(text)])


def _playground(lines: list[dict]) -> str:
    """The page's own training: what was tried, judged by the patches trained on, and the start setting on photos held out."""
    if not lines:
        return ""
    reported = [line for line in lines if int(line["seed"]) in playground.SEEDS]
    text = ["| task | plain | softmax mix | dynamic |", "| --- | --: | --: | --: |"]
    for name in dict.fromkeys(line["task"] for line in reported):
        own = [line for line in reported if line["task"] == name]
        shares = [_pm(playground.way(own, network), ".0f") for network in ("plain", "mix", "dynamic")]
        text.append(f"| {name} | {' % | '.join(shares)} % |")
    tried = [line for line in lines if int(line["seed"]) in playground.CHOICE_SEEDS]
    choice = ["| T | learning rate | patches trained on |", "| --- | --: | --: |"]
    for temperature, rate in playground.TRIED:
        own = [line for line in tried if (line["temperature"], float(line["learning_rate"])) == (temperature, rate)]
        if own:
            share = _pm(playground.way(own, "dynamic", "train_"), ".0f")
            choice.append(f"| {temperature.replace('-', ' → ')} | {rate:g} | {share} % |")
    temperature, rate = playground.CHOSEN
    about = (
        "The playground's page run by Node (`python -m experiments.evidence --playground`; [playground.csv](playground.csv)): 3,000 "
        "steps on patches of five photos, K = 4; errors on two photos held out. Share of the way from one filter to four, "
        "the best that least squares finds on the same patches; five seeds. *shifts*: the photos are moved by two pixels "
        "instead, which one filter each would undo, but nothing in the image shows which."
    )
    chosen = (
        f"The start setting, T = {temperature.replace('-', ' → ')} and learning rate {rate:g}, is the best of those tried by the "
        "patches trained on, with three other seeds; the photos held out had no say:"
    )
    return "\n\n".join(["## playground", about, "\n".join(text), chosen, "\n".join(choice)])


def _percent(lines: list[dict], column: str) -> str:
    return _pm(mean_and_std([{column: str(100 * float(line[column]))} for line in lines], column), ".1f")

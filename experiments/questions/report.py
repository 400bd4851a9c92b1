"""The report: what is kept of every question, as tables and figures."""

from __future__ import annotations

from pathlib import Path

from dynconv.lessons.figures import Picture
from dynconv.lessons.tables import read

from .rows import COLUMNS, QUESTIONS, found

__all__ = ["report"]


def report(folder: str | Path) -> list[Path]:
    """Write ``folder``/questions.md and its figures from ``folder``/questions.csv.

    Reference: none; every number is a mean over seeds with its sample standard deviation

    Example:
        >>> report("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: there are no rows in nowhere/questions.csv

    Args:
        folder: with questions.csv in it.

    Returns:
        The files that were written.

    Raises:
        FileNotFoundError: there are no rows.
    """
    folder = Path(folder)
    lines = read(folder / "questions.csv", COLUMNS)
    if not lines:
        raise FileNotFoundError(f"there are no rows in {(folder / 'questions.csv').as_posix()}")
    written, parts = [], [_head(lines)]
    for name, question in QUESTIONS.items():
        numbers = found(folder / "questions.csv", name)
        own = [float(line["seconds"]) for line in lines if line["question"] == name]
        if not numbers:
            continue
        title = (question.__doc__ or "").split("\n")[0]
        run = f"{len(own)} rows, {sum(own):,.0f} s; {len(numbers)} of {len(question.CASES)} cases are run so far"
        parts += [f"## {title}", f"`python -m experiments.questions {name} --out experiments/questions.csv`: {run}."]
        for part in question.tell(numbers):
            if isinstance(part, Picture):
                path = folder / f"questions_{name}.png"
                path.write_bytes(part.png)
                written.append(path)
                part = f"![{part.alt}]({path.name})"
            parts.append(part)
    page = folder / "questions.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8", newline="\n")
    return [page, *written]


def _head(lines: list[dict[str, str]]) -> str:
    hours = sum(float(line["seconds"]) for line in lines) / 3600
    return f"""# Questions

Sharper questions than which system is best: {len(lines)} rows, {hours:.1f} hours of one CPU core together, which had other work
to do meanwhile. Made by `python -m experiments.questions NAME --out experiments/questions.csv` and
`python -m experiments.questions --report experiments`; every line of [questions.csv](questions.csv) names the command that
repeats it. Mean ± standard deviation over seeds. Tasks, networks and recipes are those of the [evidence](README.md)."""

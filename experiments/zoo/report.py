"""The table of all networks and steps, and a line for everything that did not pass."""

from __future__ import annotations

from collections import Counter

__all__ = ["report"]

HEAD = """# The zoo

{networks} networks of torchvision and timm with random weights, converted with K = 4, through {steps} steps each (torch {torch}).
Made by `python -m experiments.zoo`, which adds to [zoo.csv](zoo.csv) what is missing there; `--again` repeats what did not pass.

*converted*: convolutions, and the share of the plain network's multiply-adds that is dynamic now. *same output*, *fold*: the
largest difference to the plain network, in units of its largest output. *trained*: layers that got a gradient (all that do in the plain network).
*record*: weightings recorded. *fold, norms*: batch norms fused. *(plain)*: the plain network fails at this step too.

"""


def report(lines: list[dict[str, str]], steps: list[str]) -> str:
    """Markdown from the lines of the CSV.

    Example:
        >>> line = {"architecture": "a", "step": "fx", "result": "ok", "value": "0e+00", "seconds": "1", "torch": "2"}
        >>> print(report([line], ["fx"]).splitlines()[-3])
        | a | 0e+00 |

    Args:
        lines: as in the CSV; steps: the columns, in their order.
    """
    networks = list(dict.fromkeys(line["architecture"] for line in lines))
    cells = {(line["architecture"], line["step"]): line for line in lines}
    versions = ", ".join(sorted({line["torch"] for line in lines}))
    rows = ["| network | " + " | ".join(steps) + " |", "| --- |" + " --- |" * len(steps)]
    rows += [f"| {name} | " + " | ".join(_cell(cells.get((name, step))) for step in steps) + " |" for name in networks]
    counts = Counter(line["result"] for line in lines)
    total = ", ".join(f"{result}: {counts[result]}" for result in ("ok", "plain fails", "fails") if counts[result])
    explained = [line for line in lines if line["result"] != "ok"]
    listed = [f"- {e['architecture']}, {e['step']} ({e['result']}): {_escaped(e['value'])}" for e in explained]
    head = HEAD.format(networks=len(networks), steps=len(steps), torch=versions)
    tail = ["", "## What did not pass, and why", "", *listed] if listed else []
    return head + "\n".join([*rows, "", f"{total}.", *tail]) + "\n"


def _cell(line: dict[str, str] | None) -> str:
    if line is None:
        return "–"
    return {"ok": line["value"], "plain fails": "(plain)"}.get(line["result"], "**fails**")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")

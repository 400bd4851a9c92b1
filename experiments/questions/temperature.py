"""What does temperature do, early and late? Constant and cooled, with the entropy of attention and the rank of the gradients."""

from __future__ import annotations

import torch
from torch import nn

from dynconv.lessons import figures
from dynconv.lessons.tasks import Task, measure
from dynconv.probe import record

from .common import Numbers, layer_of, percent, pm, task, train
from .statistics import effective_rank, participation_ratio

__all__ = ["CASES", "SEEDS", "run", "tell"]

SEEDS, EARLY, LOOKED_AT = range(5), 0.1, 256  # early: after a tenth of the steps; gradients: of so many training images
SETTINGS: dict[str, tuple[float, float]] = {"T = 1": (1.0, 0.0), "T = 30": (30.0, 0.0)} | {
    f"T = 30 → 1 over {share:.0%}": (30.0, share) for share in (0.1, 0.3, 0.5)
}
CASES = {
    f"{name}, K = {K}, {setting}": (name, K, setting)
    for name, kernels in (("clutter", (4, 2, 8)), ("restoration", (4,)))
    for K in kernels
    for setting in SETTINGS
}


def run(case: str, seed: int) -> Numbers:
    """Train a dynamic layer at one temperature, or cooled from 30 to 1; look at it early and at the end."""
    name, num_kernels, setting = CASES[case]
    on, (start, share) = task(name), SETTINGS[setting]
    torch.manual_seed(seed)
    model = on.network("dynamic", num_kernels=num_kernels, temperature=start)
    stops = {max(1, int(EARLY * on.recipe["epochs"] + 0.5)): "early", on.recipe["epochs"]: "late"}
    numbers: Numbers = {}

    def look(epoch: int) -> None:
        if epoch in stops:
            numbers.update({f"{stops[epoch]} {key}": value for key, value in state(model, on).items()})

    train(model, on, seed, anneal=(start, 1.0, share) if share else None, after=look)
    return numbers


def state(model: nn.Module, on: Task) -> Numbers:
    """Test loss, how many kernels an image uses, and how many directions the K kernels are pulled in."""
    with torch.no_grad(), record(model) as seen:
        numbers = measure(model, on)
    (pi,) = (layer.weights for layer in seen.values())  # (N, K)
    numbers["kernels"] = torch.special.entr(pi).sum(1).exp().mean().item()
    rows = gradients(model, on)
    return numbers | {"rank": effective_rank(rows), "ratio": participation_ratio(rows)}


def gradients(model: nn.Module, on: Task) -> torch.Tensor:
    """Those of the K kernels, (K, D), of the mean loss over the first training images; the model is in eval mode."""
    weight = layer_of(model).weight
    with torch.enable_grad():
        loss = on.loss(model(on.train.inputs[:LOOKED_AT]), on.train.targets[:LOOKED_AT])
        (gradient,) = torch.autograd.grad(loss, [weight])
    return gradient.flatten(1)


def tell(found: dict[str, list[Numbers]]) -> list[str | figures.Picture]:
    """The table, and early against late."""
    looks = ("test_loss", "kernels", "rank", "ratio")
    text = [
        "| network | loss early | late | accuracy % early | late | kernels used early | late | rank early | late | ratio early | late |",
        "| --- |" + " --: |" * 10,
    ]
    for case, lines in found.items():
        cells = [pm(lines, f"{when} test_loss") for when in ("early", "late")]
        cells += [percent(lines, f"{when} test_accuracy") for when in ("early", "late")]
        cells += [pm(lines, f"{when} {look}", ".2f") for look in looks[1:] for when in ("early", "late")]
        text.append(f"| {case} | {' | '.join(cells)} |")
    return [
        "A dynamic layer at a constant temperature, or cooled in a straight line from 30 to 1 over a share of the steps. *early*: after a "
        "tenth of the epochs, at whatever T it then has; *late*: at the end. *kernels used*: e to the entropy of an image's attention, "
        "mean over the test images, 1 … K. *rank* and *ratio*: [effective rank]"
        "(https://www.eurasip.org/Proceedings/Eusipco/Eusipco2007/Papers/a5p-h05.pdf) and participation ratio of the gradients of the K "
        "kernels, 1 (all pulled the same way) … K.",
        "\n".join(text),
        *_differences(found),
        _picture(found),
    ]


def _differences(found: dict[str, list[Numbers]]) -> list[str]:
    """Every setting against T = 1, seed by seed."""
    text = []
    for name, K in dict.fromkeys((name, K) for name, K, _ in CASES.values()):
        base = found.get(f"{name}, K = {K}, T = 1", [])
        told = []
        for setting in list(SETTINGS)[1:]:
            pairs = list(zip(found.get(f"{name}, K = {K}, {setting}", []), base, strict=False))
            both = [{w: a[f"{w} test_loss"] - b[f"{w} test_loss"] for w in ("early", "late")} for a, b in pairs]
            if both:
                told.append(f"{setting}: {pm(both, 'early', '+.4f')} early, {pm(both, 'late', '+.4f')} late")
        if told:
            text.append(
                f"Against T = 1 from the start, {name}, K = {K}, test loss, paired (negative is better): {'; '.join(told)}."
            )
    return text


def _picture(found: dict[str, list[Numbers]]) -> figures.Picture:
    """How many kernels an image uses in the end, and what loss that goes with; K = 4."""
    points = {}
    for case, lines in found.items():
        name, K, setting = CASES[case]
        if K == 4 and name == "clutter":
            values = torch.tensor([[line["late kernels"], line["late test_loss"]] for line in lines])
            spread = values[:, 1].std().item() if len(lines) > 1 else 0.0
            points[setting] = (values[:, 0].mean().item(), values[:, 1].mean().item(), spread)
    alt = "Digits in clutter, K = 4: test loss at the end against the kernels that an image then uses, one point a temperature."
    return figures.scatter(points, alt, xlabel="kernels used at the end", ylabel="test loss at the end")

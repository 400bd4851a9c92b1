"""Are the K kernels different at all? How alike they are before and after training."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from dynconv import KernelAttention
from dynconv.lessons import figures
from dynconv.lessons.systems import LOOK, look
from dynconv.lessons.tasks import measure
from dynconv.probe import intervene
from dynconv.surgery import from_conv

from .common import Numbers, layer_of, percent, pm, task, train
from .statistics import alike, spectra_alike

__all__ = ["CASES", "SEEDS", "run", "tell"]

SEEDS = range(5)
STARTS = ("drawn", "converted", "converted, noise")
NOISE = 0.1
CASES = {
    f"{name}, T = {temperature:g}, {start}": (name, temperature, start)
    for name in ("clutter", "restoration")
    for temperature in (1.0, 30.0)
    for start in STARTS
}


def run(case: str, seed: int) -> Numbers:
    """Four kernels of a dynamic layer, drawn at random or made of a trained convolution, and trained.

    *converted*: the plain network is trained first, its convolution becomes four equal kernels, and all of it is trained
    once more by the same recipe; *noise*: the four are told apart by noise of a tenth of the kernel's own spread.
    """
    name, temperature, start = CASES[case]
    torch.manual_seed(seed)
    model = _start(name, temperature, start, seed)
    before = layer_of(model).weight.detach().clone()
    after = layer_of(train(model, task(name), seed)).weight.detach()
    numbers = {"cosine before": alike(before), "cosine after": alike(after)}
    numbers |= {"spectra before": spectra_alike(before), "spectra after": spectra_alike(after)}
    numbers |= measure(model, task(name))
    with intervene(model, "uniform"):
        return numbers | {f"uniform {key}": value for key, value in measure(model, task(name)).items()}


def _start(name: str, temperature: float, start: str, seed: int) -> nn.Module:
    """The network before the training that is watched."""
    if start == "drawn":
        return task(name).network("dynamic", num_kernels=4, temperature=temperature)
    plain, noise = _plain(name, seed), NOISE * start.endswith("noise")
    torch.manual_seed(seed)  # whether the plain one was trained just now or before
    if isinstance(plain, nn.Conv2d):  # a layer of one channel looks with a stem
        decide = KernelAttention(LOOK, num_kernels=4, reduction=1, temperature=temperature)
        return from_conv(plain, 4, noise=noise, attention=nn.Sequential(*look(), decide)).eval()
    plain[3] = from_conv(plain[3], 4, noise=noise, temperature=temperature)
    return plain


def _plain(name: str, seed: int) -> nn.Module:
    """A trained plain network, anew each time it is asked for, though trained once."""
    model = task(name).network("static")
    model.load_state_dict(_trained(name, seed))
    return model.eval()


@cache
def _trained(name: str, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return train(task(name).network("static"), task(name), seed).state_dict()


def tell(found: dict[str, list[Numbers]]) -> list[str | figures.Picture]:
    """The table."""
    names = ("cosine before", "cosine after", "spectra before", "spectra after")
    text = [f"| kernels | {' | '.join(names)} | test loss | even weights | accuracy % |", "| --- |" + " --: |" * 7]
    for case, lines in found.items():
        cells = " | ".join(pm(lines, name, ".3f") for name in names)
        losses = f"{pm(lines, 'test_loss')} | {pm(lines, 'uniform test_loss')}"
        text.append(f"| {case} | {cells} | {losses} | {percent(lines, 'test_accuracy')} |")
    return [
        "Four kernels of one dynamic layer. *drawn*: at random, as such layers begin. *converted*: a plain network is trained, its "
        f"convolution becomes four equal kernels (*noise*: told apart by {NOISE:g} of its spread), and all is trained once more (so twice as long as *drawn*). *cosine*: "
        "the mean over the six pairs; *spectra*: that of their Fourier amplitudes, which are positive and so never near 0. *even "
        "weights*: the test loss when every image gets a quarter of each kernel. "
        "[FDConv](https://arxiv.org/abs/2503.18783) says of dynamic convolutions in large networks that the frequency responses of "
        "their kernels tend to be much alike.",
        "\n".join(text),
        _picture(found),
    ]


def _picture(found: dict[str, list[Numbers]]) -> figures.Picture:
    """How alike kernels are in the end, and what loss that goes with."""
    points = {}
    for case, lines in found.items():
        if case.startswith("clutter"):
            values = torch.tensor([[line["cosine after"], line["test_loss"]] for line in lines])
            spread = values[:, 1].std().item() if len(lines) > 1 else 0.0
            points[case.removeprefix("clutter, ")] = (values[:, 0].mean().item(), values[:, 1].mean().item(), spread)
    alt = "Digits in clutter: test loss against the mean cosine of the four kernels after training, one point a start and temperature."
    return figures.scatter(points, alt, xlabel="cosine after training", ylabel="test loss")

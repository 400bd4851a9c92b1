"""Do the maps mark what the net decides by? Deletion, insertion, average drop and energy, beside the pointing game."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynconv.functional import grad_cam, normalize_map
from dynconv.lessons import figures
from dynconv.lessons.data import digits_in_clutter
from dynconv.lessons.data.clutter import Clutter
from dynconv.lessons.localisation import hit_rate
from experiments.evidence.localisation import trained

from .common import Numbers, percent

__all__ = ["CASES", "SEEDS", "run", "tell"]

SEEDS, CASES = range(5), {"digits in clutter": 250}  # so many test images
STEPS = 20
METHODS = ("box", "CAM", "Grad-CAM", "torchcam", "pytorch-grad-cam", "chance")
SCORES = ("pointing", "energy", "deletion", "insertion", "drop")


def run(case: str, seed: int) -> Numbers:
    """Train a net, and score the maps of the true class that six methods give of it.

    *box* is the known place itself and *chance* a map drawn at random: the marks between which the others lie.
    """
    net, test = trained(seed), digits_in_clutter("test", CASES[case])
    with torch.no_grad():
        right = (net(test.images).argmax(1) == test.labels).float().mean().item()
    found = stretched({name: make(net, test) for name, make in makers(seed).items()}, test.images.shape[-1])
    numbers: Numbers = {"accuracy": right}
    for name, maps in found.items():
        numbers |= {f"{name}, {score}": value for score, value in scores(net, test, maps).items()}
    for name in ("torchcam", "pytorch-grad-cam"):
        numbers[f"{name}, off"] = (found[name] - found["Grad-CAM"]).abs().flatten(1).amax(1).median().item()
    return numbers


def makers(seed: int) -> dict[str, Callable[[nn.Sequential, Clutter], Tensor]]:
    """Method → maps of the true class, of whatever size and scale."""
    draws = torch.Generator().manual_seed(seed)
    return {
        "box": lambda net, test: boxes(test),
        "CAM": lambda net, test: net[1].maps(net[0](test.images), test.labels).detach(),
        "Grad-CAM": lambda net, test: grad_cam(features := net[0](test.images), net[1](features), test.labels),
        "torchcam": _torchcam,
        "pytorch-grad-cam": _pytorch_grad_cam,
        "chance": lambda net, test: torch.rand(len(test.images), 10, 10, generator=draws),
    }


def boxes(test: Clutter) -> Tensor:
    """1 in the digit's box, 0 elsewhere: (N, S, S)."""
    place = torch.arange(test.images.shape[-1])
    top, left, bottom, right = test.boxes[:, :, None].unbind(1)  # each (N, 1)
    rows, columns = (place >= top) & (place < bottom), (place >= left) & (place < right)  # (N, S)
    return (rows[:, :, None] & columns[:, None, :]).float()


def stretched(maps: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """All as they are shown: as large as the images, from 0 to 1."""
    large = {name: F.interpolate(m[:, None], (size, size), mode="bilinear")[:, 0] for name, m in maps.items()}
    return {name: normalize_map(m) for name, m in large.items()}


def scores(net: nn.Module, test: Clutter, maps: Tensor) -> Numbers:
    """Five scores of maps (N, S, S) from 0 to 1; of *deletion* and *drop* less is better, of the others more.

    Reference: pointing game, https://arxiv.org/abs/1608.00507; energy, https://arxiv.org/abs/1910.01279; deletion and
    insertion, https://arxiv.org/abs/1806.07421; average drop, https://arxiv.org/abs/1710.11063
    """
    whole = probability(net, test.images, test.labels)
    kept = probability(net, test.images * maps[:, None], test.labels)
    inside = (maps * boxes(test)).sum((1, 2)) / maps.sum((1, 2)).clamp_min(1e-12)
    return {
        "pointing": hit_rate(maps, test.boxes, test.images.shape[-1]),
        "energy": inside.mean().item(),
        "deletion": curve(net, test, maps, deletes=True).mean().item(),
        "insertion": curve(net, test, maps, deletes=False).mean().item(),
        "drop": ((whole - kept).clamp_min(0) / whole).mean().item(),
    }


@torch.no_grad()
def probability(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Of the true class, (N,)."""
    return net(images).softmax(1).gather(1, labels[:, None])[:, 0]


def curve(net: nn.Module, test: Clutter, maps: Tensor, deletes: bool) -> Tensor:
    """Mean probability of the true class when more and more pixels, brightest of the map first, are made black or let in."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))
    place = place.view_as(maps)[:, None]  # (N, 1, S, S): 0 for the brightest pixel
    means = []
    for step in range(STEPS + 1):
        touched = place < order.shape[1] * step // STEPS
        left = test.images * (~touched if deletes else touched)
        means.append(probability(net, left, test.labels).mean())
    return torch.stack(means)


def _torchcam(net: nn.Sequential, test: Clutter) -> Tensor:
    try:
        from torchcam.methods import GradCAM
    except ModuleNotFoundError:
        raise ImportError("the comparison needs torchcam: pip install 'dynconv[evidence]'") from None
    pairs = zip(test.images, test.labels.tolist(), strict=True)
    with GradCAM(net, target_layer=net[0]) as extractor:  # one image at a time, as its users do
        return torch.cat([extractor(label, net(image[None]))[0] for image, label in pairs])


def _pytorch_grad_cam(net: nn.Sequential, test: Clutter) -> Tensor:
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ModuleNotFoundError:
        raise ImportError("the comparison needs pytorch-grad-cam: pip install 'dynconv[evidence]'") from None
    targets = [ClassifierOutputTarget(label) for label in test.labels.tolist()]
    with GradCAM(model=net, target_layers=[net[0]]) as method:
        return torch.from_numpy(method(input_tensor=test.images, targets=targets))


def tell(found: dict[str, list[Numbers]]) -> list[str | figures.Picture]:
    """The table, and how far ours and theirs are apart."""
    parts: list[str | figures.Picture] = [
        "Maps of the true class of the nets that the evidence's localisation trains, all in one run, as large as the image and stretched to "
        "0 … 1; *box* is the digit's known place itself, *chance* a random map. *pointing*: the brightest pixel lies in the box. *energy*: "
        "the share of the map's sum that does. *deletion*, *insertion*: the mean probability of the true class while pixels, the map's "
        "brightest first, are made black or let in. *drop*: how much of the probability is lost when the image is multiplied by the map. "
        "In %; of *deletion* and *drop* less is better, of the others more.",
    ]
    for case, lines in found.items():
        text = [f"| {case} | {' | '.join(SCORES)} |", "| --- |" + " --: |" * len(SCORES)]
        for method in METHODS:
            text.append(f"| {method} | {' | '.join(percent(lines, f'{method}, {score}') for score in SCORES)} |")
        text.append(f"\nAccuracy {percent(lines, 'accuracy')} %. ")
        far = (f"{name} {max(line[f'{name}, off'] for line in lines):.0e}" for name in ("torchcam", "pytorch-grad-cam"))
        text[-1] += f"From our Grad-CAM (largest difference, median image, maps of 0 … 1) at most: {'; '.join(far)}."
        parts.append("\n".join(text))
    return parts

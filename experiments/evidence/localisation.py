"""Localisation: does a map's brightest place lie on the digit? CAM and Grad-CAM, ours and a public package's."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import nn

from dynconv.functional import grad_cam
from dynconv.lessons.data import digits_in_clutter
from dynconv.lessons.localisation import hit_rate
from dynconv.lessons.networks import cam_network
from dynconv.lessons.train import fit

__all__ = ["COLUMNS", "run", "trained"]

COLUMNS = (
    *("seed", "test_accuracy", "chance", "cam", "grad_cam", "grad_cam_torchcam", "difference"),
    *("seconds", "torch", "torchcam", "command"),
)


def trained(seed: int) -> nn.Sequential:
    """The net whose maps are scored: body and head."""
    train = digits_in_clutter("train", 1200)
    torch.manual_seed(seed)
    net = cam_network().eval()
    options = {"epochs": 15, "batch_size": 64, "lr": 5e-3, "seed": seed, "progress": False}
    for _ in fit(net, train.images, train.labels, loss=F.cross_entropy, **options):
        pass
    return net


def run(seed: int = 0) -> dict:
    """Train from one seed and score the maps of the true class on the test set: one line of localisation.csv.

    Reference: Zhou et al., https://arxiv.org/abs/1512.04150; Selvaraju et al., https://arxiv.org/abs/1610.02391;
    torchcam, https://github.com/frgfm/torch-cam

    Args:
        seed: of the first weights and of the order of the images.

    Raises:
        ImportError: torchcam is not installed, and how to install it.
    """
    try:
        import torchcam
        from torchcam.methods import GradCAM
    except ModuleNotFoundError:
        raise ImportError("the comparison needs torchcam: pip install 'dynconv[evidence]'") from None
    started, test = time.perf_counter(), digits_in_clutter("test", 500)
    net = trained(seed)
    body, head = net
    features = body(test.images)
    logits = head(features)
    ours = {"cam": head.maps(features, test.labels), "grad_cam": grad_cam(features, logits, test.labels)}
    with GradCAM(net, target_layer=body) as extractor:  # one image at a time, as its users do
        theirs = torch.cat(
            [
                extractor(label.item(), net(image[None]))[0]
                for image, label in zip(test.images, test.labels, strict=True)
            ]
        )
    size, scale = test.images.shape[-1], ours["grad_cam"].flatten(1).amax(1).clamp_min(1e-12)[:, None, None]
    rates = {name: hit_rate(maps.detach(), test.boxes, size) for name, maps in ours.items()}
    stretched = (ours["grad_cam"] / scale).detach()  # torchcam stretches every map to 0 … 1
    box = (test.boxes[:, 2] - test.boxes[:, 0]) * (test.boxes[:, 3] - test.boxes[:, 1])
    return {
        "seed": seed,
        "test_accuracy": (logits.argmax(1) == test.labels).float().mean().item(),
        "chance": (box / size**2).mean().item(),
        **rates,
        "grad_cam_torchcam": hit_rate(theirs, test.boxes, size),
        "difference": (stretched - theirs).abs().flatten(1).amax(1).median().item(),
        "seconds": round(time.perf_counter() - started, 1),
        "torch": torch.__version__.split("+")[0],
        "torchcam": torchcam.__version__,
        "command": f"python -m experiments.evidence --localisation --seed {seed}",
    }

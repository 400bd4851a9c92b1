"""The two small layers behind the lessons' diagrams, trained at the scale at which they are shown.

    python -m experiments.restorers              five seeds on held-out photos, printed as a table (two minutes on one core)
    python -m experiments.restorers --write      the same, and seed 0's layers into data/layers/

A softmax mix (the question's) and a dynamic layer, K = 4 kernels of 9 × 9 each, undo one of four damages without being told which.
They learn from five of the shipped photos, at several sizes and turned; they are judged, and shown, on the other two. For one
layer the squared error is a quadratic form in its kernel: with each patch's Gram matrix made once, a step is cheap and exact.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynconv.functional import dynamic_conv
from dynconv.lessons.data import DEGRADATIONS, photo
from dynconv.lessons.systems import filter_network
from dynconv.surgery import set_temperature

FOLDER = Path(__file__).resolve().parents[1] / "data" / "layers"
SEEN, HELD = ("astronaut", "brick", "coffee", "grass", "gravel"), ("camera", "chelsea")
SYSTEMS = ("mix", "dynamic")
SIZE, TAPS, EDGE = 64, 9, 4
SHOWN, WINDOW = 0.5, 136  # half of a photo's pixels; what a picture shows of it
SCALES = (0.4, 0.55, 0.8)


class Patches(NamedTuple):
    """``images`` (N, 1, S, S), ``kind`` (N,) of damage, and the squared error as a form in the kernel and its bias."""

    images: Tensor
    kind: Tensor
    gram: Tensor
    moment: Tensor
    energy: Tensor

    def error(self, kernel: Tensor) -> Tensor:
        """Mean squared error of each patch, (N,), under a kernel of its own, (N, 82): nine by nine taps and a bias."""
        quadratic = torch.einsum("ni,nij,nj->n", kernel, self.gram, kernel)
        return quadratic - 2 * (self.moment * kernel).sum(1) + self.energy


def view_of(name: str, scale: float) -> Tensor:
    """A photo in grey, made smaller, with mean 0 and standard deviation 1: (1, 1, H, W)."""
    image = F.interpolate(photo(name, grey=True)[None], scale_factor=scale, mode="area")
    return (image - image.mean()) / image.std()


def center(x: Tensor) -> Tensor:
    """What a 9 × 9 kernel reaches without padding."""
    return x[..., EDGE:-EDGE, EDGE:-EDGE]


def turned(image: Tensor, generator: torch.Generator, side: int) -> Tensor:
    """A window of (1, 1, H, W) from anywhere, at any angle, a little stretched: (1, 1, side, side)."""
    angle, stretch, *at = torch.rand(4, generator=generator).tolist()
    cos, sin, wide = math.cos(2 * math.pi * angle), math.sin(2 * math.pi * angle), 0.8 + 0.5 * stretch
    height, width = image.shape[2:]
    reach = [0.75 * side * 1.3 / length for length in (width, height)]  # half a window's diagonal, of half the image
    middle = [(1 - min(far, 1.0)) * (2 * place - 1) for far, place in zip(reach, at, strict=True)]
    rows = [[wide * cos * side / width, -sin * side / width, middle[0]], [wide * sin * side / height, cos * side / height, middle[1]]]
    grid = F.affine_grid(torch.tensor([rows]), [1, 1, side, side], align_corners=False)
    return F.grid_sample(image, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def training_patches(seed: int = 0, count: int = 40) -> Patches:
    """Patches of the five photos at three sizes and any angle: what an image shows must not tell how it is damaged."""
    generator = torch.Generator().manual_seed(seed)
    kinds, inputs, forms = [], [], []
    for image in (view_of(name, scale) for name in SEEN for scale in SCALES):
        for kind, damage in enumerate(DEGRADATIONS.values()):
            for _ in range(count):
                clean = turned(image, generator, SIZE + 2 * EDGE)
                x, y = center(damage(clean, generator)), center(clean)
                forms.append(form_of(x, center(y)))
                kinds.append(kind)
                inputs.append(x)
    gram, moment, energy = (torch.stack(parts) for parts in zip(*forms, strict=True))
    return Patches(torch.cat(inputs), torch.tensor(kinds), gram, moment, energy)


def form_of(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean squared error of x under a kernel and bias w is w · gram · w − 2 moment · w + energy."""
    columns = F.pad(F.unfold(x, TAPS)[0], (0, 0, 0, 1), value=1.0)  # (82, pixels): the last row is the bias's
    pixels = target.flatten()
    return columns @ columns.T / len(pixels), columns @ pixels / len(pixels), pixels.square().mean()


def held_out(name: str, seed: int = 1) -> tuple[Tensor, Tensor]:
    """The middle of a photo under every damage, as it is shown: damaged and clean, (4, 1, 136, 136) each."""
    generator, clean = torch.Generator().manual_seed(seed), view_of(name, SHOWN)
    top, left = ((side - WINDOW) // 2 for side in clean.shape[2:])
    cut = [slice(None), slice(None), slice(top, top + WINDOW), slice(left, left + WINDOW)]
    damaged = torch.cat([damage(clean, generator)[cut] for damage in DEGRADATIONS.values()])
    return damaged, clean[cut].expand_as(damaged)


def one_filter(patches: Patches) -> Tensor:
    """The single kernel and bias with the least squared error, (82,)."""
    return torch.linalg.solve(patches.gram.double().sum(0), patches.moment.double().sum(0)).float()


def units(patches: Patches) -> Tensor:
    """(N,): what one filter leaves of a patch's damage. In this unit every damage counts alike."""
    left = patches.error(one_filter(patches).expand(len(patches.kind), -1))
    return torch.stack([left[patches.kind == k].mean() for k in range(len(DEGRADATIONS))])[patches.kind]


def kernels_of(layer: nn.Module, attention: Tensor) -> Tensor:
    """The kernel and bias that each image gets, (N, 82), from weights (N, K) or (K,)."""
    bank = torch.cat([layer.weight.flatten(1), layer.bias.flatten(1)], dim=1)  # (K, 82)
    return attention @ bank


def train(system: str, patches: Patches, seed: int, steps: int = 2000, batch: int = 32) -> nn.Module:
    """The system's layer after ``steps`` of Adam, T from 10 to 1 over the first 40 %. Kernels start small: what is seen was learned."""
    torch.manual_seed(seed)
    layer = filter_network(system, TAPS, temperature=10.0)
    with torch.no_grad():
        layer.weight.mul_(0.1)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    unit = units(patches)
    for step in range(steps):
        set_temperature(layer, max(1.0, 10 - 9 * step / (0.4 * steps)))
        some = torch.randint(0, len(unit), (batch,))
        weights = layer.attention(patches.images[some]).expand(batch, -1)
        loss = (Patches(*(part[some] for part in patches)).error(kernels_of(layer, weights)) / unit[some]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return layer.eval().requires_grad_(False)

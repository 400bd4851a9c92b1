"""A translation small enough for a lesson: striped discs on photos, from horizontal to vertical stripes, without pairs.

The two kinds of images differ inside the disc and nowhere else, and where the disc is, is known: whether an attention
finds the difference can be measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..functional.cam import auxiliary_classifier_loss
from ..layers.ugatit import UGATITDiscriminator, UGATITGenerator
from .data import photo
from .data.degradations import cut_patches

__all__ = [
    "WEIGHTS",
    "StripedPatches",
    "Translation",
    "batches",
    "disc_found",
    "discriminator_loss",
    "generator_losses",
    "striped_patches",
    "train_translation",
    "vertical_share",
]

PHOTOS = ("astronaut", "camera", "chelsea", "coffee")
WEIGHTS = {"adversarial": 1.0, "cycle": 10.0, "identity": 10.0, "attention": 10.0}  # the paper's, but attention: 1000


class StripedPatches(NamedTuple):
    """``images`` (N, 1, S, S) in -1 … 1 and ``discs`` (N, 1, S, S), true inside the disc."""

    images: Tensor
    discs: Tensor


def striped_patches(
    stripes: str, split: str = "train", count: int = 600, size: int = 24, seed: int = 0
) -> StripedPatches:
    """Patches of the shipped photos, each with a striped disc at a random place.

    Reference: this project's own task; the photos' sources are in data/README.md

    Example:
        >>> images, discs = striped_patches("horizontal", count=3)
        >>> images.shape, discs.dtype
        (torch.Size([3, 1, 24, 24]), torch.bool)

    Args:
        stripes: "horizontal" or "vertical". The two draw other patches, places and phases: there are no pairs.
        split: "train" or "test"; no pixel of a photo is in both.
        count: N.
        size: S; the disc's radius is 7/32 of it, a stripe is 2 pixels wide.
        seed: of all that is random.

    Raises:
        ValueError: unknown stripes or split, a count below 1, or a size no photo has.
    """
    if stripes not in ("horizontal", "vertical"):
        raise ValueError(f"stripes must be 'horizontal' or 'vertical', got {stripes!r}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    generator = torch.Generator().manual_seed(4 * seed + 2 * (split == "test") + (stripes == "vertical"))
    patches = _background(split, count, size, generator)
    radius, at = size * 7 / 32, torch.arange(size) + 0.5
    centre = radius + (size - 2 * radius) * torch.rand(count, 2, 1, generator=generator)  # (N, 2, 1): y and x
    y, x = ((at - centre[:, i]) for i in (0, 1))  # (N, S) each
    discs = (y[:, :, None] ** 2 + x[:, None] ** 2 < radius**2)[:, None]  # (N, 1, S, S)
    phase = torch.randint(0, 4, (count, 1), generator=generator)
    wave = torch.where((torch.arange(size) + phase) % 4 < 2, 0.9, -0.9)  # (N, S)
    wave = wave[:, None, :, None] if stripes == "horizontal" else wave[:, None, None]
    return StripedPatches(torch.where(discs, wave, patches), discs)


def _background(split, count, size, generator):
    """Photo patches of mean 0 and the same contrast: brightness must not give a kind away."""
    each, patches = -(-count // len(PHOTOS)), []
    for name in PHOTOS:
        image = F.avg_pool2d(photo(name, grey=True)[None], 2)  # half size: more to be seen in a patch
        patches.append(cut_patches(image, split, each, size, generator))
    chosen = torch.cat(patches)[torch.randperm(each * len(PHOTOS), generator=generator)[:count]]
    centred = chosen - chosen.mean((1, 2, 3), keepdim=True)
    return (0.35 * centred / chosen.std((1, 2, 3), keepdim=True).clamp_min(0.02)).clamp(-1, 1)


class Translation(nn.Module):
    """Two generators, there and back, and a discriminator at each end: U-GAT-IT in miniature.

    Reference: Kim et al., section 3, https://arxiv.org/abs/1907.10830; smaller, with one discriminator a domain, not two

    Example:
        >>> nets = Translation(width=2)
        >>> nets.to_target(torch.zeros(1, 1, 24, 24)).image.shape
        torch.Size([1, 1, 24, 24])

    Args:
        width: of all four nets.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.to_target, self.to_source = (UGATITGenerator(1, 1, width, num_blocks=1) for _ in range(2))
        self.judge_target, self.judge_source = (UGATITDiscriminator(1, width, num_layers=4) for _ in range(2))

    def optimizers(self, lr: float = 4e-3) -> list[torch.optim.Optimizer]:
        """Adam for the generators and Adam for the discriminators, with the paper's betas."""
        pairs = (self.to_target, self.to_source), (self.judge_target, self.judge_source)
        return [torch.optim.Adam([p for net in pair for p in net.parameters()], lr, (0.5, 0.999)) for pair in pairs]


def generator_losses(nets: Translation, a: Tensor, b: Tensor) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    """The four losses of the generators, not weighed yet, and the translated images for the discriminators.

    Reference: Kim et al., section 3.2, https://arxiv.org/abs/1907.10830

    Example:
        >>> a, b = striped_patches("horizontal", count=2), striped_patches("vertical", count=2)
        >>> losses, fakes = generator_losses(Translation(width=2), a.images, b.images)
        >>> list(losses), fakes[0].shape
        (['adversarial', 'cycle', 'identity', 'attention'], torch.Size([2, 1, 24, 24]))

    Args:
        nets: the four nets.
        a, b: as many images of the source as of the target.
    """
    # what a generator should change and what it should leave alone, in one pass: no norm in it mixes images
    there, back = nets.to_target(torch.cat([a, b])), nets.to_source(torch.cat([b, a]))
    (fake_b, same_b), (fake_a, same_a) = there.image.chunk(2), back.image.chunk(2)
    judged = [*nets.judge_target(fake_b)[:2], *nets.judge_source(fake_a)[:2]]  # patches and logits
    losses = {
        "adversarial": sum((F.mse_loss(said, torch.ones_like(said)) for said in judged), start=a.new_zeros(())),
        "cycle": F.l1_loss(nets.to_source(fake_b).image, a) + F.l1_loss(nets.to_target(fake_a).image, b),
        "identity": F.l1_loss(same_b, b) + F.l1_loss(same_a, a),
        "attention": _told_apart(there.logit) + _told_apart(back.logit),
    }
    return losses, (fake_b.detach(), fake_a.detach())


def discriminator_loss(nets: Translation, a: Tensor, b: Tensor, fakes: tuple[Tensor, Tensor]) -> Tensor:
    """Real images to 1, translated ones to 0: patch by patch, and for the discriminators' own attention.

    Reference: Kim et al., section 3.2, https://arxiv.org/abs/1907.10830

    Example:
        >>> x = torch.zeros(2, 1, 24, 24)
        >>> discriminator_loss(Translation(width=2), x, x, (x, x)).shape
        torch.Size([])

    Args:
        nets: the four nets.
        a, b: images of the source and of the target.
        fakes: images translated to the target, and to the source.
    """
    loss = a.new_zeros(())
    for judge, real, fake in ((nets.judge_target, b, fakes[0]), (nets.judge_source, a, fakes[1])):
        for said in judge(torch.cat([real, fake]))[:2]:  # patches and logits
            loss = loss + _told_apart(said, kind="mse")
    return loss


def _told_apart(said: Tensor, kind: str = "bce") -> Tensor:
    """The first half of what is said of a batch should be 1, the second 0."""
    positive, negative = said.chunk(2)
    return auxiliary_classifier_loss(positive, negative, kind)


def batches(source: Tensor, target: Tensor, steps: int, batch_size: int = 4, seed: int = 0):
    """``steps`` pairs of random batches; what stands side by side in them has nothing to do with each other.

    Reference: unpaired training as in Zhu et al., *CycleGAN*, https://arxiv.org/abs/1703.10593

    Example:
        >>> [a.shape[0] for a, b in batches(torch.zeros(9, 1), torch.ones(9, 1), steps=2)]
        [4, 4]

    Args:
        source, target: all images of the two kinds.
        steps: how many.
        batch_size: of each of the two.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = (torch.randint(len(x), (batch_size,), generator=generator) for x in (source, target))
        yield tuple(x[i] for x, i in zip((source, target), chosen, strict=True))


def train_translation(
    nets: Translation, source: Tensor, target: Tensor, steps: int, weights: Mapping[str, float] = WEIGHTS, seed: int = 0
) -> Iterator[int]:
    """Train in place, generators then discriminators on every batch; yields the number of each step when it is done.

    Reference: Kim et al., section 3.2, https://arxiv.org/abs/1907.10830

    Example:
        >>> x = torch.rand(4, 1, 24, 24)
        >>> list(train_translation(Translation(width=2), x, -x, steps=2))
        [1, 2]

    Args:
        nets: the four nets.
        source, target: all images of the two kinds.
        steps: how many batches.
        weights: of the four losses.
        seed: of the batches.

    Raises:
        ValueError: weights that are not those of the four losses.
    """
    if set(weights) != set(WEIGHTS):
        raise ValueError(f"weights must be of {', '.join(WEIGHTS)}, got {', '.join(weights)}")
    artists, judges = nets.optimizers()
    for step, (a, b) in enumerate(batches(source, target, steps, seed=seed), 1):
        losses, fakes = generator_losses(nets, a, b)
        _descend(artists, sum(weights[name] * loss for name, loss in losses.items()))
        _descend(judges, discriminator_loss(nets, a, b, fakes))
        yield step


def _descend(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def disc_found(heatmap: Tensor, discs: Tensor) -> float:
    """How likely a pixel of the disc is brighter in the heat map than one outside: 1 always, 0.5 as by chance.

    Reference: the area under the ROC curve as a probability, https://doi.org/10.1148/radiology.143.1.7063747

    Example:
        >>> _, discs = striped_patches("vertical", count=2)
        >>> disc_found(discs.float(), discs), disc_found(torch.zeros(2, 1, 6, 6), discs)
        (1.0, 0.5)

    Args:
        heatmap: (B, 1, h, w); enlarged to the discs' size.
        discs: (B, 1, S, S), true inside.
    """
    large = F.interpolate(heatmap, discs.shape[2:], mode="bilinear")  # (B, 1, S, S)
    scores = []
    for image, disc in zip(large, discs, strict=True):
        inside, outside = image[disc][:, None], image[~disc]
        scores.append((inside > outside).float().mean() + 0.5 * (inside == outside).float().mean())
    return torch.stack(scores).mean().item()


def vertical_share(images: Tensor, discs: Tensor) -> Tensor:
    """How vertical the stripes in each disc are: 1 for vertical ones, 0 for horizontal ones, (B,).

    Reference: energies of differences along x and along y, this project's own measure

    Example:
        >>> vertical_share(*striped_patches("vertical", count=2)), vertical_share(*striped_patches("horizontal", count=2))
        (tensor([1., 1.]), tensor([0., 0.]))

    Args:
        images: (B, 1, S, S).
        discs: (B, 1, S, S), true inside.
    """
    inner = -F.max_pool2d(-discs.float(), 3, 1)  # (B, 1, S - 2, S - 2): where both neighbours are in the disc as well
    along_x = (images[..., 1:-1, 2:] - images[..., 1:-1, :-2]).square() * inner
    along_y = (images[..., 2:, 1:-1] - images[..., :-2, 1:-1]).square() * inner
    energy = along_x.flatten(1).sum(1), along_y.flatten(1).sum(1)
    return energy[0] / (energy[0] + energy[1]).clamp_min(1e-12)

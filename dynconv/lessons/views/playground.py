"""Playground: three networks that train in the page, on photos damaged in ways that nobody tells them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor

from .. import figures
from ..data import DEGRADATIONS, SHIFTS, best_filter, photo
from .instrument import Finite, KernelInstrument, Whole, encode_bytes
from .javascript import module, styles

__all__ = ["Playground"]

SIZE = 256  # pixels of a photo's side
CORNERS = {"astronaut": (20, 96), "camera": (20, 120), "chelsea": (4, 59)}  # faces, where the middle shows none
TASKS = {"damages": DEGRADATIONS, "shifts": SHIFTS}
TRAINED_ON = ("astronaut", "brick", "coffee", "grass", "gravel")
HELD_OUT = ("chelsea", "camera")


def square(name: str) -> Tensor:
    """SIZE × SIZE grey levels, 0 to 255, out of a shipped photo, at its own scale."""
    grey = (255 * photo(name, grey=True)[0]).round()  # (H, W)
    middle = [(length - SIZE) // 2 for length in grey.shape]
    top, left = CORNERS.get(name, middle)
    return grey[top : top + SIZE, left : left + SIZE]


def standardised(pixels: Tensor) -> Tensor:
    """The photo as the page trains on it: mean 0, standard deviation 1, (1, 1, H, W), float64."""
    x = pixels.double()
    return ((x - x.mean()) / x.std())[None, None]


class Playground(KernelInstrument):
    """A plain convolution, a softmax mix and a dynamic convolution that train in the page, side by side, without a kernel.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458; the networks are those of
    :func:`dynconv.lessons.systems.filter_network`

    Each learns by Adam, in float64, from the same patches of the same photos, to undo one of four damages that it is not
    told; the curves, the gallery and the sentence are of other photos. The learning rate falls over 3,000 steps as half a
    cosine. Where the browser allows it the training runs in a Web Worker.

    Example:
        >>> playground = Playground(num_kernels=2, seed=3)
        >>> playground.task, playground.photo, len(json.loads(playground.data)["photos"]["train"])
        ('damages', 'chelsea', 5)

    Args:
        trained_on: names of shipped photos that patches are cut from.
        held_out: names of others: for the curves and the gallery.
        experiments: button's label → traits it sets, for example {"one kernel": {"num_kernels": 1}}.
        state: where it starts, else as the patches trained on like it best (experiments/README.md): task ("damages", or "shifts", where nothing shows which), temperature T, cooling (from 30 to
            1 over 800 steps, whatever the temperature), num_kernels K, learning_rate, seed, batch_size (16 or 32), photo
            (one of those held out), damage (0 to 3).

    Raises:
        ValueError: a photo is on both sides, or a side has none.
    """

    _esm = module("playground")
    _css = styles("diagram", "playground")
    most_kernels = 8
    task = traitlets.Enum(tuple(TASKS), "damages").tag(sync=True)
    cooling = traitlets.Bool(False).tag(sync=True)
    learning_rate = Finite(0.02, min=0.001, max=0.1).tag(sync=True)
    seed = Whole(0, min=0, max=9).tag(sync=True)
    batch_size = traitlets.Enum((16, 32), 16).tag(sync=True)
    photo = traitlets.Unicode().tag(sync=True)
    damage = Whole(0, min=0, max=3).tag(sync=True)

    def __init__(
        self,
        trained_on: Sequence[str] = TRAINED_ON,
        held_out: Sequence[str] = HELD_OUT,
        experiments: Mapping[str, Mapping] | None = None,
        **state,
    ) -> None:
        if both := set(trained_on) & set(held_out):
            raise ValueError(f"photos cannot be trained on and held out, got on both sides: {', '.join(sorted(both))}")
        if not trained_on or not held_out:
            raise ValueError(f"each side needs a photo, got {len(trained_on)} to train on and {len(held_out)} held out")
        self.trained_on, self.held_out = list(trained_on), list(held_out)
        photos = {"train": self.trained_on, "held": self.held_out}
        data = {side: [encode_bytes(square(name)) for name in names] for side, names in photos.items()}
        super().__init__(
            data=json.dumps({"photos": {**data, "size": SIZE}, "names": self.held_out}),
            experiments=json.dumps(experiments or {}),
            **{"num_kernels": 4, "temperature": 3.0, "photo": self.held_out[0]} | state,
        )

    @traitlets.validate("photo")
    def _check_photo(self, proposal):
        if proposal["value"] not in self.held_out:
            raise traitlets.TraitError(f"photo must be one of {self.held_out}, got {proposal['value']!r}")
        return proposal["value"]

    def still(self) -> figures.Picture:
        """The chosen photo in each damage, as one filter and as that damage's own filter restore it."""
        generator = torch.Generator().manual_seed(self.seed)
        clean = standardised(square(self.photo))
        damages = TASKS[self.task]
        training = [standardised(square(name))[..., :128, :128] for name in self.trained_on]
        examples = {
            name: torch.cat([damage(x, generator) for x in training]) for name, damage in damages.items()
        }  # (photos, 1, 128, 128) each
        wanted = torch.cat(training)
        one = best_filter(torch.cat(list(examples.values())), wanted.repeat(len(damages), 1, 1, 1))
        rows = {}
        for name, damage in damages.items():
            given = damage(clean, generator)[..., 64:192, 64:192]
            filters = {"best single filter": one, "this damage's best": best_filter(examples[name], wanted)}
            restored = {title: F.conv2d(given, weight)[0, 0] for title, weight in filters.items()}
            rows[name] = {"damaged": given[0, 0, 4:-4, 4:-4], **restored, "clean": clean[0, 0, 68:188, 68:188]}
        return figures.images(
            rows,
            grey=True,
            alt=f"Playground, {self.photo} held out: {', '.join(damages)}; restored by the best single filter of least "
            "squares, by the best filter for each, and clean. Three networks train between these two in the page.",
        )

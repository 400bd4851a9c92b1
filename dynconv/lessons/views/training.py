"""Training: attention and kernels watched while a dynamic network learns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import torch
import traitlets
from torch import Tensor

from .. import figures
from ..data.recordings import check_record
from .instrument import Instrument, Whole
from .javascript import module, styles
from .restored import checked_name, pictures

__all__ = ["TrainingView"]


class TrainingView(Instrument):
    """Test loss, attention by kind of image and the K kernels, after every epoch; afterwards a scrubber plays them back.

    Reference: Chen et al., section 3.3 and figure 4, https://arxiv.org/abs/1912.03458

    Example:
        >>> view = TrainingView(["cat", "dog"], epochs=1, num_kernels=2, kernel_size=3)
        >>> kernels = [[0.0] * 9, [1.0] * 9]
        >>> view.add({"epoch": 0, "temperature": 30.0, "test_loss": 1.0, "attention": [[0.5, 0.5]] * 2, "kernels": kernels})
        >>> len(view.history), view.epoch is None
        (1, True)

    Args:
        classes: names of the kinds of image.
        epochs: how many there will be, for the progress bar.
        num_kernels: K, at most 8.
        kernel_size: height and width of the kernels, in pixels.
        references: name → loss, drawn as horizontal lines to compare with.
        images: name → (1, H, W), at most 8 pictures of one size whose "shares" every record holds, to be seen restored.
        wanted: name → (h, w), what each should become: the middle that the kernels reach without padding.

    The trait ``epoch`` is the one that is shown, None for the newest; ``image`` is the picture.

    Raises:
        ValueError: a number below 1, or pictures that do not fit the kernels or one another; traitlets.TraitError: an epoch
            or a picture that is not there.
    """

    _esm = module("training")
    _css = styles("diagram", "playback")
    records = traitlets.Unicode("[]").tag(sync=True, control=False)
    epoch = Whole(None, allow_none=True).tag(sync=True)
    image = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        classes: Sequence[str],
        epochs: int,
        num_kernels: int,
        kernel_size: int,
        references: Mapping[str, float] | None = None,
        *,
        images: Mapping[str, Tensor] | None = None,
        wanted: Mapping[str, Tensor] | None = None,
    ) -> None:
        for name, value in (("epochs", epochs), ("num_kernels", num_kernels), ("kernel_size", kernel_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.classes, self.num_kernels, self.kernel_size = list(classes), num_kernels, kernel_size
        self.history: list[dict] = []
        self.images = dict(images or {})
        description = {"classes": self.classes, "epochs": epochs, "num_kernels": num_kernels}
        description |= {"kernel_shape": [kernel_size, kernel_size], "references": list((references or {}).items())}
        description |= {"pictures": pictures(images, wanted, [kernel_size])}
        super().__init__(data=json.dumps(description), image=next(iter(self.images), ""))

    @traitlets.validate("epoch")
    def _check_epoch(self, proposal):
        epoch, last = proposal["value"], self.history[-1]["epoch"] if self.history else -1
        if epoch is not None and not 0 <= epoch <= last:
            raise traitlets.TraitError(f"epoch must be None, for the newest, or one that was recorded, got {epoch}")
        return epoch

    @traitlets.validate("image")
    def _check_image(self, proposal):
        return checked_name(proposal["value"], self.images)

    def add(self, record: Mapping) -> None:
        """Show one more epoch; :func:`dynconv.lessons.data.recordings.check_record` says what its record holds."""
        check_record(record, len(self.classes), self.num_kernels, self.kernel_size**2, len(self.images))
        kernels = [[float(f"{v:.4g}") for v in row] for row in record["kernels"]]  # enough digits for a picture
        self.history.append({**record, "kernels": kernels})
        self.records = json.dumps(self.history)

    def still(self) -> figures.Picture | None:
        if not self.history:
            return None
        attention = torch.tensor(self.history[-1]["attention"])
        return figures.attention_bars(
            dict(zip(self.classes, attention, strict=True)),
            alt=f"Training after {self.history[-1]['epoch']} epochs, test loss {self.history[-1]['test_loss']:.4f}: "
            "share of each kernel in the mix, by kind of image.",
        )

"""Time machine: recorded training runs side by side, in step."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import torch
import traitlets
from torch import Tensor

from .. import figures
from ..data.recordings import check_runs
from .instrument import Instrument, Whole, encode
from .javascript import module, styles
from .restored import checked_name, pictures

__all__ = ["TimeMachine", "time_state"]

Runs = Mapping[str, Sequence[Mapping]]


def time_state(runs: Runs, epoch: int) -> dict[str, dict]:
    """What every run shows at an epoch: its last record that is not later, and how it spreads its attention.

    Reference: the effective number of kernels is exp(entropy), https://doi.org/10.2307/1934352

    Low entropy for every class with the same leader is one kernel doing all the work; with different leaders the kernels
    have specialised.

    Example:
        >>> from dynconv.lessons.data.recordings import recording
        >>> shown = time_state(recording("restoration")["runs"], 25)
        >>> {name: round(run["test_loss"], 2) for name, run in shown.items()}
        {'T = 1': 0.08, 'T = 30': 0.09, 'T = 30 → 1': 0.09}

    Args:
        runs: name → records, see :func:`dynconv.lessons.data.recordings.check_record`.
        epoch: a run that has ended stays at its last record, one that has not begun is at its first.

    Returns:
        Run's name → "epoch", "temperature", "test_loss"; "effective" (classes,), as recorded or else of the mean
        attention; "leaders" (classes,), the kernel with the largest share.
    """
    shown = {}
    for name, records in runs.items():
        record = next((r for r in reversed(records) if r["epoch"] <= epoch), records[0])
        attention = torch.tensor(record["attention"], dtype=torch.float64)  # (classes, K)
        effective = record.get("effective") or torch.special.entr(attention).sum(1).exp().tolist()
        state = {"effective": torch.tensor(effective), "leaders": attention.argmax(1)}
        shown[name] = {entry: record[entry] for entry in ("epoch", "temperature", "test_loss")} | state
    return shown


class TimeMachine(Instrument):
    """One scrubber and one play button over several recorded runs: loss, attention by class, entropy and kernels.

    Reference: Chen et al., section 3.3 and figure 4, https://arxiv.org/abs/1912.03458

    Attention follows the kernels and the kernels follow the attention: the early epochs decide who specialises in what,
    and the temperature decides how long that stays open. With pictures, each run shows what it makes of the chosen one,
    beside what it was given and what is wanted: its kernel is mixed, and convolved with the picture, in the page.

    Example:
        >>> from dynconv.lessons.data.recordings import recording
        >>> kept = recording("restoration")
        >>> machine = TimeMachine(kept["runs"], kept["classes"], kept["references"], **kept["pictures"])
        >>> machine.epoch, machine.last, machine.image
        (0, 25, 'horizontal blur')

    Args:
        runs: name → records, 1 to 4 of them; shipped ones, those of :class:`dynconv.lessons.views.TrainingView`'s ``history``, or
            what ``experiments.evidence.recording.record_training`` gives. See :func:`dynconv.lessons.data.recordings.check_record`.
        classes: names of the kinds of image, the same in all runs.
        references: name → loss, drawn as horizontal lines to compare with.
        epoch: to start with.
        experiments: button's label → traits it sets, for example {"do they part?": {"epoch": 8}}.
        images: name → (1, H, W), at most 8 pictures of one size whose "shares" every record holds.
        wanted: name → (h, w), what each should become: the middle that the kernels reach without padding.
        image: name of the picture to start with; the first if left out.

    Raises:
        ValueError: no run or more than 4, or a record or a reference that is not one, with the run and the epoch; pictures
            that do not fit the kernels or one another; traitlets.TraitError: an epoch or a picture that is not there.
    """

    _esm = module("time_machine")
    _css = styles("diagram", "playback")
    epoch = Whole(0).tag(sync=True)
    image = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        runs: Runs,
        classes: Sequence[str],
        references: Mapping[str, float] | None = None,
        epoch: int = 0,
        experiments: Mapping[str, Mapping] | None = None,
        *,
        images: Mapping[str, Tensor] | None = None,
        wanted: Mapping[str, Tensor] | None = None,
        image: str | None = None,
    ) -> None:
        if not 1 <= len(runs) <= 4:
            raise ValueError(f"runs must be 1 to 4, got {len(runs)}")
        self.images = dict(images or {})
        check_runs(runs, classes, len(self.images))
        self.references = dict(references or {})
        for name, loss in self.references.items():
            if not math.isfinite(loss):
                raise ValueError(f"reference {name!r} must be finite, got {loss}")
        self.runs, self.last = dict(runs), max(records[-1]["epoch"] for records in runs.values())
        packed = [{"name": name, **_pack(records)} for name, records in runs.items()]
        data = {"classes": list(classes), "references": list(self.references.items()), "runs": packed}
        data |= {"pictures": pictures(images, wanted, sorted({run["size"] for run in packed}))}
        image = next(iter(self.images), "") if image is None else image
        super().__init__(data=json.dumps(data), experiments=json.dumps(experiments or {}), epoch=epoch, image=image)

    @traitlets.validate("epoch")
    def _check_epoch(self, proposal):
        if not 0 <= proposal["value"] <= self.last:
            raise traitlets.TraitError(f"epoch must be 0 to {self.last}, got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("image")
    def _check_image(self, proposal):
        return checked_name(proposal["value"], self.images)

    def still(self) -> figures.Picture:
        epochs = range(min(1, self.last), self.last + 1)  # the untrained network's loss would flatten all the rest
        states = [time_state(self.runs, epoch) for epoch in epochs]
        series = {name: [state[name]["test_loss"] for state in states] for name in self.runs}
        series |= {name: [loss] * len(states) for name, loss in self.references.items()}
        ends = ", ".join(
            f"{name} with test loss {run['test_loss']:.4f} and {run['effective'].mean():.1f} kernels effectively in use"
            for name, run in states[-1].items()
        )
        return figures.curves(
            series,
            alt=f"Training runs by epoch; after {self.last} epochs they end: {ends}.",
            x=list(epochs),
            xlabel="epoch",
            ylabel="test loss",
        )


def _pack(records: Sequence[Mapping]) -> dict:
    """A run as it travels: the kernels of all epochs as one array, beside the rest."""
    kernels: Tensor = torch.tensor([record["kernels"] for record in records])  # (epochs, K, pixels)
    wanted = ("epoch", "temperature", "loss", "test_loss", "attention", "effective", "shares", "biases")
    rest = [{name: record[name] for name in wanted if name in record} for record in records]
    sizes = {"num_kernels": kernels.shape[1], "size": math.isqrt(kernels.shape[2])}
    return {"records": rest, "kernels": encode(kernels), **sizes}

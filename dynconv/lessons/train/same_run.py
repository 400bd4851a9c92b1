"""Whether a checkpoint is one of this very run: a well-formed file can hold anything."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["check_same_run"]


def check_same_run(state, own: dict, steps_an_epoch: int) -> None:
    """Refuse what a run cannot go on from.

    Reference: strict loading, https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html (``load_state_dict``),
    for the whole of a run; torch's optimizers and schedules take what they are given.

    Example:
        >>> check_same_run({"weight": 1}, {"model": {}, "settings": {}}, steps_an_epoch=10)
        Traceback (most recent call last):
        ValueError: is not the checkpoint of a run: 'model' must be a dict, got None; it holds 'weight'

    Args:
        state: what the file holds.
        own: what this run would write before its first epoch.
        steps_an_epoch: optimiser steps, which the schedules count.

    Raises:
        ValueError: what is missing, of another kind or size, or belongs to another run; it goes on from the file's name.
    """
    if not isinstance(state, dict):
        raise ValueError(f"is not the checkpoint of a run but a {type(state).__name__}")
    for name, value in own.items():  # only a run in float16 has a scaler; whether this is one is compared below
        kind = dict if isinstance(value, dict) else list
        if name != "scaler" and not isinstance(state.get(name), kind):
            found = f"{state.get(name)!r:.60}; it holds {', '.join(map(repr, state)) or 'nothing'}"
            raise ValueError(f"is not the checkpoint of a run: {name!r} must be a {kind.__name__}, got {found}")
    mine, theirs = own["settings"], state["settings"]
    other = [name for name, value in mine.items() if theirs.get(name) != value]
    other += sorted(name for name in theirs if name not in mine)
    if own["model"].keys() != state["model"].keys() and other in ([], ["temperatures"]):  # as many as it has layers
        raise ValueError("belongs to a run of another network")
    if other:
        raise ValueError(f"belongs to a run with {other[0]}={theirs.get(other[0])}, not {mine.get(other[0])}")
    if wrong := _unlike(state, own):
        raise ValueError(f"is not the checkpoint of this run: {wrong}")
    _check_progress(state, steps_an_epoch)


def _check_progress(state: dict, steps_an_epoch: int) -> None:
    epochs = [record.get("epoch") for record in state["history"]]
    if not epochs or epochs != list(range(len(epochs))):
        raise ValueError(f"is not the checkpoint of a run: its history must be of epochs 0, 1, 2 …, got {epochs}")
    for loss in (record.get("test_loss", 0.0) for record in state["history"]):
        if not isinstance(loss, (int, float, Tensor)):
            raise ValueError(f"is not the checkpoint of a run: test_loss must be a number, got {loss!r:.60}")
    steps = [schedule.get("last_epoch", schedule.get("last_step")) for schedule in state["schedules"]]
    if set(steps) != {epochs[-1] * steps_an_epoch}:
        raise ValueError(
            f"is not the checkpoint of a run: after {epochs[-1]} epochs its schedules are at steps {steps}"
        )


def _unlike(kept: Any, own: Any, where: str = "") -> str | None:
    """The first place where ``kept`` is built otherwise than ``own``; versions of torch may add entries and leave them out."""
    kinds: tuple[Any, ...] = (dict, (list, tuple), Tensor, str, (int, float))
    kind: Any = next((kind for kind in kinds if isinstance(own, kind)), object)
    if not isinstance(kept, kind):
        return f"{where} must be a {type(own).__name__}, got {kept!r:.60}"
    if kind is Tensor:
        return f"{where} must be {tuple(own.shape)}, got {tuple(kept.shape)}" if kept.shape != own.shape else None
    if kind == (list, tuple) and own:  # the history of a new run is empty
        if len(kept) != len(own):
            return f"{where} must have {len(own)} entries, got {len(kept)}"
        kept, own = dict(enumerate(kept)), dict(enumerate(own))
    shared = [key for key in own if key in kept] if isinstance(own, dict) else []
    return next(filter(None, (_unlike(kept[key], own[key], f"{where}[{key!r}]") for key in shared)), None)

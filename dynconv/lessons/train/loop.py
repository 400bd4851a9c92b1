"""A small, clear training loop: seeded, resumable, watched epoch by epoch, the same on one device and on many."""

from __future__ import annotations

import contextlib
import copy
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ...schedule import TemperatureSchedule
from ...surgery import parameter_groups, temperatures
from .alone import alone
from .checkpoint import load_checkpoint, save_checkpoint
from .same_run import check_same_run

__all__ = ["OPTIMIZERS", "fit"]

# LBFGS sees all images at every step and builds up curvature: it is for small, badly conditioned problems
OPTIMIZERS = {
    "adam": lambda groups, lr: torch.optim.Adam(groups, lr=lr),
    "adamw": lambda groups, lr: torch.optim.AdamW(groups, lr=lr),
    "sgd": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True),
    "lbfgs": lambda groups, lr: torch.optim.LBFGS(
        [p for group in groups for p in group["params"]],
        lr=lr,
        max_iter=10,
        history_size=30,
        line_search_fn="strong_wolfe",
    ),
}


def fit(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    batch_size: int = 32,
    lr: float = 1e-2,
    optimizer: str = "adam",
    weight_decay: float = 0.0,
    anneal: tuple[float, float, float] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.mse_loss,
    seed: int = 0,
    evaluate: Callable[[nn.Module], dict] | None = None,
    folder: str | Path | None = None,
    accelerator=None,
    progress: bool = True,
    about: Mapping[str, Any] | None = None,
) -> Iterator[dict]:
    """Train with a cosine learning rate (a constant one with "lbfgs"); yield a record before the first and after every epoch.

    Reference: Kingma and Ba, https://arxiv.org/abs/1412.6980; Loshchilov and Hutter, https://arxiv.org/abs/1608.03983;
    Liu and Nocedal, https://doi.org/10.1007/BF01589116 (L-BFGS)

    A generator: what you do with a record — print it, draw it, stop — is done between two epochs, on the model as it is.
    An epoch depends on nothing but the state before it, the seed and its number; so a run that was stopped, or killed, and
    is started again with the same ``folder`` yields the same records and ends with the same weights.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> records = list(fit(nn.Linear(3, 1), x, x.sum(1, keepdim=True), epochs=20, progress=False))
        >>> records[0]["epoch"], records[-1]["epoch"], records[-1]["loss"] < records[1]["loss"]
        (0, 20, True)

    Args:
        model: trained in place; left in the mode it came in. Batches go to where its parameters are.
        inputs, targets: N of each. Bytes (uint8) become 0 … 1 when they are used.
        epochs: how many times all of them are seen.
        batch_size: images a step, over all processes together; "lbfgs" takes all of them at once.
        lr: learning rate at the start.
        optimizer: "adam", "adamw", "sgd" (Nesterov, momentum 0.9) or "lbfgs" (10 iterations an epoch).
        weight_decay: of everything but gates and attention.
        anneal: (T at the start, T at the end, fraction of all steps it takes), or None to leave temperatures alone.
        loss: from (output, target) to the mean over a batch.
        seed: of the order of the images and of what is random in the model.
        evaluate: from the model, in eval mode and without gradients, to more entries for the record; a "test_loss" among
            them decides which weights are the best.
        folder: keeps ``last.pt`` (to go on from) and ``best.pt`` (weights and record); None keeps nothing.
        accelerator: a Hugging Face ``Accelerator`` for GPUs, several processes or mixed precision.
        progress: show a bar.
        about: what else makes this run what it is, as plain values by name; a run with others does not go on from it.

    Yields:
        {"epoch": 0 … epochs, "loss": mean training loss of the epoch or None before the first, "temperature": T or None}
        and what ``evaluate`` gave; with several processes only the main one evaluates.

    Raises:
        ValueError: inputs and targets differ in number, a number is out of range, the optimizer is unknown, or ``last.pt`` in
            ``folder`` is something else or belongs to a run with other settings, other data or of another network (the model
            is then as it was), or another run is going on there; FloatingPointError: the loss is no longer a finite number.
            What was kept is from before that.
    """
    if len(inputs) != len(targets) or not len(inputs):
        raise ValueError(f"inputs and targets must be equally many and not empty, got {len(inputs)} and {len(targets)}")
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, got {epochs} and {batch_size}")
    if anneal and not 0 <= anneal[2] <= 1:
        raise ValueError(f"anneal's last number is a fraction of the steps, 0 to 1, got {anneal[2]}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(map(repr, OPTIMIZERS))}, got {optimizer!r}")
    if optimizer == "lbfgs":
        batch_size = len(inputs)
        if accelerator is not None and accelerator.num_processes > 1:
            raise ValueError(f"optimizer 'lbfgs' runs in one process, got {accelerator.num_processes}")
    settings = {"images": len(inputs), "epochs": epochs, "batch_size": batch_size, "lr": lr, "optimizer": optimizer}
    settings |= {"weight_decay": weight_decay, "anneal": list(anneal) if anneal else None, "seed": seed}
    settings |= {"loss": _named(loss), "precision": getattr(accelerator, "mixed_precision", "no")}
    # with an anneal it is the schedule that sets them, and a model may come back in the middle of it
    settings |= {"temperatures": None if anneal else [buffer.tolist() for buffer in temperatures(model)]}
    settings |= {} if folder is None else {"data": [_fingerprint(inputs), _fingerprint(targets)]}
    if twice := settings.keys() & (about or {}).keys():
        raise ValueError(f"about cannot hold {min(twice)!r}, which is one of fit's own settings")
    run = _Run(model, dict(about or {}) | settings, accelerator)
    with alone(folder) if folder is not None and run.is_main else contextlib.nullcontext() as run.still_mine:
        yield from _epochs(run, inputs, targets, loss, evaluate, folder, progress)


def _epochs(
    run: _Run,
    inputs: Tensor,
    targets: Tensor,
    loss: Callable,
    evaluate: Callable | None,
    folder: str | Path | None,
    progress: bool,
) -> Iterator[dict]:
    """The records that are kept in the folder, and then those of the epochs that are left."""
    epochs, lr = run.settings["epochs"], run.settings["lr"]
    run.resume(folder)
    yield from run.history
    if not run.history:
        yield run.keep({"epoch": 0, "loss": None}, evaluate, folder)
    start = run.history[-1]["epoch"]
    with tqdm(total=epochs, unit="epoch", disable=not (progress and run.is_main), initial=start) as bar:
        for epoch in range(start + 1, epochs + 1):
            mean = run.epoch(epoch, inputs, targets, loss)
            if not math.isfinite(mean):
                raise FloatingPointError(
                    f"the loss of epoch {epoch} is {mean}: try an lr below {lr}, and look at the data"
                )
            bar.update()
            yield run.keep({"epoch": epoch, "loss": mean}, evaluate, folder)


def _named(loss: Callable) -> str:
    """What tells one loss from another, run after run: a function's name, a module with its settings."""
    return repr(loss) if isinstance(loss, nn.Module) else getattr(loss, "__qualname__", type(loss).__qualname__)


def _fingerprint(data: Tensor) -> str:
    """Of shape, kind and content: the same number of other images is other data."""
    content = data.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return f"{str(data.dtype).removeprefix('torch.')} {tuple(data.shape)} {zlib.crc32(content.tobytes()):08x}"


class _Run:
    """The state of one training run: all that a checkpoint has to keep."""

    def __init__(self, model: nn.Module, settings: dict, accelerator) -> None:
        self.model, self.settings, self.accelerator = model, settings, accelerator
        self.rank, self.world, self.is_main = 0, 1, True
        self.history: list[dict] = []
        self.still_mine: Callable[[], None] | None = None  # raises when another run has taken the folder over
        self.steps_an_epoch = math.ceil(settings["images"] / settings["batch_size"])
        steps = settings["epochs"] * self.steps_an_epoch
        groups = parameter_groups(model, settings["weight_decay"])
        self.trained = model
        if accelerator is not None:
            self.rank, self.world = accelerator.process_index, accelerator.num_processes
            self.is_main = accelerator.is_main_process
            self.trained = accelerator.prepare(model)
        self.optimizer = OPTIMIZERS[settings["optimizer"]](groups, settings["lr"])
        # a line search finds its own steps; to slow it down would only waste evaluations
        decay = 0.0 if settings["optimizer"] != "lbfgs" else settings["lr"]
        self.schedules: list[Any] = [torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps, eta_min=decay)]
        if settings["anneal"]:
            first, last, fraction = settings["anneal"]
            self.schedules.append(TemperatureSchedule(model, max(1, round(steps * fraction)), first, last))
        if accelerator is not None:
            self.stepper = accelerator.prepare(self.optimizer)
        else:
            self.stepper = self.optimizer
        self.device = next(model.parameters()).device

    def epoch(self, epoch: int, inputs: Tensor, targets: Tensor, loss: Callable) -> float:
        """See all images once, in an order that depends on seed and epoch alone; the mean loss."""
        seed = 1_000_003 * self.settings["seed"] + epoch
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
        was_training, total = self.model.training, torch.zeros((), device=self.device)
        devices = [self.device] if self.device.type == "cuda" else []
        self.trained.train()
        with torch.random.fork_rng(devices):  # what is random in the model is repeated too; the caller's draws are not
            torch.manual_seed(seed + 7919 * self.rank)
            for index in order.split(self.settings["batch_size"]):
                total += self.step(index, inputs, targets, loss)
        self.trained.train(was_training)
        if self.world > 1:
            total = self.accelerator.reduce(total, "sum")
        return total.item() / len(inputs)

    def step(self, index: Tensor, inputs: Tensor, targets: Tensor, loss: Callable) -> Tensor:
        """One step of the optimiser on this process's share of a batch; the share's summed loss."""
        share = index[self.rank :: self.world]
        weight = len(share) * self.world / len(index)  # shares of a short batch differ; their mean must not
        share = share if len(share) else index[:1]
        x, y = inputs[share].to(self.device), targets[share].to(self.device)
        x = x.float() / 255 if x.dtype == torch.uint8 else x

        def closure() -> Tensor:
            self.stepper.zero_grad()
            if self.accelerator is None:
                value = loss(self.trained(x), y) * weight
                value.backward()
            else:
                with self.accelerator.autocast():
                    value = loss(self.trained(x), y) * weight
                self.accelerator.backward(value)
            return value

        if self.settings["optimizer"] == "lbfgs":
            value = self.stepper.step(closure)
        else:
            value = closure()
            self.stepper.step()
        for schedule in self.schedules:
            schedule.step()
        return value.detach() * len(index) / self.world

    @torch.no_grad()
    def keep(self, record: dict, evaluate: Callable | None, folder) -> dict:
        """Complete a record, remember it, and save."""
        record["temperature"] = next((buffer.item() for buffer in temperatures(self.model)), None)
        if evaluate is not None and self.is_main:
            was_training = self.model.training
            record |= evaluate(self.model.eval())
            self.model.train(was_training)
        best = min((r["test_loss"] for r in self.history if "test_loss" in r), default=math.inf)
        self.history.append(record)
        if self.still_mine is not None:
            self.still_mine()
            if record.get("test_loss", math.inf) < best:  # first: a kill in between repeats the epoch, and this
                save_checkpoint(Path(folder, "best.pt"), {"model": self.model.state_dict(), "record": record})
            save_checkpoint(Path(folder, "last.pt"), self.state())
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()
        return record

    def state(self) -> dict:
        schedules = [schedule.state_dict() for schedule in self.schedules]
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "schedules": schedules}
        scaler = getattr(self.accelerator, "scaler", None)  # of float16
        state |= {"scaler": scaler.state_dict()} if scaler is not None else {}
        return state | {"history": self.history, "settings": self.settings}

    def resume(self, folder) -> None:
        """Go on from ``folder``/last.pt if it is there."""
        path = None if folder is None else Path(folder, "last.pt")
        if path is None or not path.exists():
            return
        state, before = load_checkpoint(path), copy.deepcopy(self.state())
        try:
            check_same_run(state, before, self.steps_an_epoch)
            self.load(state)
        except Exception as error:
            self.load(before)  # torch takes over what it can before it complains
            reason = error if isinstance(error, ValueError) else f"is not the checkpoint of a run ({error!r})"
            raise ValueError(f"{path} {reason}: give another folder") from error

    def load(self, state: dict) -> None:
        """Take over what :meth:`state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for schedule, values in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(values)
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and "scaler" in state:
            scaler.load_state_dict(state["scaler"])
        self.history = state["history"]

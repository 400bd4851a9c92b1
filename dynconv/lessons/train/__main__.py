"""A real run from a configuration: one CPU, one GPU or many, on one machine or several.

python -m dynconv.lessons.train run.toml                             one process, on the GPU if there is one
torchrun --nproc-per-node 2 -m dynconv.lessons.train run.toml        two processes (GPUs, or CPU processes without one)
torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m dynconv.lessons.train run.toml

Started again after it was stopped, it goes on from its folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm

from .. import tasks
from .config import Config, read_config
from .loop import fit
from .sync import synchronise_batch_norm
from .watch import attention_by_class

# what torch, its allocators and MKL say, and gloo and NCCL of a process that is gone
NO_MEMORY = "allocate memory", "out of memory", "not enough memory", "alloc_failed", "bad_alloc"
NO_PEER = "closed by peer", "reset by peer", "connection refused", "broken pipe", "socket closed", "timed out waiting"
MISSING = "python -m dynconv.lessons.train needs Hugging Face Accelerate: pip install 'dynconv[train]'"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dynconv.lessons.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="a TOML file, see dynconv.lessons.train.config")
    parser.add_argument("--cpu", action="store_true", help="leave the GPU alone")
    args = parser.parse_args(argv)
    config = None
    try:
        config = read_config(args.config)
        run(config, args.cpu)
    except KeyboardInterrupt:
        print(f"\nstopped: {kept(config)}", file=sys.stderr)
        return 130  # what a shell gives for one that was interrupted
    except Exception as error:
        if (reason := accident(error)) is not None:
            sys.exit(f"error: {reason}; {kept(config)}")
        if isinstance(error, (ValueError, OSError, FloatingPointError)):
            sys.exit(f"error: {error}")
        raise
    return 0


def run(config: Config, cpu: bool) -> None:
    try:
        from accelerate import Accelerator
    except ModuleNotFoundError:
        sys.exit(MISSING)
    on_cpu = cpu or not torch.accelerator.is_available()
    if on_cpu and config.precision == "fp16":  # Accelerate would train in fp32 and say nothing
        raise ValueError("precision 'fp16' needs a GPU; on a CPU it can be 'bf16' or 'no'")
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=config.precision)
    train(config, accelerator)
    accelerator.end_training()


def accident(error: Exception) -> str | None:
    """What has happened, where nothing is wrong in the program: no memory, or another process of the run is gone."""
    said = (str(error).splitlines() or [""])[0]
    words = str(error).lower()
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(one in words for one in NO_MEMORY):
        return "there is not enough memory (a smaller recipe.batch_size or data.size, with another folder, needs less)"
    if isinstance(error, getattr(torch.distributed, "DistError", ())) or any(one in words for one in NO_PEER):
        return f"another process of this run has ended or cannot be reached ({said[:120]})"
    return None


def kept(config: Config | None) -> str:
    """What the same command does next."""
    last = Path(config.folder, "last.pt") if config else None
    if last is None or not last.exists():
        return "nothing has been kept yet"
    return f"the same command goes on from {last}"


def train(config: Config, accelerator) -> list[dict]:
    """Train as the configuration says, tell of every epoch, and keep the history beside the checkpoints."""
    with accelerator.main_process_first(), accelerator.local_main_process_first():  # one process of a machine downloads
        task = tasks.task(config.task, **config.data)
    torch.manual_seed(config.seed)
    options = {"num_kernels": config.num_kernels, "temperature": config.temperature}
    model = task.network(config.system, **options).eval()
    if accelerator.num_processes > 1:
        model = synchronise_batch_norm(model)
    recipe = task.recipe | config.recipe
    history, started = [], time.perf_counter()
    for record in fit(
        model,
        task.train.inputs,
        task.train.targets,
        loss=task.loss,
        anneal=tuple(config.anneal) if config.anneal else None,
        seed=config.seed,
        evaluate=lambda m: watch(m, task),
        folder=config.folder,
        accelerator=accelerator,
        about={name: getattr(config, name) for name in ("task", "system", "num_kernels", "temperature")}
        | {f"data.{name}": value for name, value in config.data.items()},
        **recipe,
    ):
        history.append(record)
        if accelerator.is_main_process:
            tqdm.write(line(record, time.perf_counter() - started))  # above the bar, not into it
    if accelerator.is_main_process:
        Path(config.folder, "history.json").write_text(json.dumps(history, indent=1), encoding="utf-8")
    return history


def watch(model: torch.nn.Module, task: tasks.Task) -> dict:
    """What every record gets: test loss, accuracy, and attention by class over some of the test images."""
    device, some = next(model.parameters()).device, task.test.inputs[:1000].to(next(model.parameters()).device)
    some = some.float() / 255 if some.dtype == torch.uint8 else some
    present, classes = task.test.classes[:1000].unique(return_inverse=True)
    attention = attention_by_class(model, some, classes.to(device))
    return tasks.measure(model, task) | {"attention": attention, "classes": present.tolist()}


def line(record: dict, seconds: float) -> str:
    numbers = {name: value for name, value in record.items() if isinstance(value, float)}
    return f"epoch {record['epoch']}: " + ", ".join(f"{n} {v:.5g}" for n, v in numbers.items()) + f" ({seconds:.0f} s)"


if __name__ == "__main__":
    sys.exit(main())

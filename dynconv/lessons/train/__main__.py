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
    try:
        from accelerate import Accelerator
    except ModuleNotFoundError:
        sys.exit(MISSING)
    try:
        config = read_config(args.config)
        on_cpu = args.cpu or not torch.accelerator.is_available()
        if on_cpu and config.precision == "fp16":  # Accelerate would train in fp32 and say nothing
            raise ValueError("precision 'fp16' needs a GPU; on a CPU it can be 'bf16' or 'no'")
        accelerator = Accelerator(cpu=on_cpu, mixed_precision=config.precision)
        train(config, accelerator)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    accelerator.end_training()
    return 0


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

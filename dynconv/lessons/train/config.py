"""The configuration of a real run: a TOML file, checked before anything starts."""

from __future__ import annotations

import dataclasses
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ...functional import check_temperature
from ..systems import SYSTEMS
from ..tasks import TASKS

__all__ = ["Config", "read_config"]

RECIPE = {"epochs": int, "batch_size": int, "lr": float, "optimizer": str, "weight_decay": float}
ENTRIES = {"num_kernels": int, "temperature": float, "seed": int, "folder": str, "recipe": dict, "data": dict}
GROUPS = {"recipe": RECIPE, "data": {"path": str, "size": int, "grey": bool}}
LEAST = {"num_kernels": 1, "epochs": 1, "batch_size": 1, "size": 1, "seed": 0, "lr": 0, "weight_decay": 0}
PRECISIONS = ("no", "bf16", "fp16")


@dataclass(frozen=True)
class Config:
    """What to train, on what and how.

    Reference: TOML, https://toml.io

    Example:
        >>> Config(task="digits", system="dynamic", anneal=[30, 1, 0.3]).precision
        'no'
        >>> Config(task="digits", precision="int4")
        Traceback (most recent call last):
        ValueError: precision must be one of 'no', 'bf16', 'fp16', got 'int4'

    Args:
        task: see :func:`dynconv.lessons.tasks.task`.
        system: see :data:`dynconv.lessons.systems.SYSTEMS`.
        num_kernels: K, for the systems that have it.
        temperature: T at the start.
        anneal: [T at the start, T at the end, fraction of the steps], or left out.
        seed: of first weights, order and noise.
        folder: where checkpoints and the history are kept.
        precision: "no", "bf16" or "fp16".
        recipe: epochs, batch_size, lr, optimizer, weight_decay; what is left out is the task's.
        data: path, size, grey, for the task "folder".

    Raises:
        ValueError: a value is not one of these.
    """

    task: str
    system: str = "dynamic"
    num_kernels: int = 4
    temperature: float = 30.0
    anneal: list | None = None
    seed: int = 0
    folder: str = "runs"
    precision: str = "no"
    recipe: dict = field(default_factory=dict)
    data: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, allowed in (("task", TASKS), ("system", SYSTEMS), ("precision", PRECISIONS)):
            if getattr(self, name) not in tuple(allowed):
                listed = ", ".join(map(repr, allowed))
                raise ValueError(f"{name} must be one of {listed}, got {getattr(self, name)!r}")
        for name, kind in ENTRIES.items():
            _check(name, getattr(self, name), kind)
        check_temperature(self.temperature)
        if self.anneal is not None:
            if not isinstance(self.anneal, list) or len(self.anneal) != 3:
                raise ValueError(f"anneal must be [start, end, fraction], got {self.anneal!r}")
            for name, value in zip(("start", "end", "fraction"), self.anneal, strict=True):
                _check(f"anneal's {name}", value, float)
        for group, kinds in GROUPS.items():
            for name, value in getattr(self, group).items():
                if name not in kinds:
                    raise ValueError(f"{group}.{name} is unknown; there are: {', '.join(kinds)}")
                _check(f"{group}.{name}", value, kinds[name])
        if (self.task == "folder") != ("path" in self.data):
            raise ValueError(
                f"the task 'folder', and no other, has an entry data.path, got {self.task!r} with {self.data}"
            )


def _check(name: str, value, kind: type) -> None:
    """Of this kind, a number finite and not below the least; a whole number does for a fraction."""
    if type(value) is not kind and (kind, type(value)) != (float, int):
        raise ValueError(f"{name} must be {kind.__name__}, got {value!r}")
    least = LEAST.get(name.rpartition(".")[2], -math.inf)
    if kind in (int, float) and not (math.isfinite(value) and value >= least):
        raise ValueError(f"{name} must be finite{f' and at least {least}' * (least > -math.inf)}, got {value!r}")


def read_config(path: str | Path) -> Config:
    """A :class:`Config` from a TOML file.

    Reference: https://docs.python.org/3/library/tomllib.html

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "run.toml")
        >>> _ = path.write_text('task = "digits"\\n[recipe]\\nepochs = 2\\n')
        >>> read_config(path).recipe
        {'epochs': 2}

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is none; ValueError: it is not TOML, has an unknown entry or a wrong value.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        entries = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    known = [f.name for f in dataclasses.fields(Config)]
    unknown = [name for name in entries if name not in known]
    if unknown or "task" not in entries:
        what = f"the unknown entry {unknown[0]!r}" if unknown else "no entry 'task'"
        raise ValueError(f"{path} has {what}; entries are: {', '.join(known)}")
    return Config(**entries)

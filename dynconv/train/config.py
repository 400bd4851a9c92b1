"""The configuration of a real run: a TOML file, checked before anything starts."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ..systems import SYSTEMS
from ..tasks import TASKS

__all__ = ["Config", "read_config"]

KINDS = {
    **{"task": str, "system": str, "num_kernels": int, "temperature": float, "seed": int},
    **{"folder": str, "precision": str, "recipe": dict, "data": dict},
}
RECIPE = {"epochs": int, "batch_size": int, "lr": float, "optimizer": str, "weight_decay": float}
DATA = {"path": str, "size": int, "grey": bool}
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
        task: see :func:`dynconv.tasks.task`.
        system: see :data:`dynconv.systems.SYSTEMS`.
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
        for name, kind in KINDS.items():
            _check(name, getattr(self, name), kind)
        for name, allowed in (("task", TASKS), ("system", SYSTEMS), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                listed = ", ".join(map(repr, allowed))
                raise ValueError(f"{name} must be one of {listed}, got {getattr(self, name)!r}")
        if self.anneal is not None:
            if not isinstance(self.anneal, list) or len(self.anneal) != 3:
                raise ValueError(f"anneal must be [start, end, fraction], got {self.anneal!r}")
            for value in self.anneal:
                _check("every number of anneal", value, float)
        for table, kinds in (("recipe", RECIPE), ("data", DATA)):
            for name, value in getattr(self, table).items():
                if name not in kinds:
                    raise ValueError(f"{table}.{name} is unknown; there are: {', '.join(kinds)}")
                _check(f"{table}.{name}", value, kinds[name])


def _check(name: str, value, kind: type) -> None:
    """TOML's true is no number, though Python's is; a whole number will do for a float."""
    right = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if not right:
        raise ValueError(f"{name} must be {kind.__name__}, got {value!r}")


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
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    known = [f.name for f in dataclasses.fields(Config)]
    unknown = [name for name in entries if name not in known]
    if unknown or "task" not in entries:
        what = f"the unknown entry {unknown[0]!r}" if unknown else "no entry 'task'"
        raise ValueError(f"{path} has {what}; entries are: {', '.join(known)}")
    return Config(**entries)

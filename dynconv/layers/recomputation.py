"""Parts of a model that a backward pass runs a second time: which ones are under way, and what they are to run under again.

Reference: activation checkpointing, https://docs.pytorch.org/docs/stable/checkpoint.html
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from types import FrameType, GeneratorType
from typing import Any, Protocol

import torch
import torch.utils.checkpoint
from torch.autograd.function import BackwardCFunction, FunctionCtx

__all__: list[str] = []

CHECKPOINT = torch.utils.checkpoint.__file__
BACKWARDS: dict[str, Callable[..., Any]] = {
    name: getattr(BackwardCFunction, name) for name in ("apply", "apply_boxed") if hasattr(BackwardCFunction, name)
}
BACKWARD_CODES = [method.__code__ for method in BACKWARDS.values()]


class Repeated(Protocol):
    """What a part was run under, and has to be run under again."""

    def again(self) -> AbstractContextManager[None]: ...


class Part:
    """A piece of a forward pass that runs again in the backward pass, and whether this is that second time.

    ``key`` is what torch keeps it by: the context of an autograd function (so does checkpointing with
    ``use_reentrant=True``), or a checkpoint's frame.
    """

    def __init__(self, key: Any, again: bool) -> None:
        self.key, self.again = key, again

    def repeated(self) -> list[Repeated]:
        """What its second run is to be under."""
        found: list[Repeated] = vars(self.key).get("_repeated", [])
        return found

    def repeat(self, under: Repeated) -> None:
        """See to it that the second run, whenever it comes, is under this too."""
        blocks = vars(self.key).setdefault("_repeated", [])
        if not blocks:
            self._wrap(blocks)
        if under not in blocks:
            blocks.append(under)

    def _wrap(self, blocks: list[Repeated]) -> None:
        if not isinstance(self.key, FunctionCtx):
            self.key.recompute_fn = _under(blocks, self.key.recompute_fn)
            return
        context = weakref.ref(self.key)  # weakly: a graph that holds itself would be freed late
        for name, method in BACKWARDS.items():
            setattr(self.key, name, _under(blocks, lambda *grads, m=method: m(context(), *grads)))


def _under(blocks: Iterable[Repeated], function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        with ExitStack() as stack:
            for block in blocks:
                stack.enter_context(block.again())
            return function(*args)

    return run


def parts() -> list[Part]:
    """The parts under way around the caller, innermost first."""
    found = list(_parts(sys._getframe(1)))
    # a checkpoint that is no function call (torch.distributed's) shows by the hooks that it packs saved tensors with
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    frame = _closure(hooks[1]).get("frame") if hooks else None
    if hasattr(frame, "recompute_fn") and all(part.key is not frame for part in found):
        found.insert(0, Part(frame, False))
    return found


def _parts(frame: FrameType | None) -> Iterator[Part]:
    while frame is not None:
        code = frame.f_code
        if code.co_filename == CHECKPOINT and isinstance(frame.f_locals.get("gen"), GeneratorType):
            yield Part(_frame_of(frame.f_locals["gen"]), False)
        elif code.co_filename == CHECKPOINT and code.co_name == "unpack_hook" and "frame" in frame.f_locals:
            yield Part(frame.f_locals["frame"], True)
        elif code in BACKWARD_CODES:
            yield Part(frame.f_locals["self"], True)
        elif code.co_name == "forward" and code.co_varnames[:1] != ("self",) and (context := _context_of(frame)):
            yield Part(context, False)
        frame = frame.f_back


def _frame_of(checkpoint: GeneratorType[Any, Any, Any]) -> Any:
    frame = checkpoint.gi_frame.f_locals.get("new_frame") if checkpoint.gi_frame else None
    if not hasattr(frame, "recompute_fn"):
        raise RuntimeError(f"activation checkpointing of torch {torch.__version__} cannot be followed")
    return frame


def _context_of(forward: FrameType) -> FunctionCtx | None:
    """The context of the autograd function whose `forward` this is, if it is one's."""
    names = forward.f_code.co_varnames[: forward.f_code.co_argcount]
    context = forward.f_locals.get(names[0]) if names else None
    return context if isinstance(context, FunctionCtx) else None


def _closure(function: Any) -> dict[str, Any]:
    cells = getattr(function, "__closure__", None) or ()
    names = function.__code__.co_freevars if cells else ()
    return {n: cell.cell_contents for n, cell in zip(names, cells, strict=True)}

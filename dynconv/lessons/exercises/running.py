"""An answer is run: in a thread of its own, for a limited time, and so that nothing it changes outlives it."""

from __future__ import annotations

import contextlib
import contextvars
import copy
import ctypes
import random
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["OutOfTimeError", "Raised", "run"]

SECONDS, TRIES = (
    20,
    40,
)  # that an answer may take for one case; the solutions need hundredths; and how often it is told to stop
# what an answer may change for the whole process; grad mode and default device are its own thread's
SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
)


class OutOfTimeError(Exception):
    """An answer did not end in time."""


class _StopError(BaseException):
    """Thrown into an answer that does not end; no ``except Exception`` of its own catches it."""


@dataclass(frozen=True)
class Raised:
    """What an answer raised, apart from an exception that it returned."""

    error: BaseException


def run(function: Callable, case: tuple) -> Any:
    """What a function returns for a copy of these arguments, or a :class:`Raised`.

    Reference: PyThreadState_SetAsyncExc, https://docs.python.org/3/c-api/init.html

    A thread can be waited for with a limit on every system, from a notebook's main thread and from any other; grad mode
    and its kind are as torch has them at the start, in the solution's thread and in the answer's.

    Example:
        >>> run(lambda x: x + 1, (1,))
        2
        >>> run(lambda x: x / 0, (1,)).error
        ZeroDivisionError('division by zero')

    Args:
        function: any callable.
        case: its arguments.
    """
    found: list[Any] = []
    done, context, arguments = threading.Event(), contextvars.copy_context(), copy.deepcopy(case)

    def work() -> None:
        with contextlib.suppress(_StopError):
            try:
                found.append(context.run(function, *arguments))  # what it prints belongs to the cell that asks
            except _StopError:
                raise
            except BaseException as error:  # sys.exit() too
                found.append(Raised(error))
            finally:
                done.set()

    with _unchanged():
        ended = _ends(threading.Thread(target=work, daemon=True, name="an answer"), done)
    if not found:
        more = "" if ended else " It goes on, and cannot be stopped: restart the kernel."
        return Raised(
            OutOfTimeError(f"it did not end within {SECONDS} seconds. Is there a loop that never ends?{more}")
        )
    if type(found[0]) is types.CoroutineType:
        found[0].close()  # or Python warns that nobody awaited it
    return found[0]


def _ends(thread: threading.Thread, done: threading.Event) -> bool:
    """Wait until it is done, or its time is over, or somebody presses the stop button: it is stopped then, if it can be."""
    thread.start()
    until = time.monotonic() + SECONDS
    try:
        while not done.is_set() and time.monotonic() < until:
            done.wait(0.1)  # in short turns: on Windows nothing interrupts a long one
    finally:
        for _ in range(TRIES):  # one that catches everything may catch the first of these
            if done.is_set():
                break
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_StopError))
            done.wait(0.05)
    return done.is_set()


@contextlib.contextmanager
def _unchanged() -> Iterator[None]:
    """Afterwards torch's settings, the random numbers and the warnings' filters are as they were."""
    before, numbers = [get() for get, _ in SETTINGS], (random.getstate(), np.random.get_state())
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with warnings.catch_warnings(), torch.random.fork_rng(list(devices)):
        try:
            yield
        finally:
            for (get, put), value in zip(SETTINGS, before, strict=True):
                if get() != value:  # to put back what is there costs ten seconds of imports in one of them
                    put(value)
            random.setstate(numbers[0])
            np.random.set_state(numbers[1])

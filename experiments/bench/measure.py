"""Time and memory of functions that are compared with each other, measured in turns."""

from __future__ import annotations

import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import torch

from dynconv import native

__all__ = ["Clocks", "alone", "clocked", "interleaved", "peak_memory"]

P = ParamSpec("P")
T = TypeVar("T")

A_TURN = 5e-4  # seconds: what takes less is called several times in a turn, or the clocks would be what is measured


def alone(function: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """What a function returns in a process of its own, where nothing has left its memory behind that was measured before.

    Example:
        >>> alone(divmod, 7, 2)
        (3, 1)

    Args:
        function: one that can be imported; given, named: its arguments, and what it returns, can be pickled.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as one:
        return one.submit(function, *given, **named).result()


class Clocks(NamedTuple):
    """Seconds a call: that passed, and that all threads of the process computed (or waited busily) together."""

    wall: float
    cpu: float


def clocked(
    functions: Mapping[str, Callable[[], object]], device: str = "cpu", seconds: float = 1.0, least: int = 7
) -> dict[str, Clocks]:
    """Medians by both clocks, all functions in turns, so that a slow moment of the machine hits all of them.

    Others who compute beside it lengthen the wall's time, and by what they take of the caches a little of the CPU time too.

    Example:
        >>> took = clocked({"add": lambda: 1 + 1, "sum": lambda: sum(range(10000))}, seconds=0.01)
        >>> sorted(took), took["sum"].wall > 0, took["sum"].cpu > 0
        (['add', 'sum'], True, True)

    Args:
        functions: name → call without arguments; each is called once before to warm up.
        device: "cpu" or "cuda"; on "cuda" the clock waits for the device, at each call.
        seconds: at least this long for all together.
        least: rounds at least.
    """
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for function in functions.values():
        function()
    # as many calls for each: the first of a turn pays for what the others have driven out of the caches
    calls = 1 if device == "cuda" else max(map(_calls, functions.values()))
    times: dict[str, list[Clocks]] = {name: [] for name in functions}
    started, rounds = time.perf_counter(), 0
    while rounds < least or time.perf_counter() - started < seconds:
        for name, function in functions.items():
            wait()
            times[name].append(_turn(function, calls, wait))
        rounds += 1
    return {name: Clocks(*map(statistics.median, zip(*taken, strict=True))) for name, taken in times.items()}


def interleaved(
    functions: Mapping[str, Callable[[], object]], device: str = "cpu", seconds: float = 1.0, least: int = 7
) -> dict[str, float]:
    """The medians of :func:`clocked` by the clock on the wall alone.

    Example:
        >>> took = interleaved({"add": lambda: 1 + 1, "sum": lambda: sum(range(10000))}, seconds=0.01)
        >>> sorted(took), 0 < min(took.values()) < 1
        (['add', 'sum'], True)

    Args:
        functions, device, seconds, least: as there.
    """
    return {name: took.wall for name, took in clocked(functions, device, seconds, least).items()}


def _turn(function: Callable[[], object], calls: int, wait: Callable[[], None]) -> Clocks:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        function()
    wait()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Clocks(wall / calls, cpu / calls)


def _calls(function: Callable[[], object]) -> int:
    before = time.perf_counter()
    function()
    took = time.perf_counter() - before
    return 1 if took >= A_TURN else max(1, min(1000, round(A_TURN / took)))


def peak_memory(function: Callable[[], object], device: str = "cpu") -> float | None:
    """Bytes that a call needs at its peak beyond what was there before; None where the system does not tell.

    Reference: proc(5), clear_refs and VmHWM, https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html

    Example:
        >>> used = peak_memory(lambda: torch.ones(20_000_000))  # four bytes each
        >>> used is None or 70e6 < used < 200e6
        True

    Args:
        function: called once.
        device: "cpu" (Linux: the process's resident memory) or "cuda" (what torch allocated).
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    native.release()  # what is free goes back first
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    before = _resident("VmRSS")
    function()
    return max(0, _resident("VmHWM") - before)


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))

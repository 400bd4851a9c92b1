"""Time and memory of functions that are compared with each other, measured in turns."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from dynconv import native

__all__ = ["interleaved", "peak_memory"]


def interleaved(
    functions: Mapping[str, Callable[[], object]], device: str = "cpu", seconds: float = 1.0, least: int = 7
) -> dict[str, float]:
    """Median seconds a call, all functions in turns, so that a slow moment of the machine hits all of them.

    Example:
        >>> took = interleaved({"add": lambda: 1 + 1, "sum": lambda: sum(range(10000))}, seconds=0.01)
        >>> sorted(took), 0 < min(took.values()) < 1
        (['add', 'sum'], True)

    Args:
        functions: name → call without arguments; each is called once before to warm up.
        device: "cpu" or "cuda"; on "cuda" the clock waits for the device.
        seconds: at least this long for all together.
        least: rounds at least.
    """
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    started, rounds = time.perf_counter(), 0
    while rounds < least or time.perf_counter() - started < seconds:
        for name, function in functions.items():
            wait()
            before = time.perf_counter()
            function()
            wait()
            times[name].append(time.perf_counter() - before)
        rounds += 1
    return {name: statistics.median(taken) for name, taken in times.items()}


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

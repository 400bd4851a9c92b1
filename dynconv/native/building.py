"""From the C++ files beside this one to a library for exactly this machine, kept in the user's cache."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

__all__ = ["build", "library"]

SOURCES = sorted([*Path(__file__).parent.glob("*.cpp"), *Path(__file__).parent.glob("*.h")])
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
COMPILERS = "c++", "g++", "clang++"


def build() -> Path:
    """Compile the library if this machine does not have it yet, and say where it lies.

    Example:
        >>> build()  # doctest: +SKIP
        PosixPath('/home/ada/.cache/dynconv/convolution-0123456789abcdef.so')

    The compiler is the one that the variable CXX names, or else c++, g++ or clang++; it must know OpenMP.

    Raises:
        RuntimeError: this is not Linux, there is no compiler, or it failed; the message has its last lines.
    """
    if sys.platform != "linux":
        raise RuntimeError(f"dynconv.native is built on Linux only, this is {sys.platform}")
    to = _place()
    if not to.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent) as folder:  # beside its place: moving it there is one step
            made = Path(folder) / to.name
            _compile(made)
            os.replace(made, to)
    library.cache_clear()
    return to


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library, or None where :func:`build` has not made it; DYNCONV_NATIVE=0 in the environment leaves it aside."""
    if sys.platform != "linux" or os.environ.get("DYNCONV_NATIVE") == "0" or not _place().exists():
        return None
    try:
        loaded = ctypes.CDLL(str(_place()))
    except OSError as error:
        warnings.warn(f"{error}; delete that file and run: python -m dynconv.native", stacklevel=2)
        return None
    pointer = ctypes.c_void_p
    loaded.dynconv_forward.argtypes = loaded.dynconv_backward.argtypes = [pointer]  # `Call` in call.h
    loaded.dynconv_release.restype = None
    return loaded


@functools.cache
def _place() -> Path:
    """Where the library for these sources and this processor belongs: a home folder may be shared by several machines."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynconv"
    made_of = b"".join(path.read_bytes() for path in SOURCES) + " ".join((*FLAGS, _processor())).encode()
    return cache / f"convolution-{hashlib.sha256(made_of).hexdigest()[:16]}.so"


def _processor() -> str:
    wanted = {"model name": "", "flags": "", "Features": ""}  # the first core's
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if not line.strip():
                    break
                if name.strip() in wanted:
                    wanted[name.strip()] = value.strip()
    except OSError:
        pass
    return " ".join(wanted.values())


def _compile(to: Path) -> None:
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise RuntimeError(
            f"no C++ compiler was found ({', '.join(COMPILERS)}); on Debian or Ubuntu: apt-get install g++"
        )
    try:
        done = subprocess.run(
            [compiler, *FLAGS, *(str(p) for p in SOURCES if p.suffix == ".cpp"), "-o", str(to)],
            capture_output=True,
            text=True,
        )
    except OSError as error:
        raise RuntimeError(f"the C++ compiler {compiler} could not be started: {error}") from error
    if done.returncode:
        tail = "\n".join(done.stderr.splitlines()[-10:])
        raise RuntimeError(f"{compiler} failed with status {done.returncode}:\n{tail}")

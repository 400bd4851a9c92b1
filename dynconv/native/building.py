"""From the C++ files beside this one to a library for exactly this machine, kept in the user's cache.

What is loaded into the process is looked at first: the file and its folder belong to the user, nobody else can write them, and
the file ends in a seal, a SHA-256 over its content and over what it was made of. Whatever is wrong with it, it is left aside
with one warning. All that holds on Linux, by POSIX owners and permissions; elsewhere nothing is built and nothing loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import platform
import select
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["build", "library"]

SOURCES = sorted([*Path(__file__).parent.glob("*.cpp"), *Path(__file__).parent.glob("*.h")])
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
COMPILERS = "c++", "g++", "clang++"
SECONDS = 180  # that a compiler may take: a slow machine needs some thirty
LEFTOVERS = "building-"  # what the folders of builds begin with
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP)
TRY = "import ctypes, sys; library = ctypes.CDLL(sys.argv[1]); [getattr(library, name) for name in sys.argv[2:]]"


def build() -> Path:
    """Compile the library if this machine does not have it yet, or has one that cannot be trusted; say where it lies.

    Example:
        >>> import sys
        >>> path = build() if sys.platform == "linux" else None
        >>> path is None or path.name.startswith("convolution-")
        True

    The compiler is the command that the variable CXX holds, such as ``ccache g++``, or else c++, g++ or clang++; it must know
    OpenMP. It is stopped after three minutes.

    Raises:
        RuntimeError: this is not Linux, there is no compiler, it failed or took too long, or what it made cannot be loaded or
            kept; the message has the reason, and of a compiler its last lines.
    """
    if sys.platform != "linux":
        raise RuntimeError(f"dynconv.native is built on Linux only, this is {sys.platform}")
    to = _path()
    try:
        _own(to.parent)
        with _alone(to.parent) as alone:
            if not _trusted(to):
                _make(to, alone)
    except OSError as error:
        raise RuntimeError(f"the library cannot be kept in {to.parent}: {error.strerror or error}") from error
    library.cache_clear()
    return to


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library, or None where :func:`build` has not made it; DYNCONV_NATIVE=0 in the environment leaves it aside.

    It never fails: a library that is damaged, not the user's own or of another machine gives one warning, and None.
    """
    if sys.platform != "linux" or os.environ.get("DYNCONV_NATIVE") == "0":
        return None
    try:
        if not _exists():
            return None
        loaded = ctypes.CDLL(str(_verified(_path())))
        loaded.dynconv_take.restype = pointer = ctypes.c_void_p
        loaded.dynconv_forward.argtypes = loaded.dynconv_backward.argtypes = [pointer]  # `Call` in call.h
        for name in ("give", "release", "gate", "perceptron_forward", "perceptron_backward"):
            getattr(loaded, f"dynconv_{name}").restype = None
    except Exception as error:  # the other methods serve as well: nothing that is wrong in a cache may stop a layer
        warnings.warn(
            f"the C++ library is left aside: {error}; to build it anew: python -m dynconv.native", stacklevel=2
        )
        return None
    return loaded


# ------------------------------------------------------------------------------------------------------- where it is kept


@functools.cache
def _path() -> Path:
    """Where the library for these sources and this processor belongs: a home folder may be shared by several machines."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):  # the specification: to be ignored
        try:
            cache = os.path.join(Path.home(), ".cache")
        except RuntimeError as error:
            raise RuntimeError("there is no home folder to keep the library in; set HOME or XDG_CACHE_HOME") from error
    made_of = b"".join(path.read_bytes() for path in SOURCES) + " ".join((*FLAGS, _processor())).encode()
    return Path(cache, "dynconv", f"convolution-{hashlib.sha256(made_of).hexdigest()[:16]}.so")


def _processor() -> str:
    """What a library made for this processor depends on; the machine's name where the system does not tell."""
    wanted = dict.fromkeys(
        ("model name", "flags", "Features", "features", "CPU implementer", "CPU part", "cpu", "isa"), ""
    )
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:  # the first core's
                name, _, value = line.partition(":")
                if not line.strip():
                    break
                if name.strip() in wanted:
                    wanted[name.strip()] = value.strip()
    except OSError:
        pass
    told = " ".join(wanted.values()).strip()
    return f"{platform.machine()} {told or platform.node()}"  # an emulator shows its host's cpuinfo


def _exists() -> bool:
    """Whether there is something to load: most machines have no library, and some have no home or none they may read."""
    try:
        return stat.S_IFMT(os.stat(_path()).st_mode) != 0
    except RuntimeError:
        return False
    except OSError as error:
        if error.errno in ABSENT:
            return False
        raise


# ---------------------------------------------------------------------------------------------------- whether it is ours


def _trusted(path: Path) -> bool:
    try:
        return bool(_verified(path))
    except (OSError, RuntimeError):
        return False


def _verified(path: Path) -> Path:
    """The file itself, behind any links; a RuntimeError where it is not what :func:`build` left, or others could change it."""
    real = path.resolve(strict=True)
    for checked in (real.parent, real):
        _check_owner(checked)
    if not real.is_file():  # a pipe would never end
        raise RuntimeError(f"{real} is no file")
    content, seal = real.read_bytes()[:-32], real.read_bytes()[-32:]
    if _seal(content, path) != seal:
        raise RuntimeError(f"{real} is damaged, or was not built here")
    return real


def _check_owner(path: Path) -> None:
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise RuntimeError(f"{path} belongs to another user (number {found.st_uid})")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RuntimeError(f"{path} can be written by others")


def _seal(content: bytes, path: Path) -> bytes:
    """Over the name too, which stands for sources and processor: a good library of another machine is not this one."""
    return hashlib.sha256(path.name.encode() + content).digest()


# -------------------------------------------------------------------------------------------------------------- making it


def _own(folder: Path) -> None:
    """Make the folder, or take from others the right to write into it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise RuntimeError(f"{folder} belongs to another user; set XDG_CACHE_HOME to a folder of your own")
    if found.st_mode & 0o022:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~0o022)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Wait while another process builds in this folder; whether that is known, for not all file systems can lock."""
    import fcntl

    handle, until, alone = os.open(folder, os.O_RDONLY), time.monotonic() + SECONDS, False
    try:
        while not alone and time.monotonic() < until:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
                alone = True
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:
                break
        yield alone
    finally:
        os.close(handle)


def _make(to: Path, alone: bool) -> None:
    for left in to.parent.glob(f"{LEFTOVERS}*") if alone else ():  # by builds that were killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=LEFTOVERS) as folder:  # moving it from there is one step
        made = Path(folder) / to.name
        _compile(made)
        made.write_bytes((content := made.read_bytes()) + _seal(content, to))
        made.chmod(0o700)
        os.replace(made, to)


def _compile(to: Path) -> None:
    compiler = _compiler()
    name = shlex.join(compiler)
    status, said = _run([*compiler, *FLAGS, *(str(p) for p in SOURCES if p.suffix == ".cpp"), "-o", str(to)])
    if status:
        raise RuntimeError(f"{name} failed with status {status}:\n{said}")
    if not to.is_file():
        raise RuntimeError(f"{name} ended without an error, and made no library:\n{said}")
    # in a process of its own, which it may end
    status, said = _run([sys.executable, "-I", "-c", TRY, str(to), "dynconv_forward", "dynconv_perceptron_forward"])
    if status:
        raise RuntimeError(
            f"{name} made a library that cannot be loaded: {said.rpartition(chr(10))[2] or f'status {status}'}"
        )


def _compiler() -> list[str]:
    """The words of the command."""
    named = os.environ.get("CXX", "").strip()
    if named:
        try:
            return [named] if shutil.which(named) else shlex.split(named)
        except ValueError as error:
            raise RuntimeError(f"CXX is no command: {error}, in {named!r}") from error
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        raise RuntimeError(
            f"no C++ compiler was found ({', '.join(COMPILERS)}); on Debian or Ubuntu: apt-get install g++"
        )
    return [found]


def _run(command: Sequence[str]) -> tuple[int, str]:
    """A program's status and the last lines it says; it is stopped, with all it has started, after ``SECONDS``."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise RuntimeError(f"{command[0]} could not be started: {error}") from error
    try:
        said = _last_words(process, time.monotonic() + SECONDS)
        status = process.poll()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if status is None:
        raise RuntimeError(f"{shlex.join(command[:2])} did not end within {SECONDS} seconds, and was stopped")
    lines = said.decode(errors="replace").splitlines()[-10:]
    return status, "\n".join("".join(c if c.isprintable() else "?" for c in line[:300]) for line in lines)


def _last_words(process: subprocess.Popen[bytes], until: float) -> bytes:
    """What it says, of endless words the last, until it ends: what it has left behind may hold its output open."""
    said, heard = b"", True
    if process.stdout is None:
        return said
    while (process.poll() is None or heard) and time.monotonic() < until:
        heard = bool(select.select([process.stdout], [], [], 0.05)[0])
        if heard and not (more := os.read(process.stdout.fileno(), 65536)):  # it says no more
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            break
        said = (said + (more if heard else b""))[-10_000:]
    return said

"""One run in a folder at a time: two would write over each other's checkpoints."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["alone"]

# process and folder → the handle that holds the lock, and the latest run there; a fork inherits this, not the right to it
HELD: dict[tuple[int, str], tuple[int | None, object]] = {}


@contextlib.contextmanager
def alone(folder: str | Path) -> Iterator[Callable[[], None]]:
    """Keep other runs out of a folder, which is made if need be; gives a check that it still is this run's.

    Reference: flock(2), https://man7.org/linux/man-pages/man2/flock.2.html; the lock ends with the process, however that ends

    Another process is refused. A second run of the same process takes the folder over: a loop that was stopped in a
    notebook may hold it for ever. Should the first go on after all, its check raises.

    Example:
        >>> import tempfile
        >>> with alone(tempfile.mkdtemp()) as still_mine:
        ...     still_mine()

    Args:
        folder: of the checkpoints.

    Raises:
        ValueError: another process has a run there; OSError: the folder cannot be made.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    key, run = (os.getpid(), os.path.realpath(folder)), object()
    handle = HELD[key][0] if key in HELD else _lock(Path(folder))
    HELD[key] = handle, run

    def still_mine() -> None:
        if HELD.get(key, (None, None))[1] is not run:
            raise ValueError(f"another run was begun in {folder} after this one: give each a folder of its own")

    try:
        yield still_mine
    finally:
        if HELD.get(key, (None, None))[1] is run:
            del HELD[key]
            if handle is not None:
                os.close(handle)


def _lock(folder: Path) -> int | None:
    """A handle that holds the lock until it is closed; None where no file can be made or locked."""
    try:
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    except OSError:
        return None
    try:
        _take(handle)
    except OSError as error:
        os.close(handle)
        if not isinstance(error, BlockingIOError):
            return None
        said = f"another run is going on in {folder}: wait until it has ended, or give another folder"
        raise ValueError(said) from None
    return handle


def _take(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:  # what it says of one that is taken
            raise BlockingIOError(*error.args) from None
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

"""What the first cell of every lesson asks for: packages, widgets and data, in one line, without changing what is there."""

from __future__ import annotations

import sys
from importlib.metadata import version

import torch

from .. import __version__
from . import packages

__all__ = ["ready"]


def ready() -> None:
    """See to it that a lesson can run, and print one line that says what there is.

    Reference: https://pip.pypa.io/en/stable/user_guide/#constraints-files; Colab's ``google.colab.output``

    What the extra `lessons` names and this Python lacks is installed; what is installed already stays exactly as it is:
    every version here is a constraint for pip. Colab's notebooks are allowed to show instruments. The shipped data are
    compared with their checksums.

    Example:
        >>> ready()
        dynconv ... with torch ... on ..., ipywidgets ...; ... data files are as shipped.

    Raises:
        RuntimeError: a package is missing and cannot be installed, or is of a version that does not work; it says which.
        OSError: a data file is missing or damaged, and how to restore it.
    """
    needed = packages.needed()
    missing = [r for r in needed if not packages.found(r.name) and r.name not in packages.THERE]
    if missing:
        packages.install(missing)
    for requirement in needed:
        # the kernel and the server that speak here cannot be others; a new environment gets good ones
        if requirement.name not in packages.THERE:
            packages.check_version(requirement)
    widgets, files = _allow_widgets(), _check_data()
    added = f"; installed {', '.join(r.name for r in missing)}" if missing else ""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    print(
        f"dynconv {__version__} with torch {torch.__version__} on {device}, ipywidgets {version('ipywidgets')}"
        f"{widgets}{added}; {files} data files are as shipped."
    )


def _check_data() -> int:
    from .data import shipped  # stands on packages that may just have come

    files = [
        f"{folder}{name}" for folder in ("", "recordings/", "layers/") for name in shipped.checksums(folder.rstrip("/"))
    ]
    for name in files:
        shipped.read(name)
    return len(files)


def _allow_widgets() -> str:
    """Colab shows widgets that are not its own only when asked."""
    if "google.colab" not in sys.modules:
        return ""
    from google.colab import output

    output.enable_custom_widget_manager()
    return " (Colab shows them)"

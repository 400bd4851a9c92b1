"""The reference: every public name, made by Sphinx from the docstrings; the pages' order and settings lie beside this file."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.application import Sphinx

__all__ = ["write_reference"]

HERE = Path(__file__).parent


def write_reference(out: Path) -> int:
    """Write the reference's pages; afterwards they need neither Python nor a network.

    Reference: https://www.sphinx-doc.org

    Args:
        out: folder to write into, beside the lessons' index.html.

    Returns:
        0, or 1 where markup or a cross-reference is wrong: what, is said on stderr, and the pages are there nevertheless.
    """
    with TemporaryDirectory() as doctrees:  # of no use to a reader
        sphinx = Sphinx(HERE, HERE, out, doctrees, "html", status=None, warning=sys.stderr, warningiserror=True)
        sphinx.build()
    return sphinx.statuscode

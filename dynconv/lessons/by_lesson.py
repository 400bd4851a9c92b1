"""What stands in a file for each lesson, put together."""

from __future__ import annotations

import importlib
import pkgutil
import re

__all__: list[str] = []


def together(package: str, name: str) -> dict:
    """The dictionaries called ``name`` of a package's files lesson00, lesson01, …, as one, in this order."""
    paths = importlib.import_module(package).__path__
    files = sorted(m.name for m in pkgutil.iter_modules(paths) if re.fullmatch(r"lesson\d\d", m.name))
    found: dict = {}
    for file in files:
        found |= getattr(importlib.import_module(f"{package}.{file}"), name)
    return found

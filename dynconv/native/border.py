"""What crosses the border to the C++ library: the structures of call.h, field by field as they stand there.

The file is read when there is something to cross with: where sources are not shipped, torch's operations do without.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

__all__ = ["structure"]

KINDS = {"Int": ctypes.c_int64, "double": ctypes.c_double}
HEADER = Path(__file__).with_name("call.h")


@functools.cache
def structure(name: str) -> Any:
    """The ctypes.Structure of that name, and in ``pointers`` how many of its fields are such: they stand first."""
    fields: list[tuple[str, Any]] = []
    header = "\n".join(line.partition("//")[0] for line in HEADER.read_text("utf-8").splitlines())
    for declared in header.split(f"struct {name} {{")[1].split("}")[0].split(";")[:-1]:
        kind, names = declared.replace("const ", "").replace("float", "float ").split(maxsplit=1)
        for field in names.split(","):
            holds = ctypes.c_void_p if "*" in field else KINDS.get(kind) or structure(kind)
            fields.append((field.strip(" *"), holds))
    pointers = sum(kind is ctypes.c_void_p for _, kind in fields)
    return type(name, (ctypes.Structure,), {"_fields_": fields, "pointers": pointers})

"""What crosses the border to the C++ library: the structures of call.h, field by field as they stand there.

The file is read when there is something to cross with: where sources are not shipped, torch's operations do without.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["contiguous", "filled", "structure"]

KINDS = {"Int": "q", "double": "d"}
USUAL = torch.contiguous_format
HEADER = Path(__file__).with_name("call.h")


class Structure(NamedTuple):
    """How one is packed, the names of its fields, and how many of them are pointers: they stand first."""

    packing: struct.Struct
    fields: tuple[str, ...]
    pointers: int


@functools.cache
def structure(name: str) -> Structure:
    """The one of that name; of a structure inside of it every field, as ``field.inner``."""
    fields: list[str] = []
    kinds = ""
    header = "\n".join(line.partition("//")[0] for line in HEADER.read_text("utf-8").splitlines())
    for declared in header.split(f"struct {name} {{")[1].split("}")[0].split(";")[:-1]:
        kind, names = declared.replace("const ", "").replace("float", "float ").split(maxsplit=1)
        inner = None if "*" in names or kind in KINDS else structure(kind)
        for field in (one.strip(" *") for one in names.split(",")):
            fields += [field] if inner is None else [f"{field}.{one}" for one in inner.fields]
            kinds += inner.packing.format if inner else "P" if "*" in names else KINDS[kind]
    return Structure(struct.Struct(kinds), tuple(fields), kinds.count("P"))


def contiguous(tensors: Sequence[Tensor | None], images: torch.memory_format = USUAL) -> list[Tensor | None]:
    """To be held until the library is done: what is copied has no other owner. Those of four dimensions lie as ``images``."""
    return [None if t is None else t.contiguous(memory_format=images if t.ndim == 4 else USUAL) for t in tensors]


def filled(name: str, tensors: Sequence[Tensor | None], *numbers: float) -> bytes:
    """The structure of that name: where the tensors lie, null for those that are None or left out at the end; then its numbers."""
    kind = structure(name)
    pointers = [0 if t is None else t.data_ptr() for t in tensors]
    return kind.packing.pack(*pointers, *[0] * (kind.pointers - len(pointers)), *numbers)

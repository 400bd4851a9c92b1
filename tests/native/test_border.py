"""What Python fills is what C++ reads: every field at its place."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dynconv.native import border, building

NAMES = re.findall(r"struct (\w+) {", border.HEADER.read_text(encoding="utf-8"))


def test_all_structures_are_there_with_their_pointers_first():
    assert NAMES == ["Call", "Perceptron", "Gate", "Convolution", "Branch"]
    for name in NAMES:
        kinds = [kind for _, kind in border.structure(name)._fields_]
        pointers = border.structure(name).pointers
        assert pointers == kinds.count(ctypes.c_void_p) > 0
        assert set(kinds[:pointers]) == {ctypes.c_void_p}


@pytest.mark.skipif(not any(map(shutil.which, building.COMPILERS)), reason="there is no compiler")
def test_every_field_lies_where_a_compiler_puts_it(tmp_path):
    wanted = [f"{name}, {field}" for name in NAMES for field, _ in border.structure(name)._fields_]
    lines = "".join(f'    std::printf("%zu %zu\\n", offsetof({one}), sizeof({one.split(",")[0]}));\n' for one in wanted)
    source = f'#include <cstddef>\n#include <cstdio>\n#include "{border.HEADER}"\nint main() {{\n{lines}}}\n'
    (tmp_path / "places.cpp").write_text(source, encoding="utf-8")
    subprocess.run([*building._compiler(), "places.cpp", "-o", "places"], cwd=tmp_path, check=True)
    told = subprocess.check_output([Path(tmp_path, "places")], text=True).split("\n")[:-1]
    places = [
        (getattr(border.structure(n), f).offset, ctypes.sizeof(border.structure(n)))
        for n, f in (w.split(", ") for w in wanted)
    ]
    assert [tuple(map(int, line.split())) for line in told] == places

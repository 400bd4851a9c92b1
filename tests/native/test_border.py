"""What Python fills is what C++ reads: every field at its place."""

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import torch

from dynconv.native import border, building

NAMES = re.findall(r"struct (\w+) {", border.HEADER.read_text(encoding="utf-8"))


def test_all_structures_are_there_with_their_pointers_first():
    assert NAMES == ["Call", "Perceptron", "Gate", "Convolution", "Branch"]
    for name in NAMES:
        packing, fields, pointers = border.structure(name)
        assert 0 < pointers < len(fields) or name == "Convolution"
        assert packing.format.startswith("P" * pointers)
        assert packing.format.count("P") == pointers
        assert len(packing.format) == len(fields)


def test_what_is_left_out_is_null():
    one, two = torch.ones(2), torch.ones(2)
    numbers = range(1, 6)
    packed = border.filled("Gate", (one, None, two), *numbers)
    pointers = one.data_ptr(), 0, two.data_ptr(), 0, 0, 0
    assert border.structure("Gate").packing.unpack(packed) == (*pointers, *numbers)
    with pytest.raises(struct.error):
        border.filled("Gate", (one, None, two), *numbers, 6)


@pytest.mark.skipif(not any(map(shutil.which, building.COMPILERS)), reason="there is no compiler")
def test_every_field_lies_where_a_compiler_puts_it(tmp_path):
    wanted = [f"{name}, {field}" for name in NAMES for field in border.structure(name).fields]
    lines = "".join(f'    std::printf("%zu %zu\\n", offsetof({one}), sizeof({one.split(",")[0]}));\n' for one in wanted)
    source = f'#include <cstddef>\n#include <cstdio>\n#include "{border.HEADER}"\nint main() {{\n{lines}}}\n'
    (tmp_path / "places.cpp").write_text(source, encoding="utf-8")
    subprocess.run([*building._compiler(), "places.cpp", "-o", "places"], cwd=tmp_path, check=True)
    told = subprocess.check_output([Path(tmp_path, "places")], text=True).split("\n")[:-1]
    packings = [border.structure(name).packing for name in NAMES]
    places = [(struct.calcsize(p.format[:i] + "0q"), p.size) for p in packings for i in range(len(p.format))]
    assert [tuple(map(int, line.split())) for line in told] == places

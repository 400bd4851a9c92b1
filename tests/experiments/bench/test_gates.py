"""The bench of gates opens what it says, and writes a row for each size and kind."""

import functools

import pytest

from experiments.bench import gates
from experiments.bench.measure import clocked


@pytest.mark.parametrize("kind", gates.GATES)
@pytest.mark.parametrize("share", gates.SHARES)
def test_a_gate_has_its_share(kind, share):
    gate = gates.GATES[kind](32, share)
    assert gate.mean().item() == pytest.approx(share, abs=0.02)
    assert set(gate.unique().tolist()) <= {0.0, 1.0}


def test_the_command_writes_a_row_for_each_size_and_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gates, "SIZES", ((2, 8), (3, 6)))
    monkeypatch.setattr(gates, "ROUNDS", 2)
    monkeypatch.setattr(
        gates, "clocked", functools.partial(clocked, seconds=0)
    )  # what it measures does not matter here
    assert gates.main(["--out", str(tmp_path / "gates.md")]) == 0
    text = (tmp_path / "gates.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and "×" in line]
    assert [row.split(" | ")[:3] for row in rows] == [
        [f"| {channels}", f"{size} × {size}", kind] for channels, size in gates.SIZES for kind in gates.GATES
    ]
    assert rows[0].endswith("(100%) |")

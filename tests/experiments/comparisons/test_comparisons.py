"""Sentences about trained numbers: each has five rows, holds with four seeds at least, and one row is run again."""

import json
from collections import defaultdict

import nbformat
import pytest

from dynconv.lessons.site.execute import NOTEBOOKS
from dynconv.lessons.tables import read
from experiments.comparisons.__main__ import COLUMNS, FILE, main, row, table
from experiments.comparisons.cells import run_cells
from experiments.comparisons.sentences import SENTENCES

LINES = read(FILE, COLUMNS)


def test_every_sentence_has_five_seeds_and_holds_with_four_at_least():
    rows = defaultdict(dict)
    for line in LINES:
        rows[line["comparison"]][line["seed"]] = line
    assert rows.keys() == SENTENCES.keys()
    for name, by_seed in rows.items():
        assert set(by_seed) == set("01234"), name
        for line in by_seed.values():
            assert (line["held"] == "yes") == SENTENCES[name].holds(json.loads(line["numbers"])), line
        assert sum(line["held"] == "yes" for line in by_seed.values()) >= 4, name


def test_the_cells_are_the_lessons():
    for name, sentence in SENTENCES.items():
        (path,) = NOTEBOOKS.glob(f"{sentence.lesson}_*.ipynb")
        ids = [cell.id for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        places = [ids.index(cell) for cell in sentence.cells]
        assert places == sorted(places), name


def test_one_row_is_repeated():
    (kept,) = [line for line in LINES if (line["comparison"], line["seed"]) == ("12.importance", "0")]
    again = row("12.importance", 0)
    assert again["held"] == kept["held"] == "yes"
    before, now = json.loads(kept["numbers"]), json.loads(again["numbers"])
    assert all(abs(before[which] - now[which]) <= 2 for which in before)  # of 20 layers: machines sum in other orders


def test_another_seed_is_another_run_and_asserts_are_left_out(monkeypatch, tmp_path):
    cells = [
        nbformat.v4.new_code_cell("import torch\ntorch.manual_seed(0)\nx = torch.rand(1).item()\nassert x > 2", id="a"),
        nbformat.v4.new_code_cell(
            "def draw(seed=0):\n    torch.manual_seed(seed)\n    return torch.rand(1).item()", id="b"
        ),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "42_a.ipynb")
    monkeypatch.setattr("experiments.comparisons.cells.NOTEBOOKS", tmp_path)
    runs = [run_cells("42", ("a", "b"), seed) for seed in (0, 1, 0)]
    for found in ([names["x"] for names in runs], [names["draw"]() for names in runs]):
        assert found[0] == found[2] != found[1]


def test_the_command_prints_the_table_and_knows_its_names(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert said.strip() == table(LINES)
    assert all(sentence.says in said for sentence in SENTENCES.values())
    with pytest.raises(SystemExit):
        main(["--run", "12.no"])
    assert "there is no 12.no" in capsys.readouterr().err

"""The kept table can be repeated, and the report says what the numbers say."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from dynconv.lessons.data import digits_in_clutter
from dynconv.lessons.networks import GatedNet
from dynconv.lessons.systems import SYSTEMS, classifier, filter_network
from dynconv.lessons.tables import read
from dynconv.lessons.tasks import measure, task
from experiments.evidence import Row, gates, rows
from experiments.evidence.__main__ import main
from experiments.evidence.report import report
from experiments.evidence.runs import COLUMNS, INTERVENTIONS, run_all
from experiments.evidence.table import summarise, write

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"


def kept(row):
    key = (row.task, row.system, str(row.num_kernels or ""), row.temperature)
    return summarise(read(EXPERIMENTS / "runs.csv"))[key]


def test_every_row_is_there_with_five_seeds():
    for row in rows():
        assert [line["seed"] for line in kept(row)] == list("01234"), row


def test_a_row_repeats_within_its_standard_deviation():
    row = Row("digits", "dynamic", 4, "30-1")
    fresh = list(run_all([(row, seed) for seed in range(5)], processes=1))
    for column in ("test_loss", "test_accuracy", "loss_shuffled"):
        old, new = ([float(line[column]) for line in lines] for lines in (kept(row), fresh))
        assert statistics.fmean(new) == pytest.approx(statistics.fmean(old), abs=statistics.stdev(old)), column
    assert [line["parameters"] for line in fresh] == [int(line["parameters"]) for line in kept(row)]


def test_dynamic_convolution_closes_the_gap_and_the_softmax_mix_does_not():
    """Five seeds: the claims of the evidence, read from the kept runs and checked against the references of today."""
    one, each, _ = task("restoration").references.values()

    def closed(row):
        return statistics.fmean((one - float(line["test_loss"])) / (one - each) for line in kept(row))

    assert max(closed(row) for row in rows("restoration", "dynamic") if row.num_kernels == 4) >= 0.7
    assert abs(closed(Row("restoration", "mix", 4, "1"))) < 0.01
    assert abs(closed(Row("restoration", "dynamic", 1, "1"))) < 0.01


@pytest.mark.parametrize("build", [filter_network, classifier])
def test_matched_systems_cost_no_more(build):
    def parameters(model):
        return sum(p.numel() for p in model.parameters())

    budget = parameters(build("dynamic"))
    assert 0.85 * budget <= parameters(build("static-parameters")) <= budget


@pytest.mark.parametrize("system", SYSTEMS)
def test_systems_answer_an_image_at_a_time(system):
    for name in ("cue", "digits"):
        one = task(name)
        model = one.network(system).eval()
        whole, parts = measure(model, one), measure(model, one, batch_size=33)
        assert whole == pytest.approx(parts, rel=1e-4)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"system must be one of 'static', .*, got 'magic'"):
        classifier("magic")
    with pytest.raises(ValueError, match=r"task must be one of 'restoration', .*, got 'magic'"):
        task("magic")
    with pytest.raises(ValueError, match="no row for task 'magic'"):
        rows("magic")


def a_line(task="cue", system="static", seed=0, loss=1.0, **more):
    line = dict.fromkeys(COLUMNS, "") | {
        "task": task,
        "system": system,
        "seed": seed,
        "test_loss": loss,
        "seconds": 1.0,
    }
    return line | {"parameters": 10, "macs": 100, "torch": "2", "python": "3"} | more


def test_runs_side_by_side_end_quietly():
    """Processes that are cut off leave semaphores behind, and Python says so on its way out."""
    command = [sys.executable, "-m", "experiments.evidence", "--task", "digits", "--system", "static"]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "test loss" in ended.stdout
    assert "leaked" not in ended.stderr


def test_a_later_run_replaces_an_earlier_one(tmp_path):
    path = tmp_path / "runs.csv"
    write(path, [a_line(seed=1), a_line(seed=0), a_line(seed=1, loss=2.0)])
    assert [(line["seed"], line["test_loss"]) for line in read(path)] == [("0", "1"), ("1", "2")]
    write(path, [{"budget": 1.0, "seed": 0}], ("budget", "seed"))
    write(path, [*read(path, ("budget", "seed")), {"budget": 1.0, "seed": 0}], ("budget", "seed"))
    assert read(path, ("budget", "seed")) == [{"budget": "1", "seed": "0"}]
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"has the columns \['a', 'b'\]"):
        read(path, COLUMNS)


@pytest.mark.parametrize(("wide", "words"), [(0.5, "does **not** win"), (2.0, "wins at equal parameters")])
def test_the_report_says_who_wins(tmp_path, wide, words):
    lines = []
    for seed in range(2):
        given = {f"loss_{mode}": 3.0 for mode in INTERVENTIONS} | {"num_kernels": 4, "temperature": "1"}
        lines += [a_line(seed=seed, loss=3.0 + seed), a_line(system="static-parameters", seed=seed, loss=wide)]
        lines.append(a_line(system="dynamic", seed=seed, **given))
        lines.append(
            a_line(system="dynamic", seed=seed, loss=0.1, **given | {"num_kernels": 8})
        )  # with more parameters
    write(tmp_path / "runs.csv", lines)
    readme = report(tmp_path)[0].read_text(encoding="utf-8")
    assert words in readme
    assert "Lowest test loss: **dynamic, K = 8, T = 1**, 0.1000" in readme
    assert f"dynamic, K = 4, T = 1, 1.0000 ± 0.0000; static-parameters, {wide:.4f} ± 0.0000; paired" in readme
    assert f"paired difference {1 - wide:+.4f} ± 0.0000" in readme
    assert "| dynamic, K = 4, T = 1 | 10 | 100 | 1.0000 ± 0.0000 | -2.5000 ± 0.7071 |" in readme
    for link in [part.split(")")[0] for part in readme.split("](")[1:]]:
        assert (tmp_path / link).exists(), link


@pytest.mark.parametrize("loss", [0.069, 0.071])
def test_the_report_explains_more_than_all_of_the_gap(tmp_path, loss):
    cooled = [a_line("restoration", "dynamic", s, loss + s / 100, num_kernels=4, temperature="30-1") for s in (0, 1)]
    throughout = [a_line("restoration", "dynamic", s, loss, num_kernels=4, temperature="1") for s in (0, 1)]
    write(tmp_path / "runs.csv", [*cooled, *throughout])
    readme = report(tmp_path)[0].read_text(encoding="utf-8")
    assert ("One filter for each degradation and photo closes 115 %." in readme) == (loss < 0.07)
    assert "(negative: cooling helps): K = 4, +0.0050 ± 0.0071." in readme


def test_the_kept_report_is_that_of_the_kept_runs(tmp_path):
    for path in EXPERIMENTS.glob("*.csv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    report(tmp_path)
    assert (tmp_path / "README.md").read_text("utf-8") == (EXPERIMENTS / "README.md").read_text("utf-8")


def test_the_command_runs_one_row_and_keeps_it(tmp_path, capsys):
    path = str(tmp_path / "runs.csv")
    assert main(["--task", "digits", "--system", "mix", "--seed", "3", "--out", path]) == 0
    assert "digits mix 4 1: test loss" in capsys.readouterr().out
    assert (
        read(path)[0]["command"]
        == "python -m experiments.evidence --task digits --system mix --num-kernels 4 --temperature 1 --seed 3"
    )
    with pytest.raises(SystemExit):
        main([])


@pytest.mark.parametrize("quiet", [0.0, 0.4])
def test_gates_train_with_noise_until_it_is_off(quiet, monkeypatch):
    """A short one: five epochs of 40 pictures."""
    monkeypatch.setattr(gates, "EPOCHS", 5)
    monkeypatch.setattr(gates, "digits_in_clutter", lambda split, count: digits_in_clutter(split, 40))
    monkeypatch.setattr(gates, "_times_as_fast", lambda net, images: 1.5)
    noise = []

    class Watched(GatedNet):
        def forward(self, x):
            noise.append((self.training, {block.gate.noise for block in self.blocks}))
            return super().forward(x)

    monkeypatch.setattr(gates, "GatedNet", Watched)
    line = gates.run(0.5, quiet)
    assert tuple(line) == gates.COLUMNS
    assert (line["budget"], line["quiet"], line["times_as_fast"]) == (0.5, quiet, 1.5)
    steps = [having for training, having in noise if training]  # one an epoch
    assert steps == [{True}] * round(5 * (1 - quiet)) + [{False}] * round(5 * quiet)


def test_every_gates_row_is_there():
    lines = read(EXPERIMENTS / "gates.csv", gates.COLUMNS)
    wanted = {(f"{b:g}", f"{q:g}", str(seed)) for b in gates.BUDGETS for q in gates.QUIET for seed in range(5)}
    assert {(line["budget"], line["quiet"], line["seed"]) for line in lines} == wanted


def test_a_row_of_gates_repeats():
    """Most of a minute; the time it takes is not compared."""
    again = gates.run(0.25, 0.2, 0)
    lines = read(EXPERIMENTS / "gates.csv", gates.COLUMNS)
    kept = [line for line in lines if (line["budget"], line["quiet"]) == ("0.25", "0.2")]
    for name in ("test_accuracy", "used", "inside", "outside"):
        spread = statistics.stdev(float(line[name]) for line in kept)
        assert again[name] == pytest.approx(float(kept[0][name]), abs=spread), name  # machines sum in other orders

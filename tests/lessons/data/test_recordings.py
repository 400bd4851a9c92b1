"""Recordings: what is shipped can be repeated, and what is not a recording is refused with what does not fit."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from dynconv.lessons.data import damaged_window, shipped
from dynconv.lessons.data.recordings import check_record, check_runs, recording, recording_names
from dynconv.lessons.tasks import task
from dynconv.lessons.train import attention_by_class, fit
from dynconv.lessons.views.restored import restored
from dynconv.probe import intervene
from experiments.evidence.recording import _round, record_training, watch
from experiments.evidence.rows import Row

REST = '"references": {}, "window": {"name": "chelsea", "size": 64}'


@pytest.fixture
def copied(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(shipped.FOLDER / "recordings", folder / "recordings")
    for name in ("SHA256SUMS", "chelsea.png"):  # the photo that is restored
        shutil.copy(shipped.FOLDER / name, folder / name)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    return folder / "recordings"


def a_record(**changes):
    record = {"epoch": 0, "temperature": 2.0, "loss": None, "test_loss": 1.0, "attention": [[0.5, 0.5]] * 3}
    return {**record, "kernels": [[0.0] * 4, [1.0] * 4], **changes}


def test_what_is_shipped():
    assert recording_names() == ["restoration"]
    kept = recording("restoration")
    assert (shipped.FOLDER / "recordings" / "restoration.json").stat().st_size <= 200_000
    assert kept["command"] == "python data/record.py restoration"
    assert {"seed", "versions", "num_kernels"} <= set(kept)
    assert list(kept["references"]) == ["one filter", "one filter for each degradation"]
    for name, first, last in (("T = 1", 1, 1), ("T = 30", 30, 30), ("T = 30 → 1", 30, 1)):
        records = kept["runs"][name]
        assert [r["epoch"] for r in records] == list(range(26))
        assert (records[0]["temperature"], records[-1]["temperature"]) == (first, last)
        assert torch.tensor(records[-1]["kernels"]).shape == (4, 81)
        assert records[-1]["test_loss"] < kept["references"]["one filter"]  # no static layer of this size gets there
        assert all(r["loss"] > 0 for r in records[1:])
    assert (list(kept["pictures"]["images"]), list(kept["pictures"]["wanted"])) == (
        kept["classes"],
    ) * 2  # a picture for each kind of damage
    same = [kept["runs"][name][0]["kernels"] for name in kept["runs"]]
    assert same[0] == same[1] == same[2]  # from the same first weights


def test_it_ends_where_the_kept_evidence_ends():
    lines = (Path(__file__).resolve().parents[3] / "experiments" / "runs.csv").read_text().splitlines()
    for row, name in ((f"restoration,dynamic,4,{T},0,", f"T = {T.replace('-', ' → ')}") for T in ("1", "30", "30-1")):
        found = next(line for line in lines if line.startswith(row)).split(",")
        loss = dict(zip(lines[0].split(","), found, strict=True))["test_loss"]
        assert recording("restoration")["runs"][name][-1]["test_loss"] == pytest.approx(
            float(loss), rel=0.05
        )  # processors differ


def test_it_can_be_repeated():
    fresh = record_training("restoration", ["30-1"], epochs=1)["runs"]["T = 30 → 1"]
    kept = recording("restoration")["runs"][
        "T = 30"
    ]  # in one epoch all the annealing is over; before it nothing differs
    for name in ("attention", "effective", "kernels", "shares"):
        torch.testing.assert_close(torch.tensor(fresh[0][name]), torch.tensor(kept[0][name]), atol=1e-3, rtol=1e-3)
    assert fresh[0]["test_loss"] == pytest.approx(kept[0]["test_loss"], rel=1e-3)
    assert (fresh[1]["temperature"], len(fresh)) == (1, 2)


def test_watching_is_what_the_probes_see():
    digits = task("digits")
    model = digits.network(Row("digits", "dynamic", 3, "1").system, num_kernels=3, temperature=0.5).eval()
    seen = watch(model, digits)
    (expected,) = attention_by_class(model, digits.test.inputs, digits.test.classes).values()
    torch.testing.assert_close(seen["attention"], torch.tensor(expected))
    assert seen["effective"].shape == (10,)
    assert 1 < seen["effective"].min() < seen["effective"].max() < 3
    assert (seen["effective"] <= torch.special.entr(seen["attention"]).sum(1).exp() + 1e-5).all()  # a mean spreads more
    with intervene(model, "uniform"):
        torch.testing.assert_close(watch(model, digits)["effective"], torch.full((10,), 3.0))


def test_the_pictures_are_restored_as_the_network_does_it():
    """From shares and kernels, both rounded, comes what the network itself makes of the pictures, after every epoch."""
    restoration, made = task("restoration"), []
    model = restoration.network("dynamic", num_kernels=3, temperature=1.0)
    damaged, clean = damaged_window(**restoration.window)
    batch = torch.stack(list(damaged.values()))

    def look(model):
        made.append(model(batch).detach())
        return _round(watch(model, restoration))

    data = (restoration.train.inputs[:200], restoration.train.targets[:200])
    for record in fit(model, *data, **restoration.recipe | {"epochs": 2}, progress=False, evaluate=look):
        torch.testing.assert_close(restored(record, damaged)["restored"], made[-1][:, 0], atol=0.02, rtol=0)
    assert made[0].shape[2:] == clean[0, 4:-4, 4:-4].shape
    assert len(made) == 3
    assert (made[2] - made[0]).abs().max() > 1  # it has learned something


def worse(records, epoch):
    """Which pictures come out with a larger error than they went in."""
    kept = recording("restoration")
    after = restored(records[epoch], kept["pictures"]["images"])["restored"]
    errors = {
        name: [F.mse_loss(x, kept["pictures"]["wanted"][name]).item() for x in (image[0, 4:-4, 4:-4], after[b])]
        for b, (name, image) in enumerate(kept["pictures"]["images"].items())
    }
    return [name for name, (before, now) in errors.items() if now > before]


def test_what_lesson_05_says_of_the_pictures():
    runs = recording("restoration")["runs"]
    assert worse(runs["T = 30 → 1"], 8) == ["horizontal blur", "vertical blur", "box blur, weak noise"]
    assert worse(runs["T = 30 → 1"], 25) == ["vertical blur"]
    assert worse(runs["T = 1"], 25) == worse(runs["T = 30"], 25) == []


def test_unknown_damaged_missing(copied):
    with pytest.raises(ValueError, match=r"no recording '\.\./SHA256SUMS'; there are: restoration"):
        recording("../SHA256SUMS")
    path = copied / "restoration.json"
    path.write_bytes(path.read_bytes().replace(b"0.1138", b"0.1139", 1))
    with pytest.raises(
        OSError, match=r"is damaged: its SHA-256 is .* git checkout -- data/recordings/restoration.json"
    ):
        recording("restoration")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"git checkout -- data/recordings/restoration\.json"):
        recording("restoration")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "recording 'restoration' needs an entry 'runs' that is a dict"),
        ('{"runs": {}, "classes": "abc", "references": {}}', "an entry 'classes' that is a list"),
        ('{"runs": {}, "classes": ["a"], "references": {}}', "an entry 'window' that is a dict"),
        (
            '{"runs": {}, "classes": ["a"], "references": {}, "window": {"name": "a"}}',
            "a window of damaged_window, got {'name': 'a'}",
        ),
        (f'{{"runs": {{}}, "classes": ["a"], {REST}}}', "at least one run and one class, got 0 and 1"),
        (f'{{"runs": {{"x": {{}}}}, "classes": ["a"], {REST}}}', "run 'x' must be a list of at least one record"),
        ("{", "Expecting"),
    ],
)
def test_what_it_reads_is_checked(copied, content, message):
    (copied / "restoration.json").write_text(content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    (copied / "SHA256SUMS").write_text(f"{digest}  restoration.json\n")
    with pytest.raises(ValueError, match=message):
        recording("restoration")


def test_references_are_numbers(copied):
    kept = {name: value for name, value in recording("restoration").items() if name != "pictures"}
    content = json.dumps(kept | {"references": {"one filter": float("nan")}})
    (copied / "restoration.json").write_text(content)
    (copied / "SHA256SUMS").write_text(f"{hashlib.sha256(content.encode()).hexdigest()}  restoration.json\n")
    with pytest.raises(ValueError, match="reference 'one filter' must be finite, got nan"):
        recording("restoration")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 1.5}, "epoch must be a whole number from 0, got 1.5"),
        ({"epoch": -1}, "epoch must be a whole number from 0, got -1"),
        ({"temperature": 0.0}, r"temperature must be above 0, got 0\.0"),
        ({"temperature": None}, "temperature must be a number, got None"),
        ({"test_loss": float("nan")}, "test_loss must be finite, got nan"),
        ({"test_loss": "0.5"}, "test_loss must be a number, got '0.5'"),
        ({"loss": float("inf")}, "loss must be finite, got inf"),
        ({"attention": [[1.0, 0.0]] * 2}, r"attention must be 3 × 2 numbers, got \(2, 2\)"),
        ({"attention": [[1.0], [0.5, 0.5], [1.0]]}, "attention must be 3 × 2 numbers, got"),
        ({"attention": [[0.9, 0.9]] * 3}, r"attention must be shares .* sum 1, got \[\[0.9, 0.9\]"),
        ({"attention": [[1.5, -0.5]] * 3}, "shares of at least 0"),
        ({"effective": [1.0, 2.0]}, r"effective must be 3 numbers, got \(2,\)"),
        ({"effective": [1.0, 2.0, 2.5]}, r"effective must be 1 to 2, got \[1.0, 2.0, 2.5\]"),
        ({"kernels": [[0.0] * 4]}, r"kernels must be 2 × 4 numbers, got \(1, 4\)"),
        ({"kernels": [[0.0] * 4, [float("inf")] * 4]}, "kernels must be finite, got inf"),
    ],
)
def test_bad_records(changes, message):
    check_record(a_record(), 3, 2, 4)
    with pytest.raises(ValueError, match=f"a record's {message}" if "shares" not in message else message):
        check_record(a_record(**changes), 3, 2, 4)
    with pytest.raises(ValueError, match=r"a record's shares must be 2 × 2 numbers, got None"):
        check_record(a_record(), 3, 2, 4, pictures=2)
    good = a_record(epoch=0)
    late = {"epoch": 4} if "epoch" not in changes else {}
    with pytest.raises(ValueError, match=r"^run 'mine', epoch "):
        check_runs({"mine": [good, a_record(**{**late, **changes})]}, ["x", "y", "z"])


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"a": [a_record(), a_record()]}, "run 'a': epochs must rise, got 0 after 0"),
        ({"a": [a_record(kernels=[[0.0] * 3] * 2)]}, "kernels must be square, got 3 pixels"),
        ({"a": [a_record(kernels=[[0.0]] * 9)]}, "kernels must be 1 to 8 lists of numbers"),
        ({"a": [a_record(kernels=7)]}, "kernels must be 1 to 8 lists of numbers, got 7"),
        ({"a": [{}]}, "kernels must be 1 to 8 lists of numbers, got None"),
        ({"a": ["record"]}, "run 'a' must be a list of at least one record"),
        ({"a": [a_record(), a_record(epoch=1, kernels=[[0.0] * 9] * 2)]}, r"epoch 1: .* 2 × 4 numbers, got \(2, 9\)"),
    ],
)
def test_bad_runs(runs, message):
    with pytest.raises(ValueError, match=message):
        check_runs(runs, ["x", "y", "z"])

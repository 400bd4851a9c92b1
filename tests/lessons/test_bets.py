"""Bets and solved exercises are kept beside the notebooks; whatever is wrong with that file, no cell fails."""

import json
import os
import stat
import sys
import threading
import types

import pytest

from dynconv.lessons import bets
from dynconv.lessons.bets import FILE, QUESTIONS, Ledger, Question, here, question
from dynconv.lessons.exercises import check, registry
from dynconv.lessons.views import Bet, Progress


def kept(folder):
    return json.loads((folder / FILE).read_text(encoding="utf-8"))


def softmax(logits, temperature):
    return (logits / temperature).softmax(0)


def test_a_bet_is_kept_comes_back_and_can_be_taken_back(tmp_path):
    bet = Bet("02.how-many", folder=tmp_path)
    assert not (tmp_path / FILE).exists()  # nothing is written before something is bet
    bet.bet = "One"
    assert kept(tmp_path) == {"version": 1, "bets": {"02.how-many": "One"}, "exercises": {}}
    assert Bet("02.how-many", folder=tmp_path).bet == "One"
    assert Bet("02.darts", folder=tmp_path).bet == ""
    bet.bet = ""
    assert kept(tmp_path)["bets"] == {}
    assert json.loads(bet.notes)["trouble"] == ""


def test_the_first_guess_comes_back_in_lesson_11_also_if_there_was_none(tmp_path):
    assert json.loads(Bet("11.first-guess", folder=tmp_path).notes)["earlier"] == ""
    guess = Bet("00.first-guess", folder=tmp_path)
    guess.bet = guess.options[0]
    last = Bet("11.first-guess", folder=tmp_path)
    assert json.loads(last.notes)["earlier"] == guess.options[0]
    assert json.loads(last.data)["earlier"]["where"] == "In lesson 00"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"version": 2, "bets": {}, "exercises": {}}', '{"version": 1}', "\x00\xff", "[" * 100_000,
     '{"version": 1, "bets": {"02.how-many": ["One"]}, "exercises": {}}', '{"version": 1, "bets": [], "exercises": 3}'],
)  # fmt: skip
def test_a_damaged_file_is_told_put_aside_and_not_lost(tmp_path, text):
    (tmp_path / FILE).write_text(text, encoding="latin-1")
    bet = Bet("02.how-many", folder=tmp_path)
    assert bet.bet == ""
    assert json.loads(bet.notes)["trouble"].startswith(f"{FILE} cannot be used (")
    bet.bet = "One"
    said = json.loads(bet.notes)["trouble"]
    assert said.endswith("It now lies beside as dynconv-progress-damaged.json, and a new one has begun.")
    assert (tmp_path / "dynconv-progress-damaged.json").read_text(encoding="latin-1") == text
    assert kept(tmp_path)["bets"] == {"02.how-many": "One"}
    bet.bet = ""
    assert json.loads(bet.notes)["trouble"] == ""


def test_what_an_old_lesson_bet_on_and_no_option_says_today_is_no_bet(tmp_path):
    Ledger(tmp_path).keep("bets", "02.how-many", "Seven")
    assert Bet("02.how-many", folder=tmp_path).bet == ""


def test_a_read_only_file_is_left_alone_and_told(tmp_path):
    Ledger(tmp_path).keep("bets", "02.darts", "Static, and folds")
    (tmp_path / FILE).chmod(stat.S_IRUSR)
    before, bet = kept(tmp_path), Bet("02.how-many", folder=tmp_path)
    bet.bet = "One"
    assert json.loads(bet.notes)["trouble"] == f"It is not kept: {FILE} cannot be written (it is read-only)."
    assert kept(tmp_path) == before
    assert bet.bet == "One"


@pytest.mark.parametrize("fails", ["mkstemp", "replace"])
def test_a_folder_that_takes_no_file_is_told_and_nothing_is_left_behind(tmp_path, monkeypatch, fails):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    Ledger(tmp_path).keep("bets", "02.darts", "Static, and folds")
    monkeypatch.setattr(bets.ledger.tempfile if fails == "mkstemp" else bets.ledger.os, fails, refuse)
    bet = Bet("02.how-many", folder=tmp_path)
    bet.bet = "One"
    said = json.loads(bet.notes)["trouble"]
    assert said == f"It is not kept: {FILE} cannot be written (No space left on device)."
    assert os.listdir(tmp_path) == [FILE]
    assert kept(tmp_path)["bets"] == {"02.darts": "Static, and folds"}


def test_whoever_reads_while_it_is_written_sees_the_old_or_the_new_file(tmp_path):
    ledger, seen, done = Ledger(tmp_path), [], threading.Event()
    ledger.keep("bets", "02.how-many", "One")

    def reads():
        other = Ledger(tmp_path)
        while not done.is_set():
            seen.append((other.read()["bets"].get("02.how-many"), other.trouble))

    reader = threading.Thread(target=reads)
    reader.start()
    for n in range(50):
        ledger.keep("exercises", f"02.{n}", True)
    done.set()
    reader.join()
    assert set(seen) == {("One", "")}


def test_a_solved_exercise_is_kept_a_wrong_answer_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "here", lambda: Ledger(tmp_path))
    assert not check("00.softmax", lambda z, T: z).passed
    assert not (tmp_path / FILE).exists()
    assert check("00.softmax", softmax).passed
    assert kept(tmp_path)["exercises"] == {"00.softmax": True}
    (tmp_path / FILE).write_text("{")
    assert check("00.softmax", softmax).passed
    assert "a new one has begun" in capsys.readouterr().out


def test_outside_of_a_notebook_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert here().file is None
    Bet("02.how-many").bet = "One"
    assert check("00.softmax", softmax).passed
    assert os.listdir(tmp_path) == []


def test_marimo_keeps_them_beside_the_notebook_too(monkeypatch, tmp_path):
    """It has no IPython, and works in the folder where it was started."""
    words = {"running_in_notebook": lambda: True, "notebook_dir": lambda: str(tmp_path)}
    monkeypatch.setitem(sys.modules, "marimo", types.SimpleNamespace(**words))
    assert here().file == tmp_path / FILE
    words["running_in_notebook"] = lambda: False
    monkeypatch.setitem(sys.modules, "marimo", types.SimpleNamespace(**words))
    assert here().file is None


def test_progress_counts_and_forgets(tmp_path):
    Ledger(tmp_path).keep("bets", "02.how-many", "One")
    Ledger(tmp_path).keep("bets", "02.darts", "Static, and folds")
    Ledger(tmp_path).keep("exercises", "02.fold", True)
    progress = Progress(folder=tmp_path)
    (row,) = [row for row in progress.rows() if row["number"] == "02"]
    assert (row["made"], row["solved"]) == (2, 1)
    assert {name: made["right"] for name, made in json.loads(progress.data)["bets"].items()} == {
        "02.how-many": True,
        "02.darts": False,
    }
    progress.forgotten = 1
    assert json.loads(progress.data)["bets"] == {}
    assert kept(tmp_path) == {"version": 1, "bets": {}, "exercises": {}}


def test_what_a_question_refuses():
    two = {"a": "", "b": ""}
    for arguments, words in (
        (({}, two), "three options or more"),
        ((two, {"c": ""}), "one option can be right"),
        (({"a": ""}, two), "either right or not"),
    ):
        with pytest.raises(ValueError, match=words):
            Question("?", *arguments)
    with pytest.raises(ValueError, match=r"there is no bet '02\.no'; there are: 00\.first-guess, 01"):
        question("02.no")
    with pytest.raises(ValueError, match="there is no bet"):
        Bet("02.no")


def test_the_order_is_the_seeds_and_every_option_is_there():
    for name, asked in QUESTIONS.items():
        orders = {tuple(Bet(name, seed=seed).options) for seed in range(8)}
        assert len(orders) > 1
        assert all(set(order) == set(asked.options) for order in orders)
        assert Bet(name).options == Bet(name, seed=0).options

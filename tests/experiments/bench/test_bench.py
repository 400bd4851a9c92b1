"""The benchmark compares like with like, and its command works; no test asserts a time."""

import json

import pytest
import torch

from experiments.bench import __main__ as command
from experiments.bench.cases import Case, methods
from experiments.bench.measure import interleaved, peak_memory
from experiments.bench.networks import steps


@pytest.mark.parametrize(
    "case", [Case(3, 4, 6, 5), Case(2, 4, 4, 6, stride=2, groups=4), Case(2, 4, 8, 5, kernel=1)], ids=str
)
@pytest.mark.parametrize("backward", [False, True])
def test_every_road_computes_the_same(case, backward):
    functions = dict(methods(case, 4, "cpu", torch.float64, backward))
    static, expected = (
        functions.pop("static")(),
        functions.pop("one grouped convolution")(),
    )  # one kernel for all; all mixed
    if case.groups == 1:
        single = functions.pop("one kernel, native")()
        both = ((single, static),) if not backward else ((single[0], static[0]), (single[1][0], static[1]))
        for ours, theirs in both:
            torch.testing.assert_close(ours, theirs)
    assert "timm" in functions
    assert not any("one" in name for name in functions)
    for name, function in functions.items():
        got = [g.reshape(e.shape) for g, e in zip(function(), expected, strict=True)] if backward else function()
        torch.testing.assert_close(got, list(expected) if backward else expected, msg=name)


def test_functions_take_turns():
    calls = []
    took = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0, least=3)
    assert "".join(calls) == "abababab"
    assert min(took.values()) > 0


def test_peak_memory_sees_what_is_let_go_again():
    peak = peak_memory(lambda: torch.ones(20_000_000).sum())
    assert peak is None or 70e6 < peak < 200e6


def test_networks_step():
    for train in (False, True):
        for step in steps("mobilenet_v2", 2, "cpu", 2, 32, train).values():
            step()


def test_command_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "CASES", [Case(2, 4, 4, 6)])
    monkeypatch.setattr(command, "NETWORKS", ["mobilenet_v2"])
    monkeypatch.setattr(command, "IMAGES", {"cpu": (2, 32)})
    threads = torch.get_num_threads()
    assert (
        command.main(["--seconds", "0", "--num-kernels", "2", "--threads", "1", "--json", str(tmp_path / "b.json")])
        == 0
    )
    torch.set_num_threads(threads)
    said, written = capsys.readouterr().out, json.loads((tmp_path / "b.json").read_text())
    assert said.count("| 2 × 4 → 4, 6², 3×3 |") == 2
    assert [(n["network"], n["train"]) for n in written["networks"]] == [
        ("mobilenet_v2", False),
        ("mobilenet_v2", True),
    ]
    row = written["cases"][0]
    assert f"{row['seconds']['auto'] / row['seconds']['static']:.2f}" in said


def test_command_says_when_there_is_no_gpu(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit):
        command.main(["--device", "cuda"])
    assert "sees no CUDA device" in capsys.readouterr().err

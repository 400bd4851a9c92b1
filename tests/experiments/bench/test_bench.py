"""The benchmark compares like with like, and its command works; no test asserts a time."""

import json

import pytest
import torch
from torch import nn

from dynconv.functional import dynamic_conv
from dynconv.layers import DynamicConv2d, LearnedAttention
from experiments.bench import __main__ as command
from experiments.bench import networks as nets
from experiments.bench import report, tables
from experiments.bench.by_layer import distinct_layers, kind_of
from experiments.bench.cases import CASES, NETWORK_CASES, TINY_CASES, Case, methods
from experiments.bench.compiled import compiled_steps
from experiments.bench.exported import exported_runs
from experiments.bench.layers import ATTENTION, GIVEN, layer_calls, layer_of
from experiments.bench.measure import clocked, interleaved, peak_memory
from experiments.bench.networks import NETWORKS, networks, steps
from experiments.bench.peers import PEERS, OneGrouped, Routed
from experiments.bench.rows import Row, extremes
from experiments.bench.settings import Settings
from experiments.bench.unet import UNet


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


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 1, "bias": False}, {"groups": 4, "dilation": 2, "padding": 2}], ids=str
)
def test_peers_compute_what_they_stand_for(options):
    torch.manual_seed(0)
    layer, x = DynamicConv2d(4, 8, 3, temperature=2.0, **options), torch.randn(3, 4, 7, 6)
    torch.testing.assert_close(OneGrouped(layer)(x), layer(x))
    peer = Routed(layer)
    nn.init.normal_(peer.routing.weight)
    attention = torch.sigmoid(peer.routing(x.mean((2, 3)))) / 2  # the kernels are half as large each
    expected = dynamic_conv(x, layer.weight, attention, layer.bias, **layer.geometry())
    torch.testing.assert_close(peer(x), expected)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"padding": "same"}, ValueError, "peers pad with zeros on all sides, got 'same', 'zeros'"),
        ({"padding_mode": "reflect"}, ValueError, "got \\(0, 0\\), 'reflect'"),
        ({"attention": LearnedAttention(4)}, TypeError, "the attention of the paper, got LearnedAttention"),
    ],
)
def test_peers_refuse_what_they_cannot_be(options, error, message):
    with pytest.raises(error, match=message):
        OneGrouped(DynamicConv2d(4, 4, 3, **options))


@pytest.mark.parametrize("name", NETWORKS)
def test_all_networks_compute_the_same_to_begin_with(name):
    models = {kind: model.eval() for kind, model in networks(name, 2).items()}
    assert list(models) == ["static", "dynamic", *PEERS]
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = models["static"](x)
        for kind, model in models.items():
            scale = expected.abs().max()
            torch.testing.assert_close(model(x) / scale, expected / scale, rtol=0, atol=1e-4, msg=kind)
    dynamic = sum(isinstance(m, DynamicConv2d) for m in models["dynamic"].modules())
    plain = sum(isinstance(m, nn.Conv2d) for m in models["static"].modules())
    assert dynamic == plain - 1  # all but the first
    for kind, peer in PEERS.items():
        assert sum(isinstance(m, peer) for m in models[kind].modules()) == dynamic


@pytest.fixture
def tiny_net(monkeypatch):
    """All networks are one of two levels."""

    def made(name):
        torch.manual_seed(0)
        return UNet((4, 8))

    monkeypatch.setattr(nets, "_plain", made)


@pytest.mark.parametrize("train", [False, True])
def test_networks_step(train):
    made = steps("unet", 2, torch.rand(2, 3, 32, 32), train)
    found = [function() for function in made.values()]
    assert len(found) == 4
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-4)


def test_compiled_networks_step(tiny_net):
    made = compiled_steps("unet", 2, torch.rand(2, 3, 16, 16), True, backend="eager")
    assert sorted(made) == ["dynamic", "dynamic, compiled", "static", "static, compiled"]
    losses = [function() for function in made.values()]
    for other in losses[1:]:
        torch.testing.assert_close(other, losses[0])


@pytest.mark.parametrize("free", [False, True])
def test_exported_networks_run(free, monkeypatch):
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 3))
    monkeypatch.setattr(nets, "_plain", lambda name: plain)
    made = exported_runs("any", 2, torch.rand(1, 3, 16, 16), free, threads=1)
    assert list(made) == (["static", "dynamic"] if free else ["static", "dynamic", *PEERS])
    (expected,) = made["static"]()
    for kind, function in made.items():
        torch.testing.assert_close(*map(torch.from_numpy, (function()[0], expected)), rtol=0, atol=1e-4, msg=kind)


@pytest.mark.parametrize("train", [False, True])
def test_a_layer_beside_its_parts_and_its_peers(train):
    layer = layer_of(Case(3, 4, 4, 6, stride=2, groups=4), 2)
    made = layer_calls(layer, torch.rand(3, 4, 6, 6), train)
    assert list(made) == ["static", "dynamic", ATTENTION, GIVEN, *PEERS]
    if train:
        # x, then the parameters; the parts share the gradient of x
        whole, convolution, attention = made["dynamic"](), made[GIVEN](), made[ATTENTION]()
        assert [len(g) for g in (whole, attention, convolution)] == [5, 4, 3]
        torch.testing.assert_close(whole[1], convolution[2])
        torch.testing.assert_close(whole[0], made["one grouped convolution"]()[0])
    else:
        torch.testing.assert_close(made[GIVEN](), made["dynamic"]())
        torch.testing.assert_close(
            made[ATTENTION](), layer.attention(torch.rand(3, 4, 6, 6)).expand(3, 2), atol=1, rtol=0
        )


def test_the_distinct_layers_of_a_network_are_all_of_them():
    model = networks("mobilenet_v2", 2, peers=False)["dynamic"]
    found = distinct_layers(model, torch.rand(1, 3, 64, 64))
    assert sum(count for _, _, count in found) == sum(isinstance(m, DynamicConv2d) for m in model.modules()) == 51
    kinds = {kind_of(layer, shape) for layer, shape, _ in found}
    assert {"1×1 expand, 4²", "1×1 project, 4²", "depthwise 3×3, stride 2, 32²", "depthwise 3×3, 4²"} <= kinds
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_functions_take_turns():
    calls = []
    took = interleaved(
        {"a": lambda: calls.append("a") or _wait(), "b": lambda: calls.append("b") or _wait()}, seconds=0, least=3
    )
    assert "".join(calls) == "ab" + "ab" + "ababab"  # to warm up, to see how often a turn calls it, three turns
    assert min(took.values()) > 0


def _wait():
    torch.randn(300_000)  # longer than a turn has to be


def test_quick_functions_are_called_several_times_a_turn():
    calls = []
    took = clocked({"quick": lambda: calls.append(1)}, seconds=0, least=1)
    assert len(calls) > 10
    assert 0 < took["quick"].wall < 1e-3


def test_waiting_is_no_cpu_time():
    import time

    took = clocked({"sleep": lambda: time.sleep(0.02)}, seconds=0, least=1)["sleep"]
    assert took.cpu < took.wall


def test_peak_memory_sees_what_is_let_go_again():
    peak = peak_memory(lambda: torch.ones(20_000_000).sum())
    assert peak is None or 70e6 < peak < 200e6


def _row(name, train=False, clock="cpu", **cpu):
    return Row("", name, train, 1, {kind: 10 * seconds for kind, seconds in cpu.items()}, cpu, {}, clock)


def test_one_thread_is_told_by_cpu_time_and_more_by_the_wall():
    clocks = [Settings(threads=1).clock, Settings(threads=2).clock, Settings(device="cuda", threads=1).clock]
    assert clocks == ["cpu", "wall", "wall"]
    row = Row("", "", False, 1, {"static": 1.0, "dynamic": 3.0}, {"static": 1.0, "dynamic": 2.0}, clock="wall")
    assert (row.ratio("dynamic"), row.ratio("dynamic", clock="cpu")) == (3.0, 2.0)


def test_the_networks_table_says_the_worst_as_clearly_as_the_best():
    rows = [
        _row("a", static=1.0, dynamic=1.5, timm=3.0, **{"one grouped convolution": 1.2}),
        _row("b", train=True, static=2.0, dynamic=2.0, timm=5.0, **{"one grouped convolution": 4.0}),
    ]
    text = report.networks(rows, "2 images of 8 × 8", {"a": 0.07, "b": 1.0})
    assert (
        "**whole networks**, 2 images of 8 × 8: over the static network, by CPU time (by the clock on the wall)" in text
    )
    assert (
        "| a | inference | 7% | 1000.0 | 1.50 (1.50) | 1.20 (1.20) | 3.00 (3.00) | 0.80 (0.80) | 2.00 (2.00) | – |"
        in text
    )
    assert "dynconv: best 1.00 (b, training), worst 1.50 (a, inference)." in text
    assert "Times faster than one grouped convolution: worst 0.80 (a, inference), best 2.00 (b, training)." in text
    assert "Times faster than timm: worst 2.00 (a, inference), best 2.50 (b, training)." in text


def test_the_shapes_table_has_what_readme_reads():
    rows = [_row("small", static=1.0, auto=1.0, timm=1.0), _row("large", static=2.0, auto=8.0, native=2.0, timm=2.0)]
    lines = report.shapes(rows).splitlines()
    assert lines[0].startswith("**forward**: ")
    assert (
        lines[2]
        == "| B × C → O, size, kernel | static ms | auto | timm | peak memory, auto over static | auto over static by the clock on the wall |"
    )
    assert lines[4:7] == [
        "| small | 1000.00 | 1.00 | 1.00 | – | 1.00 |",
        "| large | 2000.00 | 4.00 | 1.00 | – | 4.00 |",
        "| geometric mean | | **2.00** | **1.00** | | |",
    ]
    assert lines[-1].rstrip() == "auto: best 1.00 (small), worst 4.00 (large)."


def test_other_tables_take_the_right_base():
    times = {"static": 2.0, "static, compiled": 1.0, "dynamic": 3.0, "dynamic, compiled": 1.5}
    assert "| a | inference | 1000.0 | 2.00 (2.00) | 3.00 (3.00) | 1.50 (1.50) | 0.50 (0.50) |" in report.compiled(
        [_row("a", **times)], ""
    )
    small = _row("a", static=6e-6, dynamic=45e-6, timm=30e-6)
    assert "| a | inference | 6 | 45 | – | 30 | 1.50 | 7.50 |" in report.tiny([small])
    parts = {"static": 1.0, "dynamic": 3.0, ATTENTION: 0.5, GIVEN: 2.0}
    summed = tables.summed([(_row("a", **parts), 2), (_row("b", **parts), 1)], "1×1")
    assert "| 3 × 1×1 | 3000.00 | 9000.00 | 1500.00 | 6000.00 | 6000.00 | 3.00 (3.00) |" in report.by_layer(
        [summed], "a"
    )


def test_extremes_need_a_value():
    with pytest.raises(ValueError, match="none of the rows"):
        extremes([_row("a", static=1.0)], lambda row: row.ratio("dynamic"))


def test_the_layers_of_networks_are_named_once():
    names = [str(case) for case in (*NETWORK_CASES, *TINY_CASES)]
    assert len(set(names)) == len(names)


@pytest.fixture
def small(monkeypatch, tiny_net):
    monkeypatch.setattr(command, "CASES", [Case(2, 4, 4, 6)])
    monkeypatch.setattr(command, "NETWORK_CASES", [Case(2, 4, 4, 6, stride=2)])
    monkeypatch.setattr(command, "TINY_CASES", [Case(1, 2, 2, 3)])
    monkeypatch.setattr(command, "IMAGES", {"cpu": (2, 16)})
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_command_writes_what_it_prints(tmp_path, capsys, small):
    file = tmp_path / "b.json"
    asked = ["--layers", "--networks", "unet", "--ways", "inference", "training", "by-layer", "--threads", "1"]
    assert command.main([*asked, "--seconds", "0", "--num-kernels", "2", "--json", str(file)]) == 0
    said, written = capsys.readouterr().out, json.loads(file.read_text())
    assert said.count("| 2 × 4 → 4, 6², 3×3 |") == 2  # one table a direction
    kinds = {(row["table"], row["train"]) for row in written["rows"]}
    wanted = ("shapes", "layers", "tiny", "networks", "by-layer")
    assert kinds == {(table, train) for table in wanted for train in (False, True)}
    for row in (row for row in written["rows"] if row["table"] == "networks"):
        took = row[row["clock"]]
        assert f"| {took['dynamic'] / took['static']:.2f} (" in said


def test_command_repeats_all_for_each_number_of_threads(tmp_path, capsys, small):
    file = tmp_path / "b.json"
    asked = [
        "--layers",
        "stride 2",
        "--ways",
        "inference",
        "--threads",
        "1",
        "2",
        "--seconds",
        "0",
        "--json",
        str(file),
    ]
    assert command.main(asked) == 0
    said, written = capsys.readouterr().out, json.loads(file.read_text())
    assert [(row["threads"], row["clock"]) for row in written["rows"]] == [(1, "cpu"), (2, "wall")]
    for threads, load in zip(("1 thread\n", "2 threads\n"), written["passes"], strict=True):
        part = said[said.index(f"## {threads}") :]
        assert f"before and after: {load['load_before']} and {load['load_after']}." in part


def test_command_chooses_rows(capsys, small):
    assert command.main(["--layers", "stride 2", "--ways", "inference", "--seconds", "0", "--threads", "1"]) == 0
    said = capsys.readouterr().out
    assert "stride 2 |" in said
    for left_out in ("tiny", "whole networks", "2 × 4 → 4, 6², 3×3 |"):
        assert left_out not in said


def test_command_exports_and_compiles(capsys, small, monkeypatch):
    asked_for = []

    def found(*given):
        asked_for.append([tuple(g.shape) if isinstance(g, torch.Tensor) else g for g in given])
        return dict.fromkeys(["static", "dynamic", "static, compiled", "dynamic, compiled"], _wait)

    monkeypatch.setattr(tables, "compiled_steps", found)
    monkeypatch.setattr(tables, "exported_runs", found)
    asked = ["--networks", "unet", "--ways", "compiled", "onnx", "--seconds", "0", "--num-kernels", "2"]
    assert command.main([*asked, "--threads", "1"]) == 0
    said = capsys.readouterr().out
    images, layout = (2, 3, 16, 16), torch.contiguous_format
    assert asked_for[:2] == [["unet", 2, images, train, layout] for train in (False, True)]
    assert asked_for[2:] == [["unet", 2, (1, 3, 16, 16), False, 1], ["unet", 2, images, True, 1]]
    for line in ("unet | training", "unet, batch 1: 1 image of 16 × 16", "unet, free batch: 2 images of 16 × 16"):
        assert f"| {line} |" in said


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--networks", "resnet1"], "must be of resnet18, mobilenet_v2, convnext_tiny, unet, got resnet1"),
        (["--layers", "7 × 7"], "no layer's name contains 7 × 7"),
        (["--threads", "0"], "--threads must be 1 or more, got 0"),
        (["--ways", "onnx", "--dtype", "bfloat16"], "onnx runs in float32 on a CPU"),
    ],
)
def test_command_refuses_what_it_cannot_measure(asked, message, capsys):
    with pytest.raises(SystemExit):
        command.main(asked)
    assert message in capsys.readouterr().err


def test_the_usual_run_has_everything():
    args = command._arguments([])
    assert (args.layers, args.networks, args.ways) == (
        [],
        list(NETWORKS),
        ["inference", "training", "compiled", "onnx"],
    )
    assert len(CASES) == 10


def test_command_says_when_there_is_no_gpu(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit):
        command.main(["--device", "cuda"])
    assert "sees no CUDA device" in capsys.readouterr().err

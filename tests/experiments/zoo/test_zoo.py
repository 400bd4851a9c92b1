"""The zoo's command on small networks: every step passes, a fault is caught and told, what is done is not done again."""

from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.zoo import __main__ as zoo
from experiments.zoo.architectures import ARCHITECTURES, Architecture
from experiments.zoo.report import report
from experiments.zoo.steps import STEPS

ROOT = Path(__file__).parents[3]
QUICK = [step for step in STEPS if step not in ("compile", "export", "ONNX")]


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


class Reads(Tiny):
    def forward(self, x):
        return super().forward(x) * (1 if type(self.conv) is nn.Conv2d else 2)


def images():
    return (torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)),)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["timm/lcnet_050", "timm/tf_mobilenetv3_small_minimal_100"])
def test_small_networks_pass(name):
    lines = {line["step"]: line for line in zoo._lines(name, QUICK, 2)}
    assert {step: line["value"] for step, line in lines.items() if line["result"] == "fails"} == {}
    convs, _, share = lines["converted"]["value"].partition(", ")
    assert convs.split()[0] == convs.split()[2]  # all of them
    assert int(share.strip("%")) > 50


@pytest.mark.filterwarnings("ignore")
def test_a_tiny_network_passes_compiled_and_exported_too(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "tiny", Architecture(Tiny, images))
    with torch.no_grad():
        lines = list(zoo._lines("tiny", ["compile", "export"], 2))
    assert [line["result"] for line in lines] == ["ok", "ok"], lines


@pytest.mark.filterwarnings("ignore")
def test_lines_are_added_faults_are_told_and_done_again_on_request(monkeypatch, tmp_path, capsys):
    out, ran = tmp_path / "zoo.csv", []

    def here(name, steps, args):
        ran.append((name, *steps))
        return zoo._lines(name, steps, args.num_kernels)

    monkeypatch.setattr(zoo, "_in_a_process", here)
    monkeypatch.setitem(ARCHITECTURES, "tiny", Architecture(Tiny, images))
    monkeypatch.setitem(ARCHITECTURES, "tiny/reads", Architecture(Reads, images))
    run = ["tiny*", "--out", str(out), "--num-kernels", "2", "--steps"]
    assert zoo.main([*run, "same output"]) == 1
    assert zoo.main([*run, "converted", "same output"]) == 1
    assert ran == [
        ("tiny", "same output"),
        ("tiny/reads", "same output"),
        ("tiny", "converted"),
        ("tiny/reads", "converted"),
    ]
    assert zoo.main([*run, "same output", "--again"]) == 1
    assert ran[4:] == [("tiny/reads", "same output")]
    told = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "| tiny | 1 of 1, " in told
    assert "- tiny/reads, same output (fails): ValueError: converted, Reads computes something else" in told
    assert "ok: 2, fails: 2." in told
    capsys.readouterr()
    with pytest.raises(SystemExit, match="no network is named 'nonsense'"):
        zoo.main(["nonsense", "--out", str(out)])


def test_a_process_that_ends_or_hangs_is_a_line(monkeypatch):
    args = zoo._arguments(["--minutes", "0.0001"])
    (line,) = zoo._in_a_process("timm/lcnet_050", ["fx"], args)
    assert (line["result"], line["value"]) == ("fails", "more than 0.0001 minutes")


def test_what_readme_says_of_the_networks_measured():
    lines = zoo.read(ROOT / "experiments" / "zoo.csv")
    networks = {line["architecture"] for line in lines}
    assert networks == ARCHITECTURES.keys()
    assert len(networks) >= 60
    seen = {(line["architecture"], line["step"]) for line in lines}
    assert seen >= {(name, step) for name in networks for step in STEPS if step != "ONNX"}
    assert [line for line in lines if line["result"] not in ("ok", "plain fails") or not line["value"]] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{len(networks)} networks of torchvision and timm" in readme
    told = (ROOT / "experiments" / "zoo.csv").with_suffix(".md").read_text(encoding="utf-8")
    assert told == report(lines, list(STEPS))

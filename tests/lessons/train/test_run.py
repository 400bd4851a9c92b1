"""python -m dynconv.lessons.train: from a configuration, alone and with a second process."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from dynconv.lessons.train.__main__ import main
from dynconv.lessons.train.config import read_config
from dynconv.lessons.train.sync import BatchNormAcross, synchronise_batch_norm

CONFIG = """
task = "digits"
system = "{system}"
anneal = [30, 1, 0.5]
folder = '{folder}'
[recipe]
epochs = 3
batch_size = 100
"""


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate keeps one state for a process; every test is to be a process's first."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_two_processes_have_the_loss_curve_of_one(tmp_path):
    """Batch norm, a short last batch (1297 = 12 × 100 + 97) and attention included."""
    curves = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        config = write(tmp_path / f"{processes}.toml", CONFIG.format(system="dynamic", folder=folder.as_posix()))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        subprocess.run(
            [*command, "-m", "dynconv.lessons.train", config, "--cpu"], check=True, capture_output=True, timeout=300
        )
        curves[processes] = json.loads((folder / "history.json").read_text())
    for one, two in zip(curves[1], curves[2], strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=2e-4)
        assert one["test_loss"] == pytest.approx(two["test_loss"], abs=5e-3)
        assert one["temperature"] == two["temperature"]
    assert curves[1][-1]["test_accuracy"] > 0.3
    attention = torch.tensor(curves[1][-1]["attention"]["3.attention"])
    torch.testing.assert_close(attention.sum(1), torch.ones(10))


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_one_process_trains_resumes_and_tells(tmp_path, capsys, precision):
    folder = (tmp_path / "run").as_posix()
    config = write(
        tmp_path / "run.toml", f'precision = "{precision}"\n' + CONFIG.format(system="odconv", folder=folder)
    )
    assert main([config, "--cpu"]) == 0
    first = capsys.readouterr().out
    assert re.search(r"epoch 3: loss \d.*temperature|epoch 3: loss \d", first)
    assert main([config, "--cpu"]) == 0  # nothing is left to do: the same records from the checkpoint
    again = capsys.readouterr().out
    assert [line.split(" (")[0] for line in first.splitlines()] == [line.split(" (")[0] for line in again.splitlines()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task = ", "is not TOML"),
        ('tusk = "digits"', "has the unknown entry 'tusk'; entries are: task, system"),
        ('system = "mix"', "has no entry 'task'"),
        ('task = "imagenet"', "task must be one of 'restoration', .*, got 'imagenet'"),
        ('task = "digits"\nsystem = "magic"', "system must be one of .*, got 'magic'"),
        ('task = "digits"\nanneal = [30, 1]', r"anneal must be \[start, end, fraction\], got \[30, 1\]"),
        ('task = "digits"\n[recipe]\nepoch = 3', "recipe.epoch is unknown; there are: epochs"),
        ('task = "digits"\n[recipe]\nepochs = "3"', "recipe.epochs must be int, got '3'"),
        ('task = "digits"\n[recipe]\nepochs = true', "recipe.epochs must be int, got True"),
        ('task = "digits"\nrecipe = 3', "recipe must be dict, got 3"),
        ('task = ["digits"]', r"task must be one of .*, got \['digits'\]"),
        ('task = "digits"\nfolder = 3', "folder must be str, got 3"),
        ('task = "digits"\nseed = "x"', "seed must be int, got 'x'"),
        ('task = "digits"\nanneal = 30', r"anneal must be \[start, end, fraction\], got 30"),
        ('task = "digits"\nanneal = ["a", 1, 0.3]', "anneal's start must be float, got 'a'"),
        ('task = "folder"\n[data]\npth = "x"', "data.pth is unknown; there are: path, size, grey"),
        ('task = "folder"\n[data]\ngrey = 1', "data.grey must be bool, got 1"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_config(write(tmp_path / "run.toml", text))


def test_errors_are_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r"^error: .*No such file or directory"):
        main([str(tmp_path / "none.toml")])
    empty = tmp_path / "photos"
    empty.mkdir()
    config = write(tmp_path / "run.toml", f"task = \"folder\"\n[data]\npath = '{empty.as_posix()}'\n")
    with pytest.raises(SystemExit, match=r"^error: no images in .*photos: no file below it ends in .bmp"):
        main([config, "--cpu"])
    config = write(tmp_path / "run.toml", 'task = "folder"\n')
    with pytest.raises(
        SystemExit, match=r"^error: the task 'folder', and no other, has an entry data.path"
    ):  # not whatever lies around here
        main([config, "--cpu"])
    config = write(tmp_path / "run.toml", 'task = "digits"\n[data]\nsize = 8\n')
    with pytest.raises(SystemExit, match=r"^error: only the task 'folder' has options, got size for 'digits'"):
        main([config, "--cpu"])
    config = write(tmp_path / "run.toml", "task = 'digits'\nprecision = 'fp16'\n")
    with pytest.raises(SystemExit, match=r"^error: precision 'fp16' needs a GPU; on a CPU it can be 'bf16' or 'no'"):
        main([config, "--cpu"])
    recipe = "[recipe]\noptimizer = 'sgd'\nlr = 1e30\nepochs = 1\n"
    config = write(tmp_path / "run.toml", f"task = 'digits'\nfolder = '{(tmp_path / 'wild').as_posix()}'\n{recipe}")
    with pytest.raises(SystemExit, match=r"^error: the loss of epoch 1 is nan: try an lr below 1e\+30"):
        main([config, "--cpu"])


def test_synchronised_batch_norm_of_one_process_is_batch_norm(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=(tmp_path / "store").as_uri(), rank=0, world_size=1)
    try:
        plain, x = nn.Sequential(nn.BatchNorm2d(3)), torch.randn(5, 3, 4, 4)
        across = synchronise_batch_norm(nn.Sequential(nn.BatchNorm2d(3)))
        assert isinstance(across[0], BatchNormAcross)
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        outputs = [net(x) for net, x in zip((plain, across), inputs, strict=True)]
        for y in outputs:
            (y**3).sum().backward()
        torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-4, rtol=1e-4)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(across.state_dict()[name], value)
        torch.testing.assert_close(plain.eval()(x), across.eval()(x))
    finally:
        torch.distributed.destroy_process_group()


def test_the_example_configuration_is_one():
    path = Path(__file__).resolve().parents[3] / "experiments" / "fashion_mnist.toml"
    assert read_config(path).recipe["epochs"] == 10

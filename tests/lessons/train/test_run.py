"""python -m dynconv.lessons.train: from a configuration, alone and with a second process."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
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


def test_the_folder_of_another_run_is_refused_by_name(tmp_path):
    path, other = tmp_path / "run.toml", tmp_path / "other"
    text = f"task = 'digits'\nfolder = '{(tmp_path / 'run').as_posix()}'\n" + "{}[recipe]\nepochs = 1\n"
    other.mkdir()
    assert main([write(path, text.format("")), "--cpu"]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    for changed, words in (
        ("temperature = 1.0\n", r"temperature=30.0, not 1.0"),
        ("seed = 3\n", "seed=0, not 3"),
        ("num_kernels = 2\n", "num_kernels=4, not 2"),
    ):
        with pytest.raises(SystemExit, match=rf"^error: .*last.pt belongs to a run with {words}: give another folder"):
            main([write(path, text.format(changed)), "--cpu"])
        AcceleratorState._reset_state(reset_partial_state=True)


def stopped_by(error):
    def train(config, accelerator):
        raise error

    return train


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "there is not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "there is not enough memory"),
        (OSError(12, "Cannot allocate memory"), "there is not enough memory"),
        (RuntimeError("pair.cc] Connection closed by peer\nat line 3"), "another process of this run has ended"),
        (ConnectionResetError(104, "Connection reset by peer"), "another process of this run has ended"),
        (torch.distributed.DistBackendError("NCCL error"), r"another process of this run .* \(NCCL error\)"),
        (torch.distributed.DistNetworkError(""), "another process of this run has ended"),
    ],
)
def test_accidents_are_one_line(tmp_path, monkeypatch, error, words):
    monkeypatch.setattr("dynconv.lessons.train.__main__.train", stopped_by(error))
    config = write(tmp_path / "run.toml", f"task = 'digits'\nfolder = '{tmp_path.as_posix()}'")
    with pytest.raises(SystemExit, match=rf"^error: {words}.*; nothing has been kept yet$") as caught:
        main([config, "--cpu"])
    assert "\n" not in str(caught.value)
    (tmp_path / "last.pt").write_bytes(b"")
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(SystemExit, match=rf"^error: {words}.*; the same command goes on from .*last.pt$"):
        main([config, "--cpu"])


def test_a_fault_of_the_program_is_not_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr("dynconv.lessons.train.__main__.train", stopped_by(RuntimeError("a mistake")))
    with pytest.raises(RuntimeError, match="a mistake"):
        main([write(tmp_path / "run.toml", "task = 'digits'"), "--cpu"])


@contextlib.contextmanager
def started(config, rank="0", **environment):
    """A run that goes on for long; the main process has told of its first epoch."""
    command = [sys.executable, "-m", "dynconv.lessons.train", config, "--cpu"]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    if os.name != "nt":  # what a shell starts behind its back is deaf to the stop key, and so are its children
        how["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, env=os.environ | environment, **how) as process:
        try:
            while rank == "0" and not (line := process.stdout.readline()).startswith("epoch 1"):
                assert line, process.stderr.read()
            yield process
        finally:
            process.kill()


def ranks(port):
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{"rank": r, "RANK": r, "LOCAL_RANK": r, **shared} for r in "01"]


@pytest.mark.skipif(sys.platform == "win32", reason="the stop key is another signal there")
def test_the_stop_key_is_a_sentence_and_nobody_else_comes_in(tmp_path):
    folder = tmp_path / "run"
    config = write(tmp_path / "run.toml", CONFIG.format(system="dynamic", folder=folder).replace("= 3", "= 5000"))
    with started(config) as process:
        other = subprocess.run(process.args, capture_output=True, text=True, timeout=120, check=False)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert other.returncode == 1
    assert (
        other.stderr == f"error: another run is going on in {folder}: wait until it has ended, or give another folder\n"
    )
    assert process.returncode == 130
    assert said.splitlines()[-1] == f"stopped: the same command goes on from {folder / 'last.pt'}"
    assert "Traceback" not in said


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_a_process_that_dies_is_a_sentence_of_the_other(tmp_path):
    text = CONFIG.format(system="dynamic", folder=(tmp_path / "run").as_posix()).replace("= 3", "= 5000")
    config = write(tmp_path / "run.toml", text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        one, two = ranks(free.getsockname()[1])
    with started(config, **two) as second, started(config, **one) as first:
        second.kill()
        _, said = first.communicate(timeout=120)
    assert first.returncode == 1
    last = said.splitlines()[-1]
    assert re.fullmatch(
        r"error: another process of this run has ended .*; the same command goes on from .*last.pt", last
    )
    assert "Traceback" not in said


SMALL = """
import resource, sys, torch
from dynconv.lessons.train.__main__ import main
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, 2 * (4096 * pages + 300_000_000,))
main([sys.argv[1], "--cpu"])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's account of memory")
def test_no_memory_is_a_sentence(tmp_path):
    for name in "abcdefgh":
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / name / "1.png")
    text = f"task = 'folder'\nfolder = '{tmp_path / 'run'}'\n[data]\npath = '{tmp_path / 'images'}'\nsize = 6000"
    command = [sys.executable, "-c", SMALL, write(tmp_path / "run.toml", text)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"error: there is not enough memory .*; nothing has been kept yet\n", done.stderr)


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

"""A checkpoint survives a kill and a full disk, and cannot run code."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from dynconv.lessons.train import load_checkpoint, save_checkpoint

TRAINING = textwrap.dedent("""
    import sys, torch
    from torch import nn
    from dynconv import DynamicConv2d
    from dynconv.lessons.train import fit, save_checkpoint
    threads, width = int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    first = [DynamicConv2d(1, width, 3)] if width < 16 else [nn.Conv2d(1, 16, 1), DynamicConv2d(16, width, 3)]
    net = nn.Sequential(*first, nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(width, 1, 1))
    x = torch.randn(120, 1, 12, 12)
    y = x[..., 1:-1, 1:-1].abs()
    folder = sys.argv[1]
    for record in fit(net, x, y, epochs=16, batch_size=8, anneal=(30, 1, 0.5), folder=folder, progress=False):
        print(record["epoch"], flush=True)
    save_checkpoint(sys.argv[2], net.state_dict())
""")


@pytest.mark.parametrize(("threads", "width"), [(1, 8), (2, 24)])
def test_killed_in_the_middle_it_ends_with_the_same_weights(tmp_path, threads, width):
    """With two threads and 16 channels and more too, where C++ does the work if it is built."""
    command = [sys.executable, "-c", TRAINING]
    settings = [str(threads), str(width)]
    subprocess.run(
        [*command, str(tmp_path / "whole"), str(tmp_path / "whole.pt"), *settings],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    arguments = [*command, str(tmp_path / "killed"), str(tmp_path / "killed.pt"), *settings]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    while int(process.stdout.readline()) < 3:
        pass
    time.sleep(0.02)  # somewhere inside an epoch, or a save
    process.kill()  # SIGKILL where there is one
    process.wait()
    process.stdout.close()
    assert process.returncode != 0
    assert not (tmp_path / "killed.pt").exists()
    assert 3 <= len(load_checkpoint(tmp_path / "killed" / "last.pt")["history"]) <= 15
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    whole, killed = (load_checkpoint(tmp_path / f"{name}.pt") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs POSIX limits on file size")
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weight": torch.arange(10)})
    code = textwrap.dedent("""
        import resource, signal, sys, torch
        from dynconv.lessons.train import save_checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # the disk ends here
        try:
            save_checkpoint(sys.argv[1], {"weight": torch.zeros(1_000_000)})
        except OSError as error:
            print(error)
    """)
    result = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    assert "cannot save the checkpoint" in result.stdout
    assert "File too large; the one from before is untouched" in result.stdout
    assert torch.equal(load_checkpoint(path)["weight"], torch.arange(10))
    assert os.listdir(tmp_path) == ["last.pt"]


def test_no_space_left(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"last.pt: No space left on device; there was none before"):
        save_checkpoint(tmp_path / "last.pt", {"weight": torch.zeros(3)})
    assert not os.listdir(tmp_path)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


HOLDS_MORE, IS_DAMAGED = "it holds more than tensors and plain values", "it is damaged, cut off or something else"


@pytest.mark.parametrize(
    ("content", "reason"), [("pickle", HOLDS_MORE), ("text", IS_DAMAGED), ("empty", IS_DAMAGED), ("half", IS_DAMAGED)]
)
def test_what_is_no_checkpoint_is_refused_and_runs_nothing(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.pt"
    if content == "pickle":
        torch.save({"model": Evil()}, path)
    else:
        save_checkpoint(path, {"weight": torch.rand(100)})
        half = path.read_bytes()[: path.stat().st_size // 2]
        path.write_bytes({"text": b"hello", "empty": b"", "half": half}[content])
    with pytest.raises(ValueError, match=f"last.pt is not a checkpoint that can be read safely: {reason}") as caught:
        load_checkpoint(path)
    assert "weights_only" not in str(caught.value)  # torch's advice is to switch the safety off
    assert not (tmp_path / "evil").exists()


def test_one_changed_byte_among_the_weights_is_noticed(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weight": torch.full((1000,), 3.0)})
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((1000,), 3.0).numpy().tobytes()) + 1000] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["weight"], torch.full((1000,), 3.0))  # torch does not
    with pytest.raises(ValueError, match=r"last.pt is not a checkpoint .*data/0 is not what its checksum says"):
        load_checkpoint(path)

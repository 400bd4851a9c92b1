"""run.py's set-up under bad luck: each ends in one true sentence that says what to do, and a broken .venv mends itself."""

import ast
import errno
import importlib.util
import json
import os
import shutil
import sys
import types
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_py(tmp_path, monkeypatch):
    """run.py as a module whose .venv is a folder of the test's."""
    spec = importlib.util.spec_from_file_location("run_py", ROOT / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path / ".venv"
    monkeypatch.setattr(module, "VENV", folder)
    monkeypatch.setattr(module, "PYTHON", folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    monkeypatch.setattr(module, "STAMP", folder / "dynconv-setup.json")
    monkeypatch.setattr(module, "LOG", tmp_path / "dynconv-setup.log")
    return module


def free(monkeypatch, run_py, gigabytes):
    usage = types.SimpleNamespace(free=gigabytes * 1e9)
    monkeypatch.setattr(run_py.shutil, "disk_usage", lambda _: usage)


def an_environment(run_py, *packages):
    """A real environment without pip, in which `packages` are installed: a module each, and its list of files."""
    venv.create(run_py.VENV, with_pip=False)
    site = next(run_py.VENV.rglob("site-packages"))
    for name in packages:
        (site / f"{name}.py").touch()
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{name}.py,,\n")
    return site


def test_a_disk_too_small_is_seen_before_anything_is_installed(run_py, monkeypatch):
    free(monkeypatch, run_py, 1.5)
    monkeypatch.setattr(run_py, "has_torch", lambda: False)
    monkeypatch.setattr(run_py, "pip", lambda *_: pytest.fail("something was installed"))
    with pytest.raises(SystemExit, match=r"needs about 7 GB on the disk that holds .*; 1\.5 GB are free\. Free some"):
        run_py.install_torch("usual")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"The disk that holds .* is full \(0\.2 GB free\)\."),
        (OSError(getattr(errno, "EDQUOT", errno.ENOSPC), "Disk quota exceeded"), r"The disk that holds .* is full"),
        (PermissionError(errno.EACCES, "Permission denied", ".venv"), r"^\.venv cannot be written to\. Copy"),
        (OSError(errno.EROFS, "Read-only file system", "x"), r"^x cannot be written to\."),
        (KeyboardInterrupt(), r"Stopped\. Run the same command again"),
    ],
    ids=["full disk", "quota", "no permission", "read-only", "Ctrl-C"],
)
def test_bad_luck_ends_in_one_sentence(run_py, monkeypatch, error, said):
    def fails(*_):
        raise error

    free(monkeypatch, run_py, 0.2)
    monkeypatch.setattr(run_py, "set_up", fails)
    with pytest.raises(SystemExit, match=said):
        run_py.main(["test"])


def test_ctrl_c_while_the_last_part_is_built_is_no_set_up(run_py, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    for name in ("create", "install_torch", "pip", "quiet_jupyterlab"):
        monkeypatch.setattr(run_py, name, lambda *_: None)
    run_py.VENV.mkdir()
    monkeypatch.setattr(run_py.subprocess, "call", stopped)
    monkeypatch.setattr(run_py, "has_pip", lambda: True)
    with pytest.raises(SystemExit, match=r"Stopped\. Run the same command again"):
        run_py.main(["lab"])
    assert not run_py.STAMP.exists()


def test_an_old_python_can_read_it_and_is_named(run_py, monkeypatch):
    ast.parse((ROOT / "run.py").read_text(encoding="utf-8"), feature_version=(3, 7))
    monkeypatch.setattr(run_py.sys, "version_info", (3, 8, 2))
    monkeypatch.setattr(run_py.sys, "version", "3.8.2 (main)")
    with pytest.raises(SystemExit, match=r"^dynconv needs Python 3\.10 or newer; this is 3\.8\.2 \("):
        run_py.main(["lab"])


def test_a_disk_that_the_small_torch_filled_is_not_called_a_missing_build(run_py, monkeypatch, capsys):
    left = iter((50, 0.1, 0.1))
    monkeypatch.setattr(run_py.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=next(left) * 1e9))
    for name, answer in (("has_torch", False), ("has_nvidia", False), ("pip", None)):
        monkeypatch.setattr(run_py, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(run_py.sys, "platform", "linux")
    monkeypatch.setattr(run_py.subprocess, "call", lambda *_, **__: 1)
    with pytest.raises(SystemExit, match=r"needs about 0\.5 GB on the disk"):
        run_py.install_torch(None)
    assert "cannot be had" not in capsys.readouterr().out


def test_another_error_is_not_hidden(run_py, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(run_py, "set_up", fails)
    with pytest.raises(OSError, match="Input/output"):
        run_py.main(["test"])


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="needs a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_to_is_named(run_py, monkeypatch):
    """For real: not even root makes a folder there."""
    monkeypatch.setattr(run_py, "VENV", Path("/sys/kernel/.venv"))
    with pytest.raises(SystemExit, match=r"^/sys/kernel/\.venv cannot be written to\. Copy the repository"):
        run_py.guarded(lambda *_: run_py.create(), None, [])


def test_publishing_what_cannot_be_written_to_ends_in_that_sentence_too(run_py, monkeypatch, tmp_path):
    def refuses(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    for name in ("pyproject.toml", "README.md", "dynconv/lessons/site/publish.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(run_py, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    monkeypatch.setattr(Path, "write_text", refuses)
    with pytest.raises(SystemExit, match=r"cannot be written to\. Copy the repository"):
        run_py.main(["publish", "eve/conv"])


def test_no_network_is_called_by_its_name(run_py, monkeypatch):
    """For real: pip without an index it can reach."""
    monkeypatch.setattr(run_py, "PYTHON", sys.executable)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(SystemExit, match=r"The package index cannot be reached: is there a network\?"):
        run_py.pip(
            "Trying", "--index-url", "https://nowhere.invalid/simple", "--target", str(run_py.LOG.parent / "x"), "abc-x"
        )


def test_a_damaged_environment_is_seen_and_made_anew(run_py, monkeypatch):
    site = an_environment(run_py, "dynconv", "torch", "jupyterlab")
    assert run_py.damaged() is None
    (site / "jupyterlab.py").unlink()
    assert "jupyterlab.py and 0 more are gone" in run_py.damaged()
    made = []
    stamp = {**run_py.wanted_stamp(), "extras": ["lessons"]}
    run_py.STAMP.write_text(json.dumps(stamp))
    for name in ("create", "install_torch", "pip", "quiet_jupyterlab", "call"):
        monkeypatch.setattr(run_py, name, lambda *_, name=name, **__: made.append(name))
    run_py.set_up()
    assert made == ["create", "install_torch", "pip", "quiet_jupyterlab", "call"]
    assert json.loads(run_py.STAMP.read_text()) == stamp


def test_a_package_that_is_gone_and_a_python_that_is_gone_are_seen(run_py):
    an_environment(run_py, "dynconv", "torch")
    assert "jupyterlab" in run_py.damaged()
    run_py.PYTHON.unlink()
    assert "gone" in run_py.damaged()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there are two torches")
@pytest.mark.parametrize(
    ("asked", "nvidia", "cpu_first"), [(None, False, True), (None, True, False), ("usual", False, False)]
)
def test_the_small_torch_is_tried_first_where_no_nvidia_device_is(
    run_py, monkeypatch, capsys, asked, nvidia, cpu_first
):
    commands = []
    free(monkeypatch, run_py, 50)
    monkeypatch.setattr(run_py, "has_torch", lambda: bool(commands))
    monkeypatch.setattr(run_py, "has_nvidia", lambda: nvidia)
    monkeypatch.setattr(run_py, "pip", lambda *_: None)
    monkeypatch.setattr(run_py.subprocess, "call", lambda command, **_: commands.append(command) or 0)
    run_py.install_torch(asked)
    assert ["--torch-backend=cpu" in command for command in commands] == [True] * cpu_first
    assert ("No NVIDIA device: the CPU-only torch first" in capsys.readouterr().out) == cpu_first


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there are two torches")
@pytest.mark.parametrize("asked", [None, "CPU-only"])
def test_where_it_cannot_be_had_the_usual_one_is_taken_unless_it_was_asked_for(run_py, monkeypatch, capsys, asked):
    free(monkeypatch, run_py, 50)
    for name, answer in (("has_torch", False), ("has_nvidia", False), ("pip", None)):
        monkeypatch.setattr(run_py, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(run_py.subprocess, "call", lambda *_, **__: 1)
    if asked:
        with pytest.raises(SystemExit, match=r"No working CPU-only torch could be had; .* says why\. Delete \.venv"):
            run_py.install_torch(asked)
    else:
        run_py.install_torch(asked)
        assert "The CPU-only torch cannot be had here: the usual one it is." in capsys.readouterr().out

"""Types: the package agrees with its own, and a user's editor knows every argument of the installed layers."""

import os
import re
import subprocess
import sys
import zipfile

from tests.setup.conftest import ROOT

USERS = """
import torch
from torch import nn
from dynconv import CAMAttention, CondConv2d, DynamicConv1d, DynamicConv2d, KernelAttention, ODConv2d, SparseBlock, StaticMixConv2d
from dynconv.schedule import TemperatureSchedule
from dynconv.surgery import set_temperature


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = DynamicConv2d(3, 16, 3, stride=2, padding="same", temperature=10.0, attention=KernelAttention(3))
        self.mix = StaticMixConv2d(16, 16, (3, 1), 1, 0, 1, 1, False, "reflect", num_kernels=2)
        self.block = SparseBlock(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(self.mix(self.first(x)))


x, net = torch.randn(2, 3, 32, 32), Net()
schedule = TemperatureSchedule(net, steps=10, where="first")
set_temperature(net, 2.0)
reveal_type(DynamicConv2d(3, 8, 3)(x))  # Tensor
reveal_type(CondConv2d(3, 8, 3)(x, torch.rand(2, 4)))  # Tensor
reveal_type(DynamicConv2d(3, 8, 3).weight)  # Parameter
reveal_type(ODConv2d(3, 8, 3).attention(x)["taps"])  # Tensor
reveal_type(CAMAttention(8)(x).heatmap)  # Tensor
reveal_type(SparseBlock(8)(x, return_cost=True)[1].used)  # Tensor
reveal_type(StaticMixConv2d(3, 8, 3).fold().weight)  # Tensor
DynamicConv2d(16, "32", 3)  # error: arg-type
DynamicConv1d(16, 32, "3")  # error: arg-type
DynamicConv2d(16, 32, 3, stride=1.5)  # error: arg-type
StaticMixConv2d(16, 32, 3, temperature="hot")  # error: arg-type
CondConv2d(16, 32, 3, padding_mode="mirror")  # error: arg-type
ODConv2d(16, 32, 3, num_kernel=4)  # error: call-arg
DynamicConv2d(16, 32, 3, attention=4)  # error: arg-type
DynamicConv2d(16, 32, 3)("x")  # error: arg-type
CondConv2d(3, 8, 3)(x, routing=x)  # error: call-arg
KernelAttention(16, activation=1)  # error: arg-type
TemperatureSchedule(net, "10")  # error: arg-type
set_temperature(net, temperature="low")  # error: arg-type
"""


def mypy(*arguments, folder=ROOT):
    """Always with our settings, and so with one cache: what torch says is read once."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        f"--config-file={ROOT / 'pyproject.toml'}",
        f"--cache-dir={ROOT / '.mypy_cache'}",
    ]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    words = {"capture_output": True, "text": True, "encoding": "utf-8", "env": environment}
    return subprocess.run([*command, *map(str, arguments)], cwd=folder, **words)


def test_mypy_has_nothing_to_say():
    """Strictly of the core, with ordinary settings of the lessons: pyproject.toml says which."""
    done = mypy()
    assert re.fullmatch(r"Success: no issues found in \d+ source files", done.stdout.strip()), done.stdout + done.stderr


def test_the_core_is_held_to_strict_and_nothing_is_left_out(project):
    settings = project["tool"]["mypy"]
    assert settings["strict"] is True
    ours = [o for o in settings["overrides"] if "dynconv" in str(o["module"])]
    assert [o["module"] for o in ours] == ["dynconv.lessons.*"]
    assert not {"ignore_errors", "follow_imports", "ignore_missing_imports"} & ours[0].keys()
    assert not {"exclude", "disable_error_code", "ignore_errors"} & settings.keys()


def test_a_users_mistake_is_an_error_with_the_installed_wheel(installed, wheel, tmp_path):
    assert "dynconv/py.typed" in zipfile.ZipFile(wheel).namelist()
    (tmp_path / "users.py").write_text(USERS, encoding="utf-8")
    done = mypy(f"--python-executable={installed.python}", "users.py", folder=tmp_path)
    said = dict(
        re.findall(r"users\.py:(\d+): (?:error: .*\[(?=.*\])|note: Revealed type is )(.*?)[\]]?$", done.stdout, re.M)
    )
    wanted = {str(i): line.split("# ")[1] for i, line in enumerate(USERS.splitlines(), 1) if "  # " in line}
    assert said.keys() == wanted.keys(), done.stdout + done.stderr
    for line, expected in wanted.items():
        assert expected.removeprefix("error: ") in said[line], f"line {line}: {said[line]}"


def test_without_the_marker_a_users_checker_would_know_nothing(installed, tmp_path):
    """The test above would not be fooled by a package that lies in the path of mypy."""
    marker = installed.site / "dynconv" / "py.typed"
    (tmp_path / "users.py").write_text(
        'from dynconv import DynamicConv2d\nDynamicConv2d(16, "32", 3)\n', encoding="utf-8"
    )
    marker.rename(marker.with_name("hidden"))
    try:
        done = mypy(f"--python-executable={installed.python}", "users.py", folder=tmp_path)
    finally:
        marker.with_name("hidden").rename(marker)
    assert "missing library stubs or py.typed marker" in done.stdout

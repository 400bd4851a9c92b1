"""`pip install dynconv` asks for torch and numpy: with these alone all but the lessons imports and works."""

import json
import os
import re

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links to folders need a right of their own on Windows")

IMPORT_ALL = """
import importlib, json, sys
from importlib.metadata import distributions
from pathlib import Path
import dynconv
folder = Path(dynconv.__file__).parent
files = [path.relative_to(folder.parent).with_suffix("").parts for path in sorted(folder.rglob("*.py"))]
ours = [".".join(parts) for parts in files if parts[1] != "lessons" and parts[-1] not in ("__init__", "__main__")]
for name in ours:
    importlib.import_module(name)
print(json.dumps({
    "file": dynconv.__file__, "modules": ours, "there": sorted({d.metadata["Name"].lower() for d in distributions()}),
    "lessons": [name for name in sys.modules if name.startswith("dynconv.lessons")],
}))
"""

WORK = """
import torch
from torch import nn
from dynconv import DynamicConv2d, StaticMixConv2d
from dynconv.cost import summary
from dynconv.probe import record
from dynconv.schedule import TemperatureSchedule
from dynconv.surgery import convert, fold, parameter_groups
model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
x = torch.randn(2, 3, 16, 16)
dynamic, static = convert(model), convert(model, family="static")
assert type(dynamic[0]) is DynamicConv2d and type(static[3]) is StaticMixConv2d
torch.testing.assert_close(dynamic(x), model(x), atol=1e-5, rtol=1e-4)
schedule, optimizer = TemperatureSchedule(dynamic, steps=2), torch.optim.SGD(parameter_groups(dynamic), lr=0.01)
with record(dynamic) as seen:
    dynamic(x).square().mean().backward()
optimizer.step()
schedule.step()
folded = fold(static, batch_norm=True)
assert [type(m) for m in folded] == [nn.Conv2d, nn.Identity, nn.ReLU, nn.Conv2d], folded
torch.testing.assert_close(folded(x), model(x), atol=1e-5, rtol=1e-4)
plain = fold(dynamic, "uniform")
assert not any(isinstance(m, DynamicConv2d) for m in plain.modules())
assert len(seen) == 2 and summary(dynamic, x).macs > 0
print("works")
"""


def names_of_extra(project):
    return {Requirement(line).name for line in project["project"]["optional-dependencies"]["lessons"]}


def test_every_module_but_the_lessons_imports_with_torch_alone(torch_alone, project):
    done = torch_alone.run("-W", "error", "-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["file"].startswith(str(torch_alone.site))
    assert {
        "dynconv.functional.mixing",
        "dynconv.layers.dynamic",
        "dynconv.surgery.folding",
        "dynconv.schedule",
    } <= set(found["modules"])
    assert not found["lessons"]
    assert {"torch", "numpy", "dynconv"} <= set(found["there"])
    assert not names_of_extra(project) & set(found["there"])


def test_a_model_is_converted_trained_and_folded_there(torch_alone):
    done = torch_alone.run("-W", "error", "-c", WORK)
    assert (done.stdout.strip(), done.returncode) == ("works", 0), done.stderr


def test_the_lessons_say_there_what_to_install(torch_alone, project):
    for module in ("dynconv.lessons", "dynconv.lessons.views", "dynconv.lessons.data"):
        done = torch_alone.run("-c", f"import {module}")
        assert done.returncode == 1
        said = done.stderr.strip().splitlines()[-1]
        listed = re.match(r"ModuleNotFoundError: dynconv.lessons needs ([\w, -]+): ", said)
        assert set(listed[1].split(", ")) == names_of_extra(project)
        assert said.endswith("pip install 'dynconv[lessons]'. The layers, dynconv and its other modules, work without")

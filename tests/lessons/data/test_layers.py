"""The shipped layers: what their file says of them is what they do."""

import json

import pytest
import torch
import torch.nn.functional as F

from dynconv.lessons.data import DEGRADATIONS, damaged_window, restoration, restorer
from dynconv.lessons.data.degradations import WINDOWS, standardised
from dynconv.lessons.data.shipped import read


def test_their_errors_are_the_files():
    kept = json.loads(read("layers/restorers.json"))
    assert kept["command"] == "python -m experiments.restorers --write"
    held = restoration("test", per_photo=4, size=136)
    clean = held.clean[..., 4:-4, 4:-4]
    for system in ("mix", "dynamic"):
        y = restorer(system)(held.degraded)
        found = [F.mse_loss(y[held.kind == k], clean[held.kind == k]).item() for k in range(4)]
        assert found == pytest.approx(kept["errors"][system], abs=2e-4)
    # each damage is mended, and evenly mixed kernels mend it less
    dynamic, damaged, even = (kept["errors"][name] for name in ("dynamic", "damaged", "dynamic, even shares"))
    assert all(d < min(e, x) for d, e, x in zip(dynamic, even, damaged, strict=True))


def test_no_such_layer():
    with pytest.raises(ValueError, match="system must be one of 'mix', 'dynamic', got 'static'"):
        restorer("static")


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_come_from_where_no_training_patch_does(name):
    damaged, clean = damaged_window(name)
    top, left = WINDOWS[name]
    photo = standardised(name)[0]
    assert torch.equal(clean, photo[:, top : top + 136, left : left + 136])
    assert left >= int(0.65 * photo.shape[2])
    assert list(damaged) == list(DEGRADATIONS)
    assert all(x.shape == (1, 136, 136) and not torch.equal(x, clean) for x in damaged.values())
    assert torch.equal(damaged_window(name, 20)[1], clean[:, :20, :20])
    for bad in (("grass", 136), (name, 137), (name, 0)):
        with pytest.raises(ValueError, match="name must be one of astronaut, camera"):
            damaged_window(*bad)

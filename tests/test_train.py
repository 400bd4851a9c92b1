"""The loop learns and repeats itself from its seed."""

import copy

import pytest
import torch
from torch import nn

from dynconv import DynamicConv2d, StaticMixConv2d
from dynconv.train import fit


def test_fit_learns_and_repeats_itself():
    x = torch.randn(64, 1, 12, 12)
    y = nn.functional.conv2d(x, torch.randn(1, 1, 3, 3))
    start, runs = StaticMixConv2d(1, 1, 3).eval(), []
    for seed in (1, 1, 2):
        model = copy.deepcopy(start)
        runs.append(list(fit(model, x, y, epochs=20, lr=0.05, seed=seed, progress=False)))
        assert not model.training  # left in the mode it came in
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][-1]["loss"] < 0.02 * runs[0][1]["loss"]


def test_fit_cools_as_told_and_records_it():
    layer, x = DynamicConv2d(1, 1, 3), torch.randn(20, 1, 6, 6)
    records = list(fit(layer, x, x[..., 1:-1, 1:-1], epochs=4, batch_size=10, anneal=(30, 1, 0.5), progress=False))
    assert [r["temperature"] for r in records] == pytest.approx([30, 15.5, 1, 1, 1])


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"batch_size": 0}, {"targets": torch.zeros(3, 1, 4, 4)}])
def test_bad_fits(changes):
    arguments = {"inputs": torch.zeros(4, 1, 6, 6), "targets": torch.zeros(4, 1, 4, 4), "epochs": 1} | changes
    with pytest.raises(ValueError, match="must be"):
        next(fit(DynamicConv2d(1, 1, 3), **arguments))

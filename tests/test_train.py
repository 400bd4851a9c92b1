"""The loop learns, repeats itself from its seed, and moves the temperature as told."""

import copy

import pytest
import torch
from torch import nn

from dynconv import DynamicConv2d, StaticMixConv2d
from dynconv.surgery import set_temperature
from dynconv.train import TemperatureSchedule, fit


def test_set_temperature_reaches_every_layer():
    model = nn.Sequential(DynamicConv2d(1, 2, 3), nn.Sequential(StaticMixConv2d(2, 2, 3), nn.ReLU()))
    assert set_temperature(model, 2.5) == 2
    assert model[0].attention.temperature == model[1][0].temperature == 2.5
    with pytest.raises(ValueError, match="above 0, got -3"):
        set_temperature(model, -3)
    with pytest.raises(ValueError, match="ReLU has no layer with a temperature"):
        set_temperature(nn.ReLU(), 1.0)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_schedule_goes_from_start_to_end_and_stays(shape):
    layer = DynamicConv2d(1, 1, 3)
    schedule, seen = TemperatureSchedule(layer, steps=10, shape=shape), []
    for _ in range(13):
        seen.append(layer.attention.temperature.item())
        schedule.step()
    assert seen[0] == 30
    assert seen[5] == pytest.approx(15.5)
    assert seen[10:] == [1.0, 1.0, 1.0]
    assert seen[:11] == sorted(seen[:11], reverse=True)


def test_schedule_goes_on_from_a_checkpoint():
    schedule = TemperatureSchedule(DynamicConv2d(1, 1, 3), steps=10)
    for _ in range(4):
        schedule.step()
    layer = DynamicConv2d(1, 1, 3)
    resumed = TemperatureSchedule(layer, steps=10)
    resumed.load_state_dict(schedule.state_dict())
    assert layer.attention.temperature.item() == pytest.approx(schedule.temperature)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"steps": 0}, "steps .* got 0"), ({"end": 0}, "above 0, got 0"), ({"shape": "steps"}, "got 'steps'")],
)
def test_bad_schedules(changes, message):
    with pytest.raises(ValueError, match=message):
        TemperatureSchedule(DynamicConv2d(1, 1, 3), **{"steps": 5, **changes})


def test_fit_learns_and_repeats_itself():
    x = torch.randn(64, 1, 12, 12)
    y = nn.functional.conv2d(x, torch.randn(1, 1, 3, 3))
    start, runs = StaticMixConv2d(1, 1, 3).eval(), []
    for seed in (1, 1, 2):
        model = copy.deepcopy(start)
        runs.append(list(fit(model, x, y, epochs=15, lr=0.05, seed=seed, progress=False)))
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

"""The temperature goes where it is told, and a checkpoint knows how far it was."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dynconv import DynamicConv2d, StaticMixConv2d
from dynconv.schedule import TemperatureSchedule
from dynconv.surgery import set_temperature


def test_set_temperature_reaches_every_layer():
    model = nn.Sequential(DynamicConv2d(1, 2, 3), nn.Sequential(StaticMixConv2d(2, 2, 3), nn.ReLU()))
    assert set_temperature(model, 2.5) == 2
    assert model[0].attention.temperature == model[1][0].attention.temperature == 2.5
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


def test_cosine_is_a_cosine():
    # a quarter and three quarters of the way: there it differs from other curves that begin and end flat
    schedule, seen = TemperatureSchedule(DynamicConv2d(1, 1, 3), steps=8, start=30.0, end=2.0, shape="cosine"), []
    for _ in range(9):
        seen.append(schedule.temperature)
        schedule.step()
    assert seen[2] == pytest.approx(16 + 14 * 0.5**0.5)
    assert seen[6] == pytest.approx(16 - 14 * 0.5**0.5)


def test_schedule_goes_on_from_a_checkpoint():
    schedule = TemperatureSchedule(DynamicConv2d(1, 1, 3), steps=10)
    for _ in range(4):
        schedule.step()
    layer = DynamicConv2d(1, 1, 3)
    resumed = TemperatureSchedule(layer, steps=99, start=5.0)  # the checkpoint's schedule counts
    resumed.load_state_dict(schedule.state_dict())
    assert layer.attention.temperature.item() == pytest.approx(schedule.temperature)
    with pytest.raises(
        ValueError, match=r"TemperatureSchedule's, got one without \['end', 'shape', 'start', 'steps'\]"
    ):
        resumed.load_state_dict({"last_step": 4})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps .* got 0"),
        ({"steps": float("nan")}, "steps .* got nan"),
        ({"end": 0}, "above 0, got 0"),
        ({"shape": "steps"}, "got 'steps'"),
    ],
)
def test_bad_schedules(changes, message):
    with pytest.raises(ValueError, match=message):
        TemperatureSchedule(DynamicConv2d(1, 1, 3), **{"steps": 5, **changes})


def test_constant_stays_and_the_references_steps_are_a_linear_schedule():
    layer = DynamicConv2d(1, 1, 3)
    constant = TemperatureSchedule(layer, steps=5, start=7.0, shape="constant")
    for _ in range(6):
        constant.step()
    assert layer.attention.temperature == 7
    expected = torch.load(Path(__file__).parent / "goldens/temperature.pt", weights_only=True)["schedule_kaijieshi7"]
    schedule, seen = TemperatureSchedule(layer, steps=11, start=34.0), []  # steps of -3 that never reach 0
    for _ in expected:
        seen.append(schedule.temperature)
        schedule.step()
    assert seen == pytest.approx(expected)

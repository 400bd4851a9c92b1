"""TemperatureBench's Python side: the stages are torch's, the gradient autograd's."""

import pytest
import torch
import traitlets

from dynconv.functional import softmax_temperature
from dynconv.lessons.views.temperature import TemperatureBench, temperature_state


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_gradient_is_autograds(temperature, scale):
    logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(5, dtype=torch.float64)
    (softmax_temperature(logits * scale, temperature) @ upstream).backward()
    shown = temperature_state(logits.detach(), temperature, scale, upstream)
    torch.testing.assert_close(shown["gradient"], logits.grad)
    torch.testing.assert_close(shown["weights"], shown["powers"] / shown["powers"].sum())
    torch.testing.assert_close(shown["effective"].log(), torch.distributions.Categorical(shown["weights"]).entropy())


def test_scale_and_temperature_cancel():
    logits, upstream = torch.randn(4), torch.zeros(4)
    hot, plain = (temperature_state(logits, T, T, upstream)["weights"] for T in (30.0, 1.0))
    torch.testing.assert_close(hot, plain)
    with pytest.raises(ValueError, match=r"scale must be a finite number above 0, got 0\.0"):
        temperature_state(logits, 1.0, 0.0, upstream)


def test_traits_and_output():
    bench = TemperatureBench(torch.tensor([1.0, 0.0]), names=["a", "b"], temperature=3)
    bench.logits = [0.5, 2.0]
    data, _ = bench._repr_mimebundle_()
    assert "image/png" in data
    assert "1 times the logits 0.5, 2 over the temperature" in data["text/plain"]
    assert "from 0%, 100% to 50%, 50%" in data["text/plain"]
    for trait, value, message in (
        ("temperature", 0.0, "above 0, got 0.0"),
        ("scale", -1.0, "scale must be a finite number above 0, got -1.0"),
        ("scale", float("inf"), "scale must be a finite number above 0, got inf"),
        ("logits", [1.0], r"logits must be 2 numbers, got \[1.0\]"),
        ("logits", [1.0, float("nan")], r"logits\[1\] must be a finite number, got nan"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(bench, trait, value)
    assert (bench.temperature, bench.scale, bench.logits) == (3.0, 1.0, [0.5, 2.0])


def test_numbers_arrive_as_they_were_given():
    assert TemperatureBench([0.1, -0.3]).logits == [0.1, -0.3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"logits": []}, r"1 to 8 numbers, got shape \(0,\)"),
        ({"logits": [0.0] * 9}, r"1 to 8 numbers, got shape \(9,\)"),
        ({"logits": [0.0, float("nan")]}, r"logits must be finite, got \[0.0, nan\]"),
        ({"logits": [0.0, 1.0], "names": ["a"]}, "needs 2 different names, one a logit, got 1"),
        ({"logits": [0.0, 1.0], "names": ["a", "a"]}, "needs 2 different names, one a logit, got 1"),
        ({"logits": [0.0, 1.0], "upstream": [1.0]}, "needs 2 numbers upstream, one a logit, got 1"),
        ({"logits": [0.0, 1.0], "upstream": [1.0, float("inf")]}, "upstream must be finite"),
    ],
)
def test_bad_benches(arguments, message):
    with pytest.raises(ValueError, match=message):
        TemperatureBench(**arguments)

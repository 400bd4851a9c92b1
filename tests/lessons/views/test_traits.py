"""What an instrument's traits refuse, and that experiments are held to them when it is made."""

import pytest
import torch
from torch import nn
from traitlets import TraitError

from dynconv import DynamicConv2d, StaticMixConv2d
from dynconv.lessons import views
from dynconv.lessons.data import recording
from dynconv.lessons.views import CostView, Mixer, TemperatureBench, Trace, explain
from dynconv.lessons.views.instrument import Finite, Instrument, Numbers, Temperature, Whole


def a_mixer(**options):
    return Mixer(torch.rand(8, 8), {"a": torch.eye(3), "b": torch.eye(3)}, **options)


def a_bench(**options):
    return TemperatureBench([1.0, 2.0], **options)


def a_trace(**options):
    return Trace(DynamicConv2d(1, 4, 3), torch.rand(1, 8, 8), **options)


def a_cam(**options):
    weights = torch.rand(2, 4), torch.rand(2), ["one", "two"]
    return views.CAMView(torch.rand(3, 8, 8), torch.rand(4, 2, 2), *weights, **options)


def photos():
    return {"a": torch.rand(1, 8, 8), "b": torch.rand(1, 8, 8)}


def a_time_machine():
    kept = recording("restoration")
    return views.TimeMachine(kept["runs"], kept["classes"])


def a_layer():
    return DynamicConv2d(1, 1, 3, num_kernels=3)


def a_hero():
    dynamic = DynamicConv2d(1, 1, 3, num_kernels=3, reduction=1, temperature=2.0)
    return views.Hero(StaticMixConv2d(1, 1, 3, num_kernels=3), dynamic.eval(), torch.rand(12, 20), torch.rand(12, 20))


def a_branches():
    kernels = {"one": torch.randn(2, 3, 3), "two": torch.randn(2, 3, 3)}
    return views.BranchesView({"a": torch.randn(8, 8), "b": torch.randn(8, 8)}, kernels, torch.randn(2, 2, 2))


MAKERS = [
    a_branches,
    lambda: views.RescaleView(torch.randn(8, 8), {"a": torch.randn(3, 3), "b": torch.randn(3, 3)}, [0.8, 0.2]),
    a_hero,
    views.Playground,
    lambda: views.Bet("02.how-many"),
    views.Progress,
    a_mixer,
    a_bench,
    a_trace,
    a_cam,
    a_time_machine,
    CostView,
    lambda: views.DynamicView(a_layer(), photos()),
    lambda: views.SimplexMap(a_layer(), photos()),
    lambda: views.InterventionsView(a_layer(), photos()),
    lambda: views.FeatureAttentionView(photos(), torch.rand(2, 4, 8, 8), torch.rand(4), torch.rand(4)),
    lambda: views.GatesView(photos(), {"one": torch.rand(2, 8, 8)}, {"one": (9, 9)}),
    lambda: views.TrainingView(["x", "y"], 2, 3, 3),
    lambda: views.TrainingMapsView(photos(), {"one": torch.rand(3, 2, 8, 8)}, {"loss": [3, 2, 1]}),
]
NAN, INF, HUGE = float("nan"), float("inf"), 10**5000
NO_NUMBER = [NAN, INF, -INF, HUGE, -HUGE, True, False, "1", b"1", [1.0], {}, 1j, torch.ones(2), torch.tensor(True)]
WRONG = {
    Finite: [*NO_NUMBER, 1e300, -1e300],
    Temperature: [*NO_NUMBER, 1e300, 1e-300, 0, -1.0],
    Whole: [*NO_NUMBER, 0.5, 10**20, -(10**20), 2**53],
    Numbers: [*([value] for value in NO_NUMBER), [1e300, 0.0], 1.0, "12", None, {"a": 1}, HUGE],
}
NO_NAME = [NAN, True, 1, None, ["c"], {}, "no such name", "x" * 10**6]


def controls(view):
    return {name: trait for name, trait in view.traits(sync=True).items() if name not in Instrument.class_traits()}


@pytest.mark.parametrize("make", MAKERS, ids=range(len(MAKERS)))
def test_no_trait_of_any_instrument_takes_what_it_cannot_show(make):
    view = make()
    for name, trait in controls(view).items():
        before = getattr(view, name)
        for value in WRONG.get(
            type(trait),
            NO_NAME if name in ("image", "photo", "source", "mode", "first", "layer", "selected", "bet") else [],
        ):
            if value is None and trait.allow_none:
                continue
            with pytest.raises(TraitError) as caught:
                setattr(view, name, value)
            assert name in str(caught.value), (name, value)
            assert len(str(caught.value)) < 10**6 + 10**4
            assert getattr(view, name) == before, (name, value)


def test_every_instrument_is_here_and_no_control_is_a_plain_number():
    """A new instrument's numbers are of the kinds that refuse; torch's and NumPy's single numbers are taken."""
    made = {type(make()).__mro__[1] for make in MAKERS}  # anywidget makes a class for each
    public = [getattr(views, name) for name in views.__all__]
    assert made == {c for c in public if isinstance(c, type) and issubclass(c, Instrument)}
    for view in made:
        for name, trait in view.class_traits(sync=True).items():
            assert name[0] == "_" or type(trait).__name__ not in ("Int", "Float", "CInt", "CFloat"), (view, name)


REFUSED = [
    (a_mixer, "logits", [NAN, 0.0], r"logits\[0\] must be a finite number, got nan"),
    (a_mixer, "logits", [0.0, INF], r"logits\[1\] must be a finite number, got inf"),
    (a_mixer, "logits", [1e300, 0.0], "logits must be at most 1e"),
    (a_mixer, "logits", [1.0], "logits must be 2 numbers, got 1"),
    (a_mixer, "temperature", 1e300, "temperature must be 1e-30 to 1e"),
    (a_mixer, "temperature", True, "temperature must be a finite number above 0, got True"),
    (a_mixer, "num_kernels", True, "num_kernels must be a whole number, got True"),
    (a_mixer, "num_kernels", HUGE, "num_kernels must be a whole number, got a number of thousands of digits"),
    (a_cam, "opacity", NAN, "opacity must be a finite number, got nan"),
    (a_cam, "opacity", 1.5, "opacity must be 0 to 1, got 1.5"),
    (a_trace, "output_channel", True, "output_channel must be a whole number, got True"),
    (CostView, "batch", 1000, "batch must be 1 to 128, got 1000"),
    (a_bench, "temperature", 1e300, "temperature must be 1e-06 to 1e"),
    (a_bench, "scale", 1e300, "scale must be 1e-06 to 1e"),
    (a_bench, "logits", [1e300, 0.0], "logits must be at most 1e"),
    (a_bench, "experiments", "no JSON", "experiments must be labels with the traits they set, in JSON, got 'no JSON'"),
    (a_bench, "experiments", '{"x": [["scale", 1]]}', "experiments must be labels with the traits they set"),
]


@pytest.mark.parametrize(("make", "name", "value", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(make, name, value, words):
    view = make()
    before = getattr(view, name)
    with pytest.raises(TraitError, match=words):
        setattr(view, name, value)
    assert getattr(view, name) == before


def test_the_ends_of_the_bench_are_finite():
    for temperature, scale in ((1e-6, 1e6), (1e6, 1e-6)):
        bench = TemperatureBench([1e6, -1e6], temperature=temperature, scale=scale)
        assert "nan" not in bench.still().alt


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature2": 1}, "experiment 'x' sets 'temperature2'; there are: .*temperature"),
        ({"data": "{}"}, "experiment 'x' sets 'data'"),
        ({"layout": None}, "experiment 'x' sets 'layout'"),
        ({"_dom_classes": []}, "experiment 'x' sets '_dom_classes'"),
        ({"temperature": -1}, "experiment 'x': temperature must be a finite number above 0, got -1"),
        ({"temperature": NAN}, "experiment 'x': temperature must be a finite number above 0, got nan"),
        ({"temperature": "hot"}, "experiment 'x'"),
        ({"logits": [1]}, "experiment 'x': logits must be 2 numbers, got 1"),
        ({"num_kernels": 3}, "experiment 'x': num_kernels must be 1 to 2, got 3"),
    ],
)
def test_experiments_are_held_to_the_traits(settings, words):
    with pytest.raises(TraitError, match=words):
        a_mixer(experiments={"fine": {"temperature": 2}, "x": settings})


def test_experiments_of_other_instruments():
    a_mixer(experiments={"x": {"temperature": 0.1, "logits": [1, 2], "num_kernels": 1}})
    with pytest.raises(TraitError, match="experiment 'x': row must be 0 to 5, got 6"):
        a_trace(experiments={"x": {"row": 6}})
    with pytest.raises(TraitError, match="experiment 'x': opacity must be a finite number, got nan"):
        a_cam(experiments={"x": {"opacity": NAN}})


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_explained_models_of_any_precision_can_be_intervened_on(dtype):
    dynamic = DynamicConv2d(1, 4, 3, num_kernels=3)
    model = nn.Sequential(dynamic, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).to(dtype)
    found = explain(model, {"a": torch.rand(1, 8, 8), "b": torch.rand(1, 8, 8)})
    assert found.interventions().changes()["as trained"] == 0

"""TrainingMapsView's Python side: what is shown is what was recorded, arguments are checked, the still picture says the ends."""

import io

import pytest
import torch
import traitlets
from PIL import Image

from dynconv.lessons.views.training_maps import TrainingMapsView, moment_state


def a_view(**changes):
    images = {"a": torch.rand(1, 9, 12), "b": torch.rand(3, 9, 12)}
    given = {
        "images": images,
        "maps": {"gates": torch.rand(3, 2, 4, 5), "output": torch.rand(3, 2, 9, 12)},
        "curves": {"used": [1.0, 0.5, 0.25]},
    }
    return TrainingMapsView(**{**given, **changes})


def test_what_is_shown_is_what_was_recorded():
    view = a_view()
    shown = moment_state(view.maps, view.curves, 1)
    assert torch.equal(shown["maps gates"], view.maps["gates"][1])
    assert shown["mean output"] == view.maps["output"][1].mean()
    assert shown["used"] == 0.5


def test_half_precision_and_a_graph_are_taken():
    maps = torch.rand(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    view = a_view(maps={"gates": maps}, curves={})
    torch.testing.assert_close(view.maps["gates"], maps.detach().float())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": {}}, "images must be 1 to 8 of one size, got 0"),
        ({"images": {"a": torch.rand(2, 9, 12)}}, r"images must be \(3, H, W\) or \(1, H, W\), got \[\(2, 9, 12\)\]"),
        ({"maps": {}}, "maps must be 1 to 6 rows with as many moments each, got {}"),
        ({"maps": {"x": torch.rand(3, 2, 4, 4), "y": torch.rand(2, 2, 4, 4)}}, "as many moments each, got .*'y'"),
        ({"maps": {"gates": torch.rand(1, 2, 4, 4)}, "curves": {}}, r"maps of gates must be \(at least 2 moments, 2"),
        ({"maps": {"gates": torch.rand(3, 3, 4, 4)}}, r"maps of gates must be .* got \(3, 3, 4, 4\)"),
        ({"maps": {"gates": torch.rand(3, 2, 4, 4) + 1}}, "maps of gates must be in 0 … 1, got 1"),
        ({"maps": {"gates": torch.full((3, 2, 4, 4), float("nan"))}}, "maps of gates must be in 0 … 1, got nan"),
        ({"curves": {"used": [1.0, 2.0]}}, "curve used must be 3 finite numbers, one a moment, got"),
        ({"curves": {"used": [1.0, float("nan"), 0.0]}}, "curve used must be 3 finite numbers"),
        ({"steps": [0, 20]}, r"steps must be 3 numbers that rise, one a moment, got \[0, 20\]"),
        ({"steps": [0, 20, 20]}, "steps must be 3 numbers that rise"),
        ({"pictures": ["photo"]}, r"pictures must be among \['gates', 'output'\], got \['photo'\]"),
    ],
)
def test_bad_arguments_are_named(changes, said):
    with pytest.raises(ValueError, match=said):
        a_view(**changes)


def test_a_moment_that_is_not_there():
    view = a_view(moment=2)
    for moment in (3, -1):
        with pytest.raises(traitlets.TraitError, match=f"moment must be 0 to 2, got {moment}"):
            view.moment = moment


def test_the_still_picture_says_where_it_led():
    view = a_view(steps=[0, 20, 40], unit="step")
    assert view.still().alt == (
        "Images, and below them gates, output at 3 moments of the training, from step 0 to 40; used 1 → 0.25."
    )


def test_the_still_picture_has_photos_in_grey_and_maps_in_colour():
    plain, grey = a_view(), a_view(pictures=["output"])
    drawn = [Image.open(io.BytesIO(view.still().png)).convert("HSV").getchannel("S") for view in (plain, grey)]
    coloured = [sum(saturation.histogram()[40:]) for saturation in drawn]
    assert 0 < coloured[1] < 0.7 * coloured[0]

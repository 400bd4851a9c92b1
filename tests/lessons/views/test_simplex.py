"""SimplexMap's Python side: what it shows is what the layer does."""

import pytest
import torch
import traitlets

from dynconv import DynamicConv2d
from dynconv.lessons.views.dynamic import dynamic_state
from dynconv.lessons.views.simplex import SimplexMap, simplex_state


def a_layer():
    return DynamicConv2d(2, 1, 3, num_kernels=3, bias=False, temperature=2.0)


def some_images():
    return {"a": torch.randn(2, 8, 9), "b": torch.randn(2, 8, 9)}


def test_state_is_the_layer():
    layer, x = a_layer(), torch.stack(list(some_images().values()))
    shown = dynamic_state(layer, x)
    for image in (0, 1):
        state = simplex_state(shown, image, 2.0)
        torch.testing.assert_close(state["attention"], layer.attention(x))
        torch.testing.assert_close(state["map"], layer(x)[image, 0])
    free = torch.tensor([0.5, 0.5, 0.0])
    torch.testing.assert_close(simplex_state(shown, 0, 2.0, free)["kernel"], shown["kernels"][:2].mean(0))


def test_traits_and_output():
    view = SimplexMap(a_layer(), some_images(), image="b")
    view.free = [0.2, 0.3, 0.5]
    data, _ = view._repr_mimebundle_()
    assert "image/png" in data
    assert "Attention of a, b over three kernels" in data["text/plain"]
    for trait, value, message in (
        ("temperature", 0.0, "above 0, got 0.0"),
        ("image", "c", "image must be one of a, b, got 'c'"),
        ("free", [0.5, 0.5], r"3 numbers of at least 0 with sum 1, got \[0.5, 0.5\]"),
        ("free", [0.5, 0.5, 0.5], "sum 1"),
        ("free", [-0.5, 1.0, 0.5], "at least 0"),
        ("free", [float("nan"), 0.5, 0.5], r"free\[0\] must be a finite number, got nan"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(view, trait, value)
    assert (view.temperature, view.image, view.free) == (2.0, "b", [0.2, 0.3, 0.5])


def test_bad_maps():
    with pytest.raises(ValueError, match="the layer must have 3 kernels, got 4"):
        SimplexMap(DynamicConv2d(1, 1, 3), {"a": torch.rand(1, 8, 8)})
    with pytest.raises(ValueError, match="at least one image, got none"):
        SimplexMap(a_layer(), {})

"""CostView's Python side: its numbers are dynconv.cost's own, and what it refuses."""

import pytest
import torch
import traitlets

from dynconv import DynamicConv2d
from dynconv.cost import layer_macs, summary
from dynconv.lessons.views.cost import CostView, cost_state


@pytest.mark.parametrize(
    "sizes",
    [(8, 5, 3, 4, 2), (16, 7, 1, 2, 3), (64, 14, 5, 8, 1), (32, 1, 3, 3, 4)],
    ids=lambda s: "×".join(map(str, s)),
)
def test_numbers_are_the_layers_own(sizes):
    channels, size, k, num_kernels, batch = sizes
    shape, geometry = (batch, channels, size, size), {"padding": k // 2, "bias": False}
    layer = DynamicConv2d(channels, channels, k, num_kernels=num_kernels, method="grouped", **geometry)
    cost, counted = cost_state(*sizes), summary(layer, torch.zeros(shape))
    assert layer_macs(layer, shape, shape) == {"convolution": cost["convolution"], "aggregation": cost["mixing"]}
    assert counted.gate_macs == cost["attention"]
    assert counted.macs == cost["convolution"] + cost["mixing"] + cost["attention"]
    assert counted.parameters == cost["parameters"]
    layer.method = "outputs"
    assert summary(layer, torch.zeros(shape)).macs == cost["outputs"]


def test_output_has_widget_still_and_words():
    data, metadata = CostView()._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png"} <= set(data)
    assert "1.04 at 10" in metadata["image/png"]["alt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ({"channels": 1024}, "1024"),
        ({"num_kernels": 0}, "0"),
        ({"batch": 0}, "0"),
        ({"size": 65}, "65"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(traitlets.TraitError, match=message):
        CostView(**change)

"""torch.compile with its default backend, where batch and image sizes are symbols: forward and backward, every way of "auto"."""

import pytest
import torch

from dynconv import DynamicConv2d


@pytest.mark.parametrize(
    ("channels", "options"),
    [(8, {}), (8, {"groups": 8}), (16, {"padding": 1})],
    ids=["images as groups", "depthwise", "native or images as groups"],
)
def test_it_trains_with_symbolic_sizes(channels, options):
    torch._dynamo.reset()
    layer = DynamicConv2d(channels, 16, 3, **options)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True)
    for batch, size in ((4, 12), (3, 15)):
        x, found = torch.randn(batch, channels, size, size, requires_grad=True), []
        for call in (layer, compiled):
            y = call(x)
            found.append((y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
        torch.testing.assert_close(*found, atol=1e-3, rtol=1e-4)


def test_under_autocast_it_is_cast_as_torchs_own_convolutions_are():
    torch._dynamo.reset()
    layer, x = DynamicConv2d(8, 16, 3), torch.randn(2, 8, 6, 6)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(compiled(x), layer(x), atol=0.05, rtol=0.05)
        assert compiled(x).dtype == layer(x).dtype == torch.bfloat16

"""The C++ of a spatial gate's scores is torch's convolution and layer of the means, with the same bits for any number of threads."""

import pytest
import torch
from torch import nn

from dynconv import native
from dynconv.layers import SpatialGate
from tests.native.geometries import a_gate, scores_of_double

pytestmark = pytest.mark.skipif(not native.available(), reason="the library is not built")


def found_in_cpp(gate, x):
    return native.gate_scores(x, gate.conv, gate.fc)


@pytest.mark.parametrize("seed", range(60))
@torch.no_grad()
def test_scores_are_those_in_double_precision(seed):
    gate, x = a_gate(seed)
    x = x.contiguous(memory_format=torch.channels_last) if seed % 5 == 0 else x
    expected, found = scores_of_double(gate, x), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(found_in_cpp(gate, x))
    finally:
        torch.set_num_threads(1)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    scale = expected.abs().max().clamp(min=1)
    torch.testing.assert_close(found[0].double() / scale, expected / scale, atol=1e-5, rtol=0)
    assert torch.equal(gate.logits(x), found[0])
    assert torch.equal(gate(x), (found[0] >= 0).float())


@torch.no_grad()
def test_a_number_that_is_none_is_seen_everywhere():
    gate, x = a_gate(3)
    x[0, 0, 0, 0] = float("nan")
    assert found_in_cpp(gate, x)[0].isnan().all()
    assert not found_in_cpp(gate, x)[1:].isnan().any()


def refusals():
    x = torch.randn(2, 40, 6, 6)
    yield "a gradient", SpatialGate(40).eval(), x, True
    yield "double precision", SpatialGate(40).double().eval(), x.double(), False
    yield "a stride", SpatialGate(40, stride=2).eval(), x, False
    larger = SpatialGate(40).eval()
    larger.conv = nn.Conv2d(40, 1, 5, padding=2)
    yield "a larger kernel", larger, x, False
    around = SpatialGate(40).eval()
    around.conv.padding_mode = "circular"
    yield "another padding", around, x, False
    yield "other images", SpatialGate(39).eval(), x, False


@pytest.mark.parametrize(("gate", "x", "grad"), [pytest.param(*rest, id=name) for name, *rest in refusals()])
def test_what_it_does_not_take_is_left_to_torch(gate, x, grad):
    with torch.set_grad_enabled(grad):
        assert found_in_cpp(gate, x) is None


@torch.no_grad()
@pytest.mark.parametrize("part", ["conv", "fc"])
def test_who_looks_at_a_part_sees_it(part):
    gate, x = SpatialGate(40).eval(), torch.randn(2, 40, 6, 6)
    plain, seen = gate(x), []
    with getattr(gate, part).register_forward_hook(lambda module, args, output: seen.append(output)):
        assert torch.equal(gate(x), plain)
    assert len(seen) == 1


@torch.no_grad()
def test_a_layer_of_another_kind_is_asked_itself():
    class Doubled(nn.Conv2d):
        def forward(self, input):
            return 2 * super().forward(input)

    gate, x = SpatialGate(40).eval(), torch.randn(2, 40, 6, 6)
    gate.conv = Doubled(40, 1, 3, padding=1)
    expected = gate.conv(x) + gate.fc(x.mean((2, 3)))[..., None, None]
    torch.testing.assert_close(gate.logits(x), expected)

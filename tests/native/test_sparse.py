"""The C++ of sparse blocks is torch's branch at every gate, with the same bits for any number of threads."""

import pytest
import torch
from torch import nn

from dynconv import native
from dynconv.layers import SparseBlock
from dynconv.probe import intervene
from tests.native.geometries import a_block, branch_of, branch_of_double

pytestmark = pytest.mark.skipif(not native.available(), reason="the library is not built")


@pytest.mark.parametrize("always", [True, False], ids=["at positions", "as is faster"])
@pytest.mark.parametrize("seed", range(40))
@torch.no_grad()
def test_it_is_the_branch_in_double_precision_times_the_gate(seed, always):
    block, x, gate = a_block(seed)
    expected = branch_of_double(block, x, gate)
    torch.set_num_threads(1 + seed % 3)
    try:
        found = branch_of(block, x, gate, always)
        torch.set_num_threads(1 + (seed + 1) % 3)
        again = branch_of(block, x, gate, always)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(found, again)
    scale = expected.abs().max().clamp(min=1)
    torch.testing.assert_close(found.double() / scale, expected / scale, atol=1e-5, rtol=0)
    assert not found[(gate == 0).expand_as(found)].any()


@pytest.mark.parametrize("always", [True, False], ids=["at positions", "the first convolution everywhere"])
@pytest.mark.parametrize("neighbours", [False, True], ids=["scattered", "in a row"])
@pytest.mark.parametrize("outs", [16, 23, 40])
@torch.no_grad()
def test_any_number_of_positions_is_the_branch_where_registers_are_full_and_where_some_are_left(
    outs, neighbours, always
):
    torch.manual_seed(0)
    x, block = torch.randn(2, 67, 9, 9), SparseBlock(67, outs).eval()
    for count in range(1, 50):
        order = torch.arange(162) if neighbours else torch.randperm(162)
        gate = (order < count).float().view(2, 1, 9, 9)
        expected = branch_of_double(block, x, gate)
        torch.testing.assert_close(branch_of(block, x, gate, always).double(), expected, atol=1e-5, rtol=0)


def test_much_that_is_open_is_left_to_torch_where_that_is_faster_and_nobody_insists():
    x, block = torch.randn(1, 264, 5, 5), SparseBlock(264).eval()  # too few positions for Winograd's products
    layers = block.conv1, block.bn1, block.conv2, block.bn2
    with torch.no_grad():
        for share, always, there in ((0.0, False, True), (1.0, False, False), (1.0, True, True)):
            assert (native.skipping(x, torch.full((1, 1, 5, 5), share), *layers, always) is not None) == there


@torch.no_grad()
def test_where_most_is_open_all_positions_are_computed_and_the_closed_ones_are_zero():
    x, block, gate = torch.randn(1, 8, 12, 12), SparseBlock(8).eval(), torch.ones(1, 1, 12, 12)
    gate[..., 5:7, :] = 0
    x[..., 4, 5] = float("nan")  # reaches closed positions, too
    at_positions, everywhere = (branch_of(block, x, gate, always) for always in (True, False))
    assert not torch.equal(at_positions.nan_to_num(), everywhere.nan_to_num())  # they are rounded in other places
    torch.testing.assert_close(at_positions, everywhere, equal_nan=True)
    assert everywhere.isnan().sum() == 8 * 3 * 5
    assert not everywhere[..., 5:7, :].any()


def refusals():
    x, gate = torch.randn(2, 4, 6, 6), torch.ones(2, 1, 6, 6)
    plain, unseen = SparseBlock(4).eval(), SparseBlock(4).eval()
    unseen.bn2 = nn.BatchNorm2d(4, track_running_stats=False).eval()
    yield "a gradient", SparseBlock(4).eval(), x, gate, True
    yield "double precision", SparseBlock(4).double().eval(), x.double(), gate.double(), False
    yield "another precision of the gate", plain, x, gate.double(), False
    yield "statistics of the batch", unseen, x, gate, False
    yield "a gate of another size", plain, x, torch.ones(2, 1, 7, 6), False
    wide = SparseBlock(4).eval()
    wide.conv1 = nn.Conv2d(4, 4, 5, padding=1, bias=False)
    yield "a larger kernel", wide, x, torch.ones(2, 1, 6, 6), False
    far = SparseBlock(4).eval()
    far.conv2 = nn.Conv2d(4, 4, 3, padding=1, dilation=2, bias=False)
    yield "taps that lie apart", far, x, gate, False


@pytest.mark.parametrize(("block", "x", "gate", "grad"), [pytest.param(*rest, id=name) for name, *rest in refusals()])
def test_what_it_does_not_take_is_left_to_torch(block, x, gate, grad):
    with torch.set_grad_enabled(grad):
        assert native.skipping(x, gate, block.conv1, block.bn1, block.conv2, block.bn2, True) is None


@torch.no_grad()
def test_a_layer_of_another_kind_is_asked_itself():
    class Doubled(nn.Conv2d):
        def forward(self, input):
            return 2 * super().forward(input)

    block, x = SparseBlock(4).eval(), torch.randn(2, 4, 6, 6)
    block.conv2 = Doubled(4, 4, 3, padding=1, bias=False)
    with intervene(block, "given", attention=torch.ones(2, 1, 6, 6)):
        torch.testing.assert_close(block(x), torch.relu(x + block._everywhere(x)))


@torch.no_grad()
def test_a_number_that_is_none_opens_and_is_seen():
    block, x = SparseBlock(4).eval(), torch.randn(1, 4, 6, 6)
    gate = torch.zeros(1, 1, 6, 6)
    gate[..., 2, 3] = float("nan")
    found = branch_of(block, x, gate)
    assert found[..., 2, 3].isnan().all()
    assert found.isnan().sum() == 4

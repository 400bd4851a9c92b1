"""SpatialGate and SparseBlock: the reference's numbers, skipped and dense alike, less work, no look at values in training."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from dynconv import SparseBlock, SpatialGate
from dynconv.functional import dilate_gate, sparsity_loss
from dynconv.probe import intervene, record

GOLDEN = torch.load(Path(__file__).parents[1] / "goldens/sparse.pt", weights_only=True)


def test_reference_gate():
    golden = GOLDEN["maskunit_eval_s1"]
    gate = SpatialGate(6).eval()
    loaded = gate.load_state_dict(golden["state_dict"], strict=False)  # by the reference's names; it has no temperature
    assert (loaded.missing_keys, loaded.unexpected_keys) == (["temperature"], [])
    torch.testing.assert_close(gate.logits(golden["x"]), golden["soft"], atol=2e-5, rtol=0)
    hard = gate(golden["x"])
    assert torch.equal(hard, golden["hard"])
    assert torch.equal(dilate_gate(hard, hard.shape[2:]) > 0, golden["dilate"])
    assert (hard.sum().item(), hard.numel()) == (golden["active"], golden["total"])


@pytest.mark.parametrize("sparse", [True, False])
def test_reference_block(sparse):
    golden = GOLDEN["block_eval_basic_s1"]
    block = SparseBlock(6, sparse=sparse).eval()
    loaded = block.load_state_dict(golden["state_dict"], strict=False)
    assert (loaded.missing_keys, loaded.unexpected_keys) == (["gate.temperature"], [])
    with record(block) as seen:
        y, cost = block(golden["x"], return_cost=True)
    torch.testing.assert_close(y, golden["y"], atol=2e-5, rtol=0)
    assert torch.equal(seen["gate"].weights, golden["mask"])
    assert torch.equal(dilate_gate(golden["mask"], (8, 8)) > 0, golden["mask_dilate"])
    per_position = golden["flops_per_pos_std"], golden["flops_per_pos_dilate"]
    used = golden["mask"].sum() * per_position[0] + golden["mask_dilate"].sum() * per_position[1]
    assert (cost.used.item(), cost.total) == (used.item(), 128 * sum(per_position))


def test_the_references_name_for_the_shortcut_loads():
    block, other = SparseBlock(4, 6, stride=2), SparseBlock(4, 6, stride=2)
    names = {"shortcut.": "downsample.", "gate.conv.": "masker.maskconv.conv.", "gate.fc.": "masker.maskconv.fc."}
    state = block.state_dict()
    for ours, theirs in names.items():
        state = {k.replace(ours, theirs): v for k, v in state.items()}
    assert sum(k.startswith("downsample.") for k in state) == 6
    nn.Sequential(other).load_state_dict({f"0.{k}": v for k, v in state.items()})  # wherever it is in a model
    torch.testing.assert_close(other.state_dict(), block.state_dict(), atol=0, rtol=0)


def trained(block):
    """A block whose norms have seen something, and whose gate is open in some places."""
    for norm in (m for m in block.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    nn.init.normal_(block.gate.conv.weight)
    return block.double().eval()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 3), st.integers(1, 3), st.integers(4, 9), st.integers(4, 9), st.sampled_from([0.0, 0.1, 0.6, 1.0, None]), st.integers(0, 999)
)  # fmt: skip
def test_skipping_changes_no_value_and_no_gradient(batch, stride, height, width, share, seed):
    """Odd sizes, strides, nobody open, everybody open, gates of its own and given ones."""
    torch.manual_seed(seed)
    block = trained(SparseBlock(3, 4, stride))
    x = torch.randn(batch, 3, height, width, dtype=torch.float64, requires_grad=True)
    shape = (batch, 1, (height - 1) // stride + 1, (width - 1) // stride + 1)
    given_gate = None if share is None else (torch.rand(shape) < share).double() * 0.7  # fractions are multiplied
    results = []
    for sparse in (True, False):
        block.sparse = sparse
        if given_gate is None:
            y = block(x)
        else:
            with intervene(block, "given", attention=given_gate):
                y = block(x)
        leaves = [x, block.conv1.weight, block.bn1.bias, block.conv2.weight, block.bn2.weight]
        direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
        results.append(
            (y, torch.autograd.grad((y * direction).sum(), leaves, allow_unused=True, materialize_grads=True))
        )
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [4, 40])  # many are convolved tap by tap
def test_scores_are_a_convolution_and_a_linear_layer_of_the_means(channels, stride):
    gate, x = SpatialGate(channels, stride).double(), torch.randn(2, channels, 7, 9).double().requires_grad_()
    expected = F.conv2d(x, gate.conv.weight, gate.conv.bias, stride, padding=1)
    expected = expected + F.linear(x.mean((2, 3)), gate.fc.weight, gate.fc.bias)[..., None, None]
    found = gate.logits(x)
    torch.testing.assert_close(found, expected)
    direction, leaves = torch.randn_like(expected), [x, *gate.parameters()]
    of_found, of_expected = (torch.autograd.grad(z, leaves, direction, retain_graph=True) for z in (found, expected))
    torch.testing.assert_close(of_found, of_expected)


def test_closed_positions_cost_nothing():
    """Torch's counter against the block's own figure: exactly."""
    block, x = trained(SparseBlock(4)), torch.randn(2, 4, 9, 7, dtype=torch.float64)
    gate = torch.zeros(2, 1, 9, 7, dtype=torch.float64)
    gate[0, 0, 2, 3] = gate[0, 0, 8, 0] = 1
    counts = {}
    for sparse in (True, False):
        block.sparse = sparse
        with FlopCounterMode(display=False) as counter, torch.no_grad(), intervene(block, "given", attention=gate):
            _, cost = block(x, return_cost=True)
        with FlopCounterMode(display=False) as of_gate, torch.no_grad():
            block.gate(x)
        counts[sparse] = (counter.get_total_flops() - of_gate.get_total_flops()) // 2
    assert counts[True] == cost.used.item() == (9 + 4 + 2) * 4 * 4 * 9  # 9 and 4 neighbours of the two open ones
    assert counts[False] == cost.total


class Dispatched(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.overloadpacket._qualified_op_name)
        return function(*args, **(kwargs or {}))


def test_training_never_looks_at_a_value():
    """A meta tensor has no values: whatever would make a CPU wait for a GPU raises here."""
    block = SparseBlock(4, 6, stride=2).to("meta").train()
    y, cost = block(torch.randn(2, 4, 9, 7, device="meta"), return_cost=True)
    (y.sum() + sparsity_loss(cost.used[None], [cost.total], 0.5, 0, 10)).backward()
    for training in (True, False):
        block = SparseBlock(4, sparse=None if training else True).train(training)
        with Dispatched() as seen:
            block(torch.randn(2, 4, 9, 7))
        assert ("aten::nonzero" in seen.names) != training  # eval looks, to skip; training does not


def test_the_price_reaches_the_gate_and_training_goes_towards_the_target():
    torch.manual_seed(0)
    block, x = SparseBlock(4).train(), torch.randn(8, 4, 9, 9)
    optimizer, shares = torch.optim.Adam(block.gate.parameters(), lr=0.05), []
    for _ in range(80):
        _, cost = block(x, return_cost=True)
        loss = sparsity_loss(cost.used[None], [cost.total], target=0.3, epoch=99, num_epochs=100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shares.append((cost.used / cost.total).item())
    assert block.gate.conv.weight.grad.abs().max() > 0
    assert abs(sum(shares[-10:]) / 10 - 0.3) < 0.1 < abs(shares[0] - 0.3)


def test_errors_and_the_forced_ways():
    for build, message in (
        (lambda: SparseBlock(4, 0), "out_channels must be an integer of at least 1, got 0"),
        (lambda: SparseBlock(4, stride=0), "stride must be an integer of at least 1, got 0"),
        (lambda: SpatialGate(0), "in_channels must be an integer of at least 1, got 0"),
        (lambda: SpatialGate(4, temperature=-1), "above 0, got -1"),
        (lambda: SparseBlock(4)(torch.zeros(2, 5, 8, 8)), r"expects \(B, 4, H, W\), got \(2, 5, 8, 8\)"),
        (lambda: SparseBlock(4, sparse=True).train()(torch.zeros(2, 4, 8, 8)), "cannot be skipped in training"),
    ):
        with pytest.raises(ValueError, match=message):
            build()
    with pytest.raises(TypeError, match=r"floating point input, got torch\.int64"):
        SpatialGate(4)(torch.zeros(2, 4, 8, 8).long())


def test_without_noise_a_gate_in_training_is_its_threshold_with_a_gradient():
    gate, x = SpatialGate(4).train(), torch.randn(2, 4, 6, 6)
    assert not torch.equal(torch.cat([gate(x) for _ in range(8)]), gate(x).repeat(8, 1, 1, 1))
    gate.noise = False
    opened = gate(x)
    assert torch.equal(opened, gate(x))
    opened.sum().backward()
    assert gate.conv.weight.grad.abs().max() > 0
    assert torch.equal(opened, gate.eval()(x))

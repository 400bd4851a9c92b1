"""Gates: the reference's draws and prices, what an open position needs, and gradients that arrive."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynconv.functional import dilate_gate, gumbel_sigmoid, sparsity_loss

GOLDEN = torch.load(Path(__file__).parents[1] / "goldens/sparse.pt", weights_only=True)


def test_reference_gumbel_draw_and_its_gradient():
    golden = GOLDEN["gumbel_train_T1.0"]
    x = golden["x"].clone().requires_grad_()
    y = gumbel_sigmoid(x, golden["T"], uniforms=(golden["U1"], golden["U2"]), eps=golden["eps"])
    torch.testing.assert_close(y, golden["hard"], atol=2e-5, rtol=0)
    (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
    torch.testing.assert_close(x.grad, golden["dx"], atol=2e-4, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_exactly_one_half_opens(temperature):
    x = torch.zeros(3, requires_grad=True)
    y = gumbel_sigmoid(x, temperature, noise=False)
    assert y.tolist() == [1.0, 1.0, 1.0]
    u = torch.tensor([0.3, 0.5, 0.7])
    assert gumbel_sigmoid(x, temperature, uniforms=(u, u)).tolist() == [1.0, 1.0, 1.0]  # equal draws cancel
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((3,), 0.25 / temperature))


def test_reference_sparsity_losses():
    golden = GOLDEN["sparsity_loss"]
    masks = [[round(64 * a) / 64, f, round(64 * b) / 64, g] for a, f, b, g in golden["masks"]]
    used = torch.tensor([64 * (a * f + b * g) for a, f, b, g in masks], dtype=torch.float64)
    total = [64 * (f + g) for _, f, _, g in masks]
    for epoch, target, loss in golden["rows"].double():
        ours = sparsity_loss(used, total, target.item(), epoch.item(), golden["num_epochs"])
        torch.testing.assert_close(ours, loss, atol=2e-5, rtol=0)


def test_gradients_of_the_loss_and_of_the_soft_gate():
    used = torch.tensor([30.0, 80.0, 10.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u: sparsity_loss(u, [100, 90, 40], 0.3, 5, 100), used)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    uniforms = torch.rand(2, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: gumbel_sigmoid(z, 0.7, hard=False, uniforms=tuple(uniforms)), x)
    hard, soft = (
        torch.autograd.grad(gumbel_sigmoid(x, 0.7, hard=h, uniforms=tuple(uniforms)).sum(), x)[0] for h in (True, False)
    )
    torch.testing.assert_close(hard, soft)


def test_draws_repeat_from_their_seed_and_follow_the_sigmoid():
    draw = [gumbel_sigmoid(torch.full((20000,), 1.0), generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    # P(z + g1 - g2 >= 0) is sigmoid(z), because g1 - g2 is logistic
    assert draw[0].mean().item() == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item(), abs=0.01)
    assert gumbel_sigmoid(torch.randn(1000) * 50, 1e-3).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_draws_are_finite_and_have_gradients(dtype):
    """Half precision has no 1e-8 and draws exact zeros: the noise would be infinite, and NaN where both draws are 0."""
    zero = torch.zeros(4, dtype=dtype)
    for pair in ((zero, zero), (zero, zero + 1), (zero + 1, zero)):
        for hard in (False, True):
            assert gumbel_sigmoid(zero, hard=hard, uniforms=pair).isfinite().all()
    torch.testing.assert_close(gumbel_sigmoid(zero, hard=False, uniforms=(zero, zero)), zero + 0.5)
    logits = torch.zeros(200_000, dtype=dtype, requires_grad=True)
    soft = gumbel_sigmoid(logits, hard=False)
    assert soft.dtype == dtype
    assert soft.mean().item() == pytest.approx(0.5, abs=0.01)
    soft.sum().backward()
    assert (logits.grad > 0).all()  # also where s rounds to 0 or 1
    wide = gumbel_sigmoid(logits.detach().float(), 0.7, hard=False, uniforms=(torch.rand(200_000), torch.rand(200_000)))
    assert wide.dtype == torch.float32


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(1, 2), st.integers(5, 9), st.integers(5, 9), st.integers(0, 999)
)  # fmt: skip
def test_dilation_is_what_open_outputs_need(kernel, stride, padding, dilation, height, width, seed):
    """By the loop that defines it: any kernel, stride, padding; odd and even sizes."""
    out = [(n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for n in (height, width)]
    if min(out) < 1:
        return
    gate = (torch.rand(2, 1, *out, generator=torch.Generator().manual_seed(seed)) < 0.2).double()
    expected = torch.zeros(2, 1, height, width, dtype=torch.float64)
    for b, _, i, j in gate.nonzero().tolist():
        for s in range(kernel):
            for t in range(kernel):
                y, x = i * stride - padding + s * dilation, j * stride - padding + t * dilation
                if 0 <= y < height and 0 <= x < width:
                    expected[b, 0, y, x] = 1
    assert torch.equal(dilate_gate(gate, (height, width), kernel, stride, padding, dilation), expected)


def test_the_cost_of_dilated_positions_has_a_gradient():
    logits = torch.randn(1, 1, 6, 6, requires_grad=True)
    gate = gumbel_sigmoid(logits, noise=False)
    dilate_gate(gate, (6, 6)).sum().backward()  # a boolean mask would cut this
    assert logits.grad.abs().sum() > 0
    assert (logits.grad >= 0).all()  # opening never makes it cheaper


def test_errors():
    for call, message in (
        (lambda: gumbel_sigmoid(torch.zeros(2), 0), "above 0, got 0"),
        (lambda: gumbel_sigmoid(torch.zeros(2), float("nan")), "above 0, got nan"),
        (lambda: gumbel_sigmoid(torch.zeros(2), uniforms=(torch.zeros(3), torch.zeros(2))), r"got \[\(3,\), \(2,\)\]"),
        (lambda: dilate_gate(torch.zeros(2, 3, 4, 4), (4, 4)), r"gate must be \(B, 1, H', W'\), got \(2, 3, 4, 4\)"),
        (lambda: sparsity_loss(torch.ones(2), [1, 1], 1.5, 0, 10), "target must be between 0 and 1, got 1.5"),
        (lambda: sparsity_loss(torch.ones(2), [1, 1], 0.5, -1, 10), "got -1 and 10"),
        (lambda: sparsity_loss(torch.ones(2), [1, 1], 0.5, 0, 0), "got 0 and 0"),
        (lambda: sparsity_loss(torch.ones(2), [1], 0.5, 0, 10), r"got \(2,\) and \(1,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match=r"floating point, got torch\.int64"):
        gumbel_sigmoid(torch.zeros(2).long())

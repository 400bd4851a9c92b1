"""ILN and AdaLIN: torch's norms at the ends of rho, the definition between them, and every error."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dynconv.functional.normalization import adaptive_layer_instance_norm, layer_instance_norm

CASES = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def inputs(draw):
    """x of any number of spatial dimensions, rho, and gamma and beta for each image."""
    batch, channels = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    sizes = [draw(st.integers(2, 5)) for _ in range(draw(st.integers(1, 3)))]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    shapes = ((batch, channels, *sizes), (batch, channels), (batch, channels))
    x, gamma, beta = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return x, torch.rand(channels, generator=generator, dtype=torch.float64), gamma, beta


def by_the_definition(x, rho, gamma, beta, eps, correction):
    """Image by image and channel by channel, with torch.var."""
    y = torch.empty_like(x)
    for b, image in enumerate(x):
        layer = (image - image.mean()) / (image.var(correction=correction) + eps).sqrt()
        for c, values in enumerate(image):
            instance = (values - values.mean()) / (values.var(correction=correction) + eps).sqrt()
            y[b, c] = gamma[b, c] * (rho[c] * instance + (1 - rho[c]) * layer[c]) + beta[b, c]
    return y


@CASES
@given(inputs())
def test_rho_1_is_instance_norm_and_rho_0_is_layer_norm(case):
    x, _, gamma, beta = case
    scale, shift = (v.reshape(*v.shape, *[1] * (x.ndim - 2)) for v in (gamma, beta))
    for rho, norm in ((1.0, F.instance_norm(x)), (0.0, F.layer_norm(x, x.shape[1:]))):
        torch.testing.assert_close(layer_instance_norm(x, rho, correction=0), norm)
        rho = torch.full((x.shape[1],), rho, dtype=x.dtype)
        y = adaptive_layer_instance_norm(x, rho, gamma, beta, correction=0)
        torch.testing.assert_close(y, norm * scale + shift)


@CASES
@given(inputs(), st.sampled_from([0, 1]), st.sampled_from([1e-5, 0.1]))
def test_both_are_the_definition_in_values_and_gradients(case, correction, eps):
    leaves = [t.requires_grad_() for t in case]
    x, rho, gamma, beta = leaves
    direction = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)
    y, expected = (
        function(x, rho, gamma, beta, eps=eps, correction=correction)
        for function in (adaptive_layer_instance_norm, by_the_definition)
    )
    torch.testing.assert_close(y, expected)
    ours, theirs = (torch.autograd.grad((t * direction).sum(), leaves) for t in (y, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    shared = layer_instance_norm(x, rho, gamma[0], beta[0], eps, correction)
    one_row = (v[:1].expand(len(x), -1) for v in (gamma, beta))
    torch.testing.assert_close(shared, by_the_definition(x, rho, *one_row, eps, correction))


@CASES
@given(inputs(), st.integers(0, 2))
def test_an_image_does_not_depend_on_its_batch(case, index):
    x, rho, gamma, beta = case
    b = slice(index % len(x), index % len(x) + 1)
    whole = adaptive_layer_instance_norm(x, rho, gamma, beta)
    torch.testing.assert_close(whole[b], adaptive_layer_instance_norm(x[b], rho, gamma[b], beta[b]))


def test_parameters_of_either_shape_and_rho_as_a_number():
    x, rho, gamma, beta = torch.randn(2, 3, 4, 4), *torch.rand(3, 3)
    expected = layer_instance_norm(x, rho, gamma, beta)
    stored = (v.reshape(1, 3, 1, 1) for v in (rho, gamma, beta))
    torch.testing.assert_close(layer_instance_norm(x, *stored), expected)
    same = layer_instance_norm(x, torch.full((3,), 0.25))
    torch.testing.assert_close(layer_instance_norm(x, 0.25), same)
    torch.testing.assert_close(layer_instance_norm(x, torch.tensor(0.25)), same)


def test_half_precision_is_computed_in_float32():
    x = torch.randn(2, 3, 16, 16) + 20  # in bfloat16 the variance around a mean of 20 would be lost
    y = layer_instance_norm(x.bfloat16(), 0.5)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer_instance_norm(x.bfloat16().float(), 0.5), atol=0.02, rtol=0.01)


def test_empty_batches_and_constant_images():
    assert layer_instance_norm(torch.zeros(0, 3, 4, 4), 0.5).shape == (0, 3, 4, 4)
    flat = torch.full((2, 3, 4, 4), 7.0, requires_grad=True)
    y = layer_instance_norm(flat, 0.5)
    torch.testing.assert_close(y, torch.zeros_like(y))
    assert torch.autograd.grad(y.sum(), flat)[0].isfinite().all()


def test_one_position_is_layer_norm_alone_without_correction():
    x = torch.randn(2, 6, 1, 1)
    torch.testing.assert_close(layer_instance_norm(x, 0.0, correction=0), F.layer_norm(x, x.shape[1:]))


# -------------------------------------------------------------------------------------------------------------- errors


X, ROW, ROWS = torch.zeros(2, 3, 4, 4), torch.zeros(3), torch.zeros(2, 3)
BAD = {
    "no spatial size": ({"x": X[..., 0, 0]}, ValueError, r"x must be \(B, C, \*spatial\), got \(2, 3\)"),
    "integers": ({"x": X.int()}, TypeError, "x must be floating point, got torch.int32"),
    "one position": ({"x": X[..., :1, :1]}, ValueError, r"variance of 1 position.* correction=1, got .*\(2, 3, 1, 1\)"),
    "no position": ({"x": X[..., :0]}, ValueError, r"variance of 0 position"),
    "rho for others": (
        {"rho": torch.zeros(4)},
        ValueError,
        r"rho must be \(C,\) = \(3,\) or \(1, 3, 1, 1\).*got \(4,\)",
    ),
    "rho per image": ({"rho": ROWS}, ValueError, r"rho must be .* got \(2, 3\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    changes, error, message = BAD[case]
    with pytest.raises(error, match=message):
        layer_instance_norm(**{"x": X, "rho": 0.5, **changes})
    with pytest.raises(error, match=message):
        adaptive_layer_instance_norm(**{"x": X, "rho": 0.5, "gamma": ROWS, "beta": ROWS, **changes})


def test_scales_of_the_wrong_shape_are_named():
    for name in ("gamma", "beta"):
        with pytest.raises(ValueError, match=rf"{name} must be \(C,\) = \(3,\).*got \(2, 3\)"):
            layer_instance_norm(X, 0.5, **{name: ROWS})
        with pytest.raises(ValueError, match=rf"{name} must be \(B, C\) = \(2, 3\), one row an image, got \(3,\)"):
            adaptive_layer_instance_norm(X, 0.5, **{"gamma": ROWS, "beta": ROWS, name: ROW})

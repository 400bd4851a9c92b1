"""Class activation maps: identities in float64 over random shapes, gradients, and every error."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynconv.functional.cam import auxiliary_classifier_loss, class_activation_map, grad_cam, normalize_map

CASES = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def heads(draw):
    """Features of any number of spatial dimensions, a linear classifier, and a class for each image."""
    batch, channels, classes = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    shapes = ((batch, channels, *sizes), (classes, channels), (classes,))
    features, weight, bias = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return features, weight, bias, [draw(st.integers(0, classes - 1)) for _ in range(batch)]


def pooled(features):
    return features.flatten(2).mean(2)


@CASES
@given(heads())
def test_spatial_mean_plus_bias_is_the_logit(head):
    features, weight, bias, _ = head
    maps = class_activation_map(features, weight)
    assert maps.shape == (len(features), len(weight), *features.shape[2:])
    torch.testing.assert_close(pooled(maps) + bias, pooled(features) @ weight.T + bias)


@CASES
@given(heads())
def test_every_kind_of_class_index_picks_that_map(head):
    features, weight, _, classes = head
    maps = class_activation_map(features, weight)
    own = torch.stack([maps[b, k] for b, k in enumerate(classes)])
    for index in (classes, tuple(classes), torch.tensor(classes), torch.tensor(classes, dtype=torch.uint8)):
        torch.testing.assert_close(class_activation_map(features, weight, index), own)
    for index in (classes[0], np.int64(classes[0]), torch.tensor(classes[0])):
        torch.testing.assert_close(class_activation_map(features, weight, index), maps[:, classes[0]])


@CASES
@given(heads())
def test_gradients_are_those_of_a_loop(head):
    features, weight, _, classes = head
    leaves = [features.requires_grad_(), weight.requires_grad_()]
    loop = torch.stack(
        [
            torch.stack([sum(w[c] * image[c] for c in range(len(w))) for w in weight])  # one map a class
            for image in features
        ]
    )
    maps = class_activation_map(features, weight)
    direction = torch.linspace(-1, 1, maps.numel(), dtype=maps.dtype).reshape(maps.shape)
    ours, loops = (torch.autograd.grad((y * direction).sum(), leaves, retain_graph=True) for y in (maps, loop))
    torch.testing.assert_close(maps, loop)
    torch.testing.assert_close(ours, loops)
    own = class_activation_map(features, weight, classes)
    picked = torch.stack([loop[b, k] for b, k in enumerate(classes)])
    ours, loops = (torch.autograd.grad(y.square().sum(), leaves, retain_graph=True) for y in (own, picked))
    torch.testing.assert_close(ours, loops)


@CASES
@given(heads())
def test_grad_cam_of_a_pooled_linear_head_is_relu_cam_over_positions(head):
    features, weight, bias, classes = head
    features.requires_grad_()
    logits, positions = pooled(features) @ weight.T + bias, features[0, 0].numel()
    for index in (classes, classes[0]):
        expected = torch.relu(class_activation_map(features, weight, index)) / positions
        torch.testing.assert_close(grad_cam(features, logits, index), expected.detach())


def test_grad_cam_of_any_head_image_by_image():
    head = torch.nn.Sequential(torch.nn.Conv2d(4, 6, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(54, 3))
    features, classes = torch.randn(3, 4, 5, 5), [2, 0, 1]
    together = grad_cam(features.requires_grad_(), head(features), classes)
    assert together.max() > 0
    for b, k in enumerate(classes):
        alone = features[b].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(head(alone[None])[0, k], alone)
        expected = torch.relu(sum(gradient[c].mean() * alone[c] for c in range(4)))
        torch.testing.assert_close(together[b], expected.detach(), atol=1e-6, rtol=1e-5)


def test_empty_batches():
    features, weight = torch.randn(0, 4, 5, 5, requires_grad=True), torch.randn(3, 4)
    assert class_activation_map(features, weight).shape == (0, 3, 5, 5)
    assert class_activation_map(features, weight, 2).shape == (0, 5, 5)
    assert class_activation_map(features, weight, []).shape == (0, 5, 5)
    assert grad_cam(features, pooled(features) @ weight.T, 2).shape == (0, 5, 5)
    assert normalize_map(features).shape == (0, 4, 5, 5)


def test_a_class_index_tensor_compiles_without_a_look_at_its_values():
    features, weight, index = torch.randn(2, 4, 5, 5), torch.randn(3, 4), torch.tensor([2, 0])
    compiled = torch.compile(class_activation_map, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(features, weight, index), class_activation_map(features, weight, index))


def test_a_class_index_tensor_elsewhere_is_not_looked_at():
    features, weight = torch.zeros(2, 4, 5, 5, device="meta"), torch.zeros(3, 4, device="meta")
    index = torch.zeros(2, dtype=torch.long, device="meta")  # a meta tensor has no values: any look at them raises
    assert class_activation_map(features, weight, index).shape == (2, 5, 5)


# ------------------------------------------------------------------------------------------------------ normalised map


@CASES
@given(heads(), st.floats(-50, 50), st.floats(0.1, 100))
def test_normalised_maps_span_0_to_1_and_ignore_shift_and_scale(head, shift, scale):
    maps, n = head[0], head[0].ndim - 2
    normalised = normalize_map(maps, n).flatten(2)
    torch.testing.assert_close(normalize_map(maps * scale + shift, n).flatten(2), normalised, atol=1e-10, rtol=1e-10)
    assert (normalised.amin(2) == 0).all()
    torch.testing.assert_close(normalised.amax(2), torch.full_like(normalised[..., 0], float(maps[0, 0].numel() > 1)))


@pytest.mark.parametrize("value", [0.0, 3.0, -1e30])
def test_a_constant_map_is_zero_not_nan(value):
    maps = torch.stack([torch.full((4, 4), value), torch.arange(16.0).reshape(4, 4)]).requires_grad_()
    normalised = normalize_map(maps)
    assert (normalised[0] == 0).all()
    torch.testing.assert_close(normalised[1], torch.arange(16.0).reshape(4, 4) / 15)  # the other map is untouched
    assert torch.autograd.grad(normalised.square().sum(), maps)[0].isfinite().all()


# ---------------------------------------------------------------------------------------------------------------- loss


def test_losses_are_zero_when_right_and_their_formulas_elsewhere():
    sure = torch.full((2, 2), 30.0, dtype=torch.float64)
    assert auxiliary_classifier_loss(sure, -sure) < 1e-12
    assert auxiliary_classifier_loss(torch.ones(2, 2), torch.zeros(2, 2), "mse") == 0
    a, b = torch.randn(3, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    bce = -torch.log(torch.sigmoid(a)).mean() - torch.log(1 - torch.sigmoid(b)).mean()
    torch.testing.assert_close(auxiliary_classifier_loss(a, b, "bce"), bce)
    torch.testing.assert_close(auxiliary_classifier_loss(a, b, "mse"), (a - 1).square().mean() + b.square().mean())


# -------------------------------------------------------------------------------------------------------------- errors


F, W = torch.zeros(2, 4, 5, 5), torch.zeros(3, 4)
BAD = {
    "no spatial size": ({"features": F[..., 0, 0]}, ValueError, r"features must be \(B, C, \*spatial\), got \(2, 4\)"),
    "integers": ({"features": F.int()}, TypeError, "features must be floating point, got torch.int32"),
    "other channels": ({"weight": torch.zeros(3, 5)}, ValueError, r"C = 4 feature channels, got \(3, 5\)"),
    "one weight": ({"weight": W[0]}, ValueError, r"weight must be .* got \(4,\)"),
    "class too large": ({"class_index": 3}, ValueError, "class_index must be 0 to 2 for 3 classes, got 3"),
    "class below zero": ({"class_index": -1}, ValueError, "0 to 2 for 3 classes, got -1"),
    "one of many": ({"class_index": [0, 7]}, ValueError, "got 7"),
    "one of a tensor": ({"class_index": torch.tensor([0, 9])}, ValueError, "got 9"),
    "too many classes": (
        {"class_index": [0, 1, 2]},
        ValueError,
        r"one class or 2, one an image, got a shape of \(3,\)",
    ),
    "a matrix of classes": ({"class_index": torch.zeros(2, 1, dtype=torch.long)}, ValueError, r"shape of \(2, 1\)"),
    "fractions": ({"class_index": [0.5, 1]}, TypeError, r"class_index must hold integers, got \[0.5, 1\]"),
    "a float tensor": ({"class_index": torch.zeros(2)}, TypeError, "integers, got torch.float32"),
    "a mask": ({"class_index": torch.tensor([True, False])}, TypeError, "integers, got torch.bool"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    changes, error, message = BAD[case]
    with pytest.raises(error, match=message):
        class_activation_map(**{"features": F, "weight": W, "class_index": None, **changes})


def test_bad_arguments_of_grad_cam():
    features = F.clone().requires_grad_()
    logits = pooled(features) @ W.T
    for arguments, message in (
        ((features, logits[:1], 0), r"logits must be \(B, classes\) with B = 2, got \(1, 3\)"),
        ((features, logits, 3), "for 3 classes, got 3"),
        ((F, logits, 0), "features that require gradients"),
        ((features, logits.detach(), 0), "with gradients on"),
        ((features, torch.zeros(2, 3, requires_grad=True), 0), "got logits they have no part in"),
    ):
        with pytest.raises(ValueError, match=message):
            grad_cam(*arguments)


def test_bad_maps_and_losses():
    with pytest.raises(TypeError, match=r"maps must be floating point, got torch.uint8"):
        normalize_map(F.byte())
    for maps, dims in ((F, 5), (F, 0), (F[..., :0], 2)):
        with pytest.raises(ValueError, match=rf"maps must end in spatial_dims={dims} sizes of at least 1, got \(2,"):
            normalize_map(maps, dims)
    with pytest.raises(ValueError, match=r"kind must be one of 'bce', 'mse', got 'hinge'"):
        auxiliary_classifier_loss(F, F, "hinge")

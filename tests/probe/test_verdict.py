"""The verdict gives, for every row of the course's table, that row's answers: all of them measured."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dynconv as d
from dynconv.functional import dynamic_conv
from dynconv.probe import best_convolution, verdict
from tests.probe.verdict_zoo import C, images


def static(temperature=1.0):
    layer = d.StaticMixConv2d(C, 3, 3, padding=1, num_kernels=4, temperature=temperature)
    nn.init.normal_(layer.attention.logits, std=temperature)
    return layer


def sparse():
    block = d.SparseBlock(C)
    nn.init.normal_(block.gate.conv.weight)  # open in some places, closed in others
    return block


YES, NO, NONE = True, False, None
TABLE = {  # system: module, the same for every image?, at every position?, convex?, folds?
    "plain conv": (lambda: nn.Conv2d(C, 3, 3, padding=1), YES, YES, NONE, YES),
    "softmax mix of K conv outputs": (static, YES, YES, YES, YES),
    "the same with a temperature": (lambda: static(30.0), YES, YES, YES, YES),
    "Squeeze-and-Excitation": (lambda: d.SqueezeExcitation(C, reduction=1), NO, YES, NO, NO),
    "dynamic convolution": (
        lambda: d.DynamicConv2d(C, 3, 3, padding=1, reduction=1, temperature=1.0),
        NO,
        YES,
        YES,
        NO,
    ),
    "CondConv": (lambda: d.CondConv2d(C, 3, 3, padding=1), NO, YES, NO, NO),
    "ODConv": (lambda: d.ODConv2d(C, 3, 3, padding=1), NO, YES, NO, NO),
    "CAM": (lambda: d.CAMHead(C, 5), YES, NONE, NO, NONE),
    "U-GAT-IT attention": (lambda: d.CAMAttention(C), YES, YES, NO, NO),
    "U-GAT-IT attention before its ReLU": (lambda: d.CAMAttention(C, activation="none"), YES, YES, NO, YES),
    "spatially sparse": (sparse, NO, NO, NO, NO),
}


@pytest.mark.parametrize("system", TABLE)
def test_each_row_of_the_table(system):
    build, *expected = TABLE[system]
    torch.manual_seed(0)
    module = build().train()
    v = verdict(module, images())
    print(v)
    assert [v.same_for_every_image, v.same_at_every_position, v.convex, v.folds] == expected
    assert all(m.training for m in module.modules())  # it was measured in eval mode, and given back
    if v.folds:
        assert v.fold_error < 1e-5
    if v.folds is False:
        assert v.fold_error > 1e-3


def test_what_is_said_is_measured_on_the_dynamic_layer():
    torch.manual_seed(0)
    layer, x = d.DynamicConv2d(C, 3, 3, padding=1, reduction=1, temperature=1.0), images()
    v, pi = verdict(layer, x), layer.attention(x)
    assert v.image_variation == pytest.approx((pi.std(0, correction=0).max() / pi.max()).item(), rel=1e-4)
    assert v.image_fit_error < 1e-5 < 1e-3 < v.fold_error  # one convolution for each image, not one for all
    uniform = dynamic_conv(x, layer.weight, torch.full_like(pi, 0.25), layer.bias, padding=1)
    y = layer(x)
    assert v.interventions["uniform"] == pytest.approx(((uniform - y).norm() / y.norm()).item(), rel=1e-3)
    assert v.interventions["shuffled"] > 0.01


def test_cam_maps_differ_although_the_weights_do_not():
    head, x = d.CAMHead(C, 5), images()
    assert verdict(head, x).same_for_every_image
    maps = head.maps(x, class_index=2)
    assert (maps[0] - maps[1]).abs().max() > 0.1


def test_attention_may_vary_without_mattering():
    torch.manual_seed(0)
    layer = d.DynamicConv2d(C, 3, 3, reduction=1, temperature=1.0)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:1].expand_as(layer.weight))
        layer.bias.copy_(layer.bias[:1].expand_as(layer.bias))
    v = verdict(layer, images())
    assert not v.same_for_every_image
    assert v.folds
    assert max(v.interventions.values()) < 1e-5


def test_functions_are_judged_by_their_behaviour():
    torch.manual_seed(0)
    x, weight = images(), torch.randn(4, 3, C, 3, 3)
    pi = torch.softmax(torch.randn(4), 0)

    def question(x):  # K convolutions, softmax, weighted sum: as it was asked
        return sum(p * nn.functional.conv2d(x, w) for p, w in zip(pi, weight, strict=True))

    def attentive(x):
        return dynamic_conv(x, weight, torch.softmax(x.mean((2, 3)), 1))

    def gated(x):
        return question(x) * (x[:, :1, 1:-1, 1:-1] > 0)

    answers = [
        (v.same_for_every_image, v.same_at_every_position, v.folds)
        for v in (verdict(f, x) for f in (question, attentive, gated))
    ]
    assert answers == [(True, True, True), (False, True, False), (False, False, False)]


@pytest.mark.parametrize(
    ("conv", "size"),
    [
        (nn.Conv1d(2, 3, 5, padding=2), (40,)),
        (nn.Conv2d(2, 3, 3, stride=2, padding=1), (21, 22)),
        (nn.Conv2d(2, 3, (3, 1), padding="same", dilation=2), (16, 15)),
        (nn.Conv2d(2, 4, 2, stride=2, groups=2), (16, 16)),
        (nn.Conv3d(2, 3, 3), (8, 7, 9)),
        (d.StaticMixConv2d(2, 3, 3, stride=2, padding="same"), (21, 22)),  # pads by the size: 1 and 1, 0 and 1
    ],
    ids=str,
)
def test_any_convolution_is_found_to_be_one(conv, size):
    x = torch.randn(5, 2, *size)
    assert verdict(conv, x).folds


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 3, 1),
        nn.Conv2d(2, 3, 3, stride=2, padding=1),
        nn.Conv2d(2, 3, 5),
        nn.Conv2d(2, 3, (3, 5), padding=2),
    ],
    ids=str,
)
def test_a_convolution_behind_a_function_is_found_without_knowing_its_geometry(conv):
    assert verdict(lambda x: conv(x), torch.randn(5, 2, 24, 23)).folds


def test_best_convolution_recovers_kernel_and_bias():
    conv, x = nn.Conv2d(3, 4, 3, stride=2, padding=1).double(), torch.randn(4, 3, 17, 18).double()
    weight, bias, error = best_convolution(x, conv(x).detach(), (3, 3), stride=(2, 2), padding=(1, 1))
    torch.testing.assert_close(weight, conv.weight.detach(), atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(bias, conv.bias.detach(), atol=1e-8, rtol=1e-6)
    assert error < 1e-10
    with pytest.raises(ValueError, match="no kernel of size"):
        best_convolution(x, x, (40, 40))


def test_few_positions_are_enough_where_impulses_can_be_sent():
    v = verdict(nn.Conv2d(8, 3, 3), torch.randn(2, 8, 5, 5))  # 18 equations of the batch, 73 unknowns
    assert v.folds
    small = verdict(nn.Conv2d(C, C, 3, padding=1), torch.randn(2, C, 2, 2))
    assert small.folds is None
    assert "too small to tell" in small.fold.reason


def test_repr_and_html_say_the_answers():
    v = verdict(static(), images())
    lines = [line.split("  (")[0].split() for line in repr(v).splitlines()]
    assert [*["the", "same", "for", "every", "image?", "yes"]] in lines
    assert [*["folds", "into", "one", "plain", "conv?", "yes"]] in lines
    html = v._repr_html_()
    assert html.count("<tr>") == len(v.rows())
    assert "<caption>Verdict on StaticMixConv2d</caption>" in html
    assert html.count("<svg") == 2  # the kernel, and what it leaves over
    assert 'role="img" aria-label="best kernel' in html
    assert "currentColor" in html  # readable on light and dark
    assert "&lt;lambda&gt;" in verdict(lambda x: 2 * x, images())._repr_html_()


def test_the_kernel_that_is_read_is_the_folded_one():
    layer = static()
    v = verdict(layer, images())
    torch.testing.assert_close(v.kernel.float(), layer.fold().weight.detach(), atol=1e-5, rtol=1e-4)
    assert v.residual.abs().max() < 1e-4


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: F.dropout(x, training=True), "different at every call"),
        (lambda x: F.batch_norm(x, None, None, training=True), "depends on the other images of the batch"),
        (lambda x: x * (x.mean() > 0), "depends on the other images of the batch"),  # a hard gate over all of them
    ],
)
def test_chance_and_neighbours_are_answers_of_their_own(function, name):
    v = verdict(function, images())
    assert v.same_for_every_image is v.same_at_every_position is None
    assert (v.folds, v.image.name, v.fold.name) == (False, name, name)


def test_static_and_linear_but_not_one_small_convolution():
    v = verdict(nn.ConvTranspose2d(C, 3, 3, stride=2), images())
    assert str(v.fold) == "no: static and linear, but not one small convolution"
    assert v.fold.reason.startswith("moving the image by 1 moves the output by 2")


def test_linear_on_these_images_only_is_said():
    v = verdict(nn.ReLU(), images().abs())
    assert v.fold_error < 1e-6  # it fits the batch
    assert v.folds is False
    assert "linear between these images" in v.fold.reason


def test_recorded_weights_do_not_overrule_behaviour():
    torch.manual_seed(0)
    v = verdict(d.UGATITGenerator(width=4, num_blocks=1), images(16, 3))
    assert v.image_variation == 0  # the attention's weights are parameters …
    assert v.same_for_every_image is False  # … but γ and β are not
    assert "beside these the image decides" in v.image.reason


def test_weights_that_the_user_names():
    score = torch.randn(C, C)

    def gates(function, x):
        return x.mean((2, 3)) @ score

    v = verdict(lambda x: x * gates(None, x)[:, :, None, None], images(), weights=gates)
    assert v.weights == ("weights (6, 4), named by you",)
    assert v.same_for_every_image is False
    assert v.image_variation == pytest.approx(
        (g := gates(None, images())).std(0, correction=0).max().item() / g.abs().max().item()
    )
    with pytest.raises(TypeError, match="must return a floating point tensor"):
        verdict(nn.ReLU(), images(), weights=lambda m, x: 1)


def test_seen_weights_are_named_by_their_layer():
    from torchvision.ops import SqueezeExcitation

    torch.manual_seed(0)
    v = verdict(nn.Sequential(nn.Conv2d(C, C, 3), SqueezeExcitation(C, C)), images())
    assert v.weights == ("1: sigmoid (6, 4, 1, 1)",)
    assert v.interventions["shuffled"] > 0.01
    assert v.convex is False


def test_the_gradient_is_an_image_s():
    torch.manual_seed(0)
    layer, x = d.SqueezeExcitation(C, reduction=1), images()
    both = verdict(layer, torch.cat([x, x])).image_gradient
    assert both == pytest.approx(verdict(layer, x).image_gradient, rel=1e-4)  # more images, no more gradient
    one = d.DynamicConv2d(1, 1, 1, num_kernels=2, temperature=1.0).double()
    x = torch.randn(3, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(1, 2, generator=torch.Generator().manual_seed(0)).double()
    expected = []
    for image in x:
        pi = one.attention(image[None])
        (gradient,) = torch.autograd.grad((pi * direction / direction.norm()).sum(), x, retain_graph=True)
        expected.append((gradient.norm() * image.norm() / pi.norm()).item())
    assert verdict(one, x.detach()).image_gradient == pytest.approx(sum(expected) / 3)


def test_nothing_is_left_behind():
    module, x = nn.Sequential(nn.Conv2d(C, C, 3), nn.BatchNorm2d(C), nn.ReLU(inplace=True)).train(), images()
    state, before, drawn = {k: v.clone() for k, v in module.state_dict().items()}, x.clone(), torch.get_rng_state()
    v = verdict(module, x)
    assert v.notes == ("measured in eval mode, though it was in train mode",)
    assert all(m.training and not m._forward_hooks and not m._forward_pre_hooks for m in module.modules())
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), drawn)
    verdict(nn.Sequential(nn.ReLU(inplace=True), d.SqueezeExcitation(C)), x)
    assert torch.equal(x, before)


def test_identical_and_constant_batches_are_told_apart_from_answers():
    torch.manual_seed(0)
    v = verdict(d.DynamicConv2d(C, 3, 3, reduction=1, temperature=1.0), images()[:1].repeat(4, 1, 1, 1))
    assert v.image_variation < 1e-6
    assert v.same_for_every_image is False
    assert "the images are identical" in " ".join(v.notes)
    assert "the images are constant" in " ".join(verdict(nn.ReLU(), torch.ones(3, C, 8, 8)).notes)


BAD = {
    "dict": (
        lambda x: {"out": x},
        TypeError,
        r"returns a dict of 'out'; wrap it: verdict\(lambda x: .*\['out'\], batch\)",
    ),
    "None": (lambda x: None, TypeError, "returns None; it must return the tensor"),
    "numpy": (lambda x: x.numpy(), TypeError, r"returns a numpy array; wrap it: verdict\(lambda x: torch.from_numpy"),
    "list of strings": (lambda x: ["a"], TypeError, "returns str; it must return a tensor"),
    "classes": (lambda x: x.argmax(1), TypeError, r"returns torch.int64; only real floating point can be judged"),
    "NaN": (lambda x: (x - 100).log(), ValueError, "gives NaN or infinity in 13824 of 13824 values"),
    "one number": (lambda x: x.mean(), ValueError, "has not one row an image"),
    "sizes": (
        nn.Conv2d(3, 3, 3),
        ValueError,
        r"Conv2d cannot take a batch \(6, 4, 24, 24\), images \(B, C, \*spatial\): ",
    ),
    "inputs": (
        nn.Bilinear(3, 3, 3),
        TypeError,
        r"needs 2 inputs \(input1, input2\).*verdict\(lambda input1: Bilinear\(input1, input2=input2\), batch\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_judged_is_said_in_a_sentence(name):
    function, error, words = BAD[name]
    with pytest.raises(error, match=words):
        verdict(function, images())


@pytest.mark.parametrize("function", [nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3).forward, nn.Conv2d(3, 3, 3).forward])
def test_a_missing_batch_dimension_is_noticed(function):
    with pytest.raises(ValueError, match=r"stack several images|batch dimension"):
        verdict(function, torch.randn(3, 16, 16))


def test_bad_batches():
    with pytest.raises(ValueError, match=r"at least 2 images .* got \(1, 4, 8, 8\)"):
        verdict(nn.Conv2d(4, 4, 3), torch.zeros(1, 4, 8, 8))
    with pytest.raises(TypeError, match=r"floating point, got torch\.uint8"):
        verdict(nn.Conv2d(4, 4, 3), torch.zeros(2, 4, 8, 8, dtype=torch.uint8))
    with pytest.raises(TypeError, match="batch must be a tensor, got list"):
        verdict(nn.Conv2d(4, 4, 3), [1, 2])
    with pytest.raises(TypeError, match=r"got a numpy array: torch\.from_numpy\(batch\)"):
        verdict(nn.Conv2d(4, 4, 3), torch.zeros(2, 4, 8, 8).numpy())
    with pytest.raises(ValueError, match="must be finite, got 2 values that are NaN or infinite"):
        verdict(nn.Conv2d(1, 4, 1), torch.tensor([1.0, torch.nan, torch.inf, 2.0]).reshape(2, 1, 2, 1))
    with pytest.raises(ValueError, match=r"must hold values, got .* on meta"):
        verdict(nn.Conv2d(4, 4, 3), torch.zeros(2, 4, 8, 8, device="meta"))

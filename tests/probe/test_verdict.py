"""The verdict gives, for every row of the course's table, that row's answers: all of them measured."""

import pytest
import torch
from torch import nn

import dynconv as d
from dynconv.functional import dynamic_conv
from dynconv.probe import best_convolution, verdict

C = 4


def images():
    """Images that differ in more than noise: in the brightness of each channel, from place to place too."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, C, 24, 24, generator=generator) + 2 * torch.randn(6, C, 1, 1, generator=generator)
    return x * torch.linspace(0.2, 1.8, 24)


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
    assert answers == [(True, True, True), (False, True, False), (None, False, False)]


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


def test_too_few_positions_are_no_evidence():
    v = verdict(nn.Conv2d(8, 3, 3), torch.randn(2, 8, 5, 5))  # 18 equations, 73 unknowns: anything would fit
    assert v.folds is None
    assert v.fold_error is None


def test_repr_and_html_say_the_answers():
    v = verdict(static(), images())
    lines = [line.split("  (")[0].split() for line in repr(v).splitlines()]
    assert [*["the", "same", "for", "every", "image?", "yes"]] in lines
    assert [*["folds", "into", "one", "plain", "conv?", "yes"]] in lines
    html = v._repr_html_()
    assert html.count("<tr>") == len(v.rows())
    assert "<caption>Verdict on StaticMixConv2d</caption>" in html
    assert "&lt;lambda&gt;" in verdict(lambda x: 2 * x, images())._repr_html_()


def test_bad_batches():
    with pytest.raises(ValueError, match=r"at least 2 images .* got \(1, 4, 8, 8\)"):
        verdict(nn.Conv2d(4, 4, 3), torch.zeros(1, 4, 8, 8))
    with pytest.raises(TypeError, match=r"floating point, got torch\.uint8"):
        verdict(nn.Conv2d(4, 4, 3), torch.zeros(2, 4, 8, 8, dtype=torch.uint8))
    with pytest.raises(TypeError, match="batch must be a tensor, got list"):
        verdict(nn.Conv2d(4, 4, 3), [1, 2])
    with pytest.raises(ValueError, match="must be finite, got 2 values that are NaN or infinite"):
        verdict(nn.Conv2d(1, 4, 1), torch.tensor([1.0, torch.nan, torch.inf, 2.0]).reshape(2, 1, 2, 1))

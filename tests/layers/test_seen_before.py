"""The systems that were there before the question: each against an expression of its own, and timm's where it has it."""

import pytest
import torch
import torch.nn.functional as F
from timm.layers import SelectiveKernel as TimmSelectiveKernel
from timm.layers import SplitAttn
from timm.models.byobnet import RepVggBlock
from torch import nn

from dynconv import (
    BranchedConv2d,
    DynamicConv2d,
    Involution2d,
    MixedOperation,
    ScalarMix,
    SelectiveKernel,
    SignedAttention,
    SplitAttention,
    StaticMixConv2d,
)
from dynconv.cost import summary
from dynconv.probe import intervene, record, verdict
from dynconv.surgery import convert, fold


def unsettled(module):
    """In float64, with norms that have seen other data."""
    generator = torch.Generator().manual_seed(7)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor, low in (
                (norm.weight, 0.5),
                (norm.bias, -0.5),
                (norm.running_mean, -0.5),
                (norm.running_var, 0.5),
            ):
                tensor.data = low + torch.rand(tensor.shape, generator=generator)
    return module.double().eval()


def images(channels=4, batch=3, size=9):
    return torch.randn(batch, channels, size, size + 2, generator=torch.Generator().manual_seed(1)).double()


def same_gradients(one, other, x, names=None):
    """Outputs, and the gradients of one random direction, of the input and of parameters of the same name."""
    outputs = []
    for module in (one, other):
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).double()
        outputs.append([y, *torch.autograd.grad((y * direction).sum(), leaf)])
    for a, b in zip(*outputs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_darts_mixed_operation():
    operations = [nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), nn.Identity()]
    mixed = MixedOperation(operations).double()
    with torch.no_grad():
        mixed.mix.attention.logits.copy_(torch.tensor([0.3, -1.0, 2.0, 0.5]))
    share = torch.tensor([0.3, -1.0, 2.0, 0.5]).double().softmax(0)
    same_gradients(mixed, lambda x: sum(p * o(x) for p, o in zip(share, operations, strict=True)), images())
    assert mixed.strongest() is operations[2]
    x = images()
    mixed(x).square().sum().backward()
    y = torch.stack([o(x) for o in operations])
    direction = 2 * (share[:, None, None, None, None] * y).sum(0)
    each = (direction * y).flatten(1).sum(1)
    torch.testing.assert_close(mixed.mix.attention.logits.grad, share * (each - (share * each).sum()))


def test_of_convolutions_it_is_the_question():
    question = StaticMixConv2d(4, 5, 3, num_kernels=3).double()
    mixed = MixedOperation([nn.Conv2d(4, 5, 3) for _ in range(3)]).double()
    with torch.no_grad():
        question.attention.logits.copy_(torch.randn(3))
        mixed.mix.attention.logits.copy_(question.attention.logits)
        for conv, weight, bias in zip(mixed.operations, question.weight, question.bias, strict=True):
            conv.weight.copy_(weight)
            conv.bias.copy_(bias)
    same_gradients(mixed, question, images())


def test_elmo_scalar_mix():
    mix, maps = ScalarMix(3).double(), torch.randn(3, 2, 5, 7).double()
    with torch.no_grad():
        mix.attention.logits.copy_(torch.randn(3))
        mix.scale.fill_(1.7)
    share = mix.attention.logits.softmax(0)
    torch.testing.assert_close(mix(list(maps)), 1.7 * torch.einsum("l,l...->...", share, maps))
    assert ScalarMix(2, scale=False).scale is None
    with pytest.raises(ValueError, match="expects 3 maps, got 2"):
        mix(list(maps[:2]))
    with pytest.raises(ValueError, match="all of one shape"):
        mix([*maps[:2], maps[2, :1]])


BRANCHES = [
    (3, (1, 3), (3, 1)),
    (3, 1, "identity"),
    (5, 1, "sequence", "average"),
    ("average",),
    ("sequence", (3, 5)),
]


@pytest.mark.parametrize("branches", BRANCHES, ids=str)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_branches_fold_into_one_convolution(branches, groups, stride):
    if stride > 1 and "identity" in branches:
        with pytest.raises(ValueError, match=r"stride 1; got 4 and 4 channels, stride \(2, 2\)"):
            BranchedConv2d(4, 4, 3, branches, stride)
        return
    layer = unsettled(BranchedConv2d(4, 4, 5 if 5 in branches or (3, 5) in branches else 3, branches, stride, groups))
    plain = layer.fold()
    assert type(plain) is nn.Conv2d
    same_gradients(layer, plain, images())


def test_acnet_by_its_definition():
    layer, x = unsettled(BranchedConv2d(4, 6, branches=(3, (1, 3), (3, 1)))), images()

    def norm(bn, y):
        y = (y - bn.running_mean[:, None, None]) / (bn.running_var[:, None, None] + bn.eps).sqrt()
        return y * bn.weight[:, None, None] + bn.bias[:, None, None]

    paddings = [(1, 1), (0, 1), (1, 0)]
    y = sum(norm(b[1], F.conv2d(x, b[0].weight, padding=p)) for b, p in zip(layer.branches, paddings, strict=True))
    torch.testing.assert_close(layer(x), y)


def test_repvgg_is_timms():
    timm = unsettled(RepVggBlock(4, 4))
    timm.act = nn.Identity()
    ours = BranchedConv2d(4, 4, branches=(3, 1, "identity")).double().eval()
    for branch, theirs in zip(ours.branches, (timm.conv_kxk, timm.conv_1x1), strict=False):
        branch[0].load_state_dict(theirs.conv.state_dict())
        branch[1].load_state_dict(theirs.bn.state_dict())
    ours.branches[2][0].load_state_dict(timm.identity.state_dict())
    same_gradients(ours, timm, images())
    timm.reparameterize()
    torch.testing.assert_close(ours.fold().weight, timm.reparam_conv.weight)
    torch.testing.assert_close(ours.fold().bias, timm.reparam_conv.bias)


def test_in_training_branches_do_not_fold():
    layer = BranchedConv2d(4, 8)
    with pytest.raises(ValueError, match="folds in eval mode only"):
        layer.fold()
    one, all_of_them = layer(images().float()[:1]), layer(images().float())
    assert not torch.allclose(one, all_of_them[:1], atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd, so that it has a centre, got 4"),
        ({"branches": (5,)}, r"no branch may be larger than the kernel, \(3, 3\), got 5"),
        ({"branches": ("max",)}, "'identity', 'average' or 'sequence', got 'max'"),
        ({"branches": ()}, r"at least one, got \(\)"),
        ({"branches": ((2, 3),)}, r"a branch must be odd, so that it has a centre, got \(2, 3\)"),
    ],
)
def test_branches_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BranchedConv2d(4, 8, **arguments)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilate", [False, True])
def test_selective_kernel_is_timms(split, stride, dilate):
    timm = TimmSelectiveKernel(4, 16, [3, 5], stride, split_input=split, keep_3x3=dilate, rd_channels=8)
    unsettled(timm)
    ours = SelectiveKernel(4, 16, (3, 5), stride, dilate=dilate, split_input=split, hidden_channels=8).double().eval()
    ours.load_state_dict(timm.state_dict())
    same_gradients(ours, timm, images())


@pytest.mark.parametrize("radix", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, None])
def test_split_attention_is_timms(radix, groups, norm):
    timm = unsettled(SplitAttn(12, 16, groups=groups, radix=radix, norm_layer=norm))
    ours = SplitAttention(12, 16, padding=1, groups=groups, radix=radix, norm=norm is not None).double().eval()
    ours.load_state_dict(timm.state_dict())
    same_gradients(ours, timm, images(12))


def test_involution_by_its_definition():
    layer, x = unsettled(Involution2d(4, 3, groups=2)), images()
    with record(layer) as seen:
        y = layer(x)
    kernels = seen["kernels"].weights.unflatten(1, (2, 3, 3))  # (B, g, 3, 3, H, W)
    padded = F.pad(x, (1, 1, 1, 1))
    expected = torch.zeros_like(x)
    for i in range(3):
        for j in range(3):
            own = kernels[:, :, i, j].repeat_interleave(2, 1)  # two channels a group
            expected += own * padded[:, :, i : i + x.shape[2], j : j + x.shape[3]]
    torch.testing.assert_close(y, expected)
    assert Involution2d(4, 3, stride=2)(x.float()).shape == (3, 4, 5, 6)
    assert torch.autograd.gradcheck(layer, images(4, 1, 3).requires_grad_())


def test_signed_weights_begin_one_hot():
    torch.manual_seed(1)
    attention, x = SignedAttention(4, 3, first=1).double(), images()
    assert attention(x).tolist() == [[0.0, 1.0, 0.0]] * 3
    attention.blend.fill_(0.25)
    logits = attention.fc2(torch.relu(attention.fc1(x.mean((2, 3)))))
    expected = 0.25 * torch.tensor([0.0, 1.0, 0.0]) + 0.75 * logits / logits.abs().sum(1, keepdim=True)
    torch.testing.assert_close(attention(x), expected)
    assert (expected < 0).any()
    attention.reset_parameters()
    assert attention.blend == 1
    layer = DynamicConv2d(4, 5, 3, num_kernels=3, attention=attention).double()
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight[1], layer.bias[1]))
    for arguments, message in (({"blend": 1.5}, "from 0 to 1, got 1.5"), ({"first": 4}, "one of the 4 kernels, got 4")):
        with pytest.raises(ValueError, match=message):
            SignedAttention(4, **arguments)


SYSTEMS = {  # the same for every image? the same at every position? folds?
    "mixed": (lambda: MixedOperation([nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 5, padding=2)]), True, True, True),
    "mixed relu": (
        lambda: MixedOperation([nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)), nn.Identity()]),
        True,
        True,
        False,
    ),
    "branched": (lambda: BranchedConv2d(4, 4, branches=(3, 1, "identity", "sequence", "average")), True, True, True),
    "selective": (lambda: SelectiveKernel(4, 8), False, True, False),
    "split": (lambda: SplitAttention(4, 8, padding=1), False, True, False),
    "involution": (lambda: Involution2d(4, 3), False, False, False),
    "signed": (
        lambda: DynamicConv2d(4, 8, 3, num_kernels=3, attention=SignedAttention(4, 3, blend=0.2)),
        False,
        True,
        False,
    ),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_verdicts(name):
    torch.manual_seed(0)
    build, image, position, folds = SYSTEMS[name]
    module = unsettled(build()).float()
    said = verdict(module, images(batch=6, size=20).float())
    assert (said.same_for_every_image, said.folds) == (image, folds), said
    assert said.same_at_every_position == position, said


@pytest.mark.parametrize("name", [n for n in SYSTEMS if n != "branched"])
def test_record_intervene_and_summary(name):
    torch.manual_seed(0)
    model, x = nn.Sequential(unsettled(SYSTEMS[name][0]()), nn.ReLU()), images()
    y = model(x)
    with record(model) as seen:
        model(x)
    (weights,) = seen.values()
    assert len(weights.weights) == (3 if weights.batched else len(model[0].operations))
    with intervene(model, "frozen"):
        first, again = model(x), model(x)
    torch.testing.assert_close(first, again)
    with intervene(model, "shuffled", seed=1):
        changed = (model(x) - y).abs().max() > 1e-6
    assert changed == weights.batched
    assert summary(model, x).macs > 0


def test_interventions_share_out_among_branches():
    """For each channel, not over all branches and channels together."""
    layer, x = unsettled(SelectiveKernel(4, 8)), images()
    with record(layer) as seen, intervene(layer, "argmax"):
        layer(x)
    weights = seen["attention"].weights  # (B, K, O)
    assert set(weights.unique().tolist()) <= {0.0, 1.0} or torch.allclose(weights.sum(1), torch.ones(3, 8).double())
    with intervene(layer, "uniform"):
        y = layer(x)
    maps = torch.stack([branch(x) for branch in layer.branches])
    torch.testing.assert_close(y, maps.mean(0))
    with intervene(layer, "argmax"):
        y = layer(x)
    best = layer.attention(maps.transpose(0, 1)).argmax(1)  # (B, O)
    torch.testing.assert_close(y, torch.where(best[..., None, None] == 0, maps[0], maps[1]))


def test_convert_and_fold_reach_inside():
    model = nn.Sequential(SelectiveKernel(4, 8), MixedOperation([nn.Conv2d(8, 8, 3, padding=1), nn.Identity()])).eval()
    x = images().float()
    dynamic = convert(model, num_kernels=2, noise=0.0)
    assert sum(isinstance(m, DynamicConv2d) for m in dynamic.modules()) >= 2
    torch.testing.assert_close(dynamic(x), model(x), rtol=1e-4, atol=1e-5)
    branched = unsettled(nn.Sequential(BranchedConv2d(4, 4), nn.ReLU()))
    folded = fold(branched)
    assert type(folded[0]) is nn.Conv2d
    torch.testing.assert_close(folded(images()), branched(images()))

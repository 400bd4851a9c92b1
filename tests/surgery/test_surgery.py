"""Whole models: converted without a change, folded back exactly, and nothing lost on the way."""

import copy

import pytest
import timm
import torch
import torchvision
from torch import nn

from dynconv import CondConv2d, DynamicConv1d, DynamicConv2d, FixedAttention, ODConv2d, OmniAttention, StaticMixConv2d
from dynconv.surgery import convert, fold, from_conv, parameter_groups, set_temperature

MODELS = {
    "torchvision resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "timm mobilenetv2": lambda: timm.create_model("mobilenetv2_050", num_classes=10),
}


def randomize_norms(model):
    """Statistics and scales of a net that has been trained: those of a fresh one would hide a wrong fusion."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in ((module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 2.0)):
                nn.init.uniform_(tensor, low, high)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_a_whole_model_converts_trains_exports_and_folds_back(name):
    torch.manual_seed(0)
    model = randomize_norms(MODELS[name]()).eval()
    x = torch.randn(2, 3, 64, 64)
    expected = model(x)
    dynamic = convert(model, num_kernels=3, temperature=5.0)
    convs = sum(type(m) is nn.Conv2d for m in model.modules())
    assert sum(type(m) is DynamicConv2d for m in dynamic.modules()) == convs > 15
    assert not any(type(m) is DynamicConv2d for m in model.modules())  # the original is left alone
    scale = expected.abs().max()
    assert (dynamic(x) - expected).abs().max() < 1e-4 * max(1, scale)

    for options in ({"attention": "uniform"}, {"attention": "uniform", "batch_norm": True}):
        folded = fold(dynamic, **options)
        assert not any(type(m) is DynamicConv2d for m in folded.modules())
        assert (folded(x) - expected).abs().max() < 1e-4 * max(1, scale)
    assert not any(isinstance(m, nn.BatchNorm2d) and type(m) is nn.BatchNorm2d for m in folded.modules())

    exported = torch.export.export(dynamic, (x,)).module()
    torch.testing.assert_close(exported(x), dynamic(x), atol=1e-4, rtol=1e-4)

    noisy = convert(model, num_kernels=3, noise=0.1).train()
    optimizer = torch.optim.SGD(parameter_groups(noisy, lr=0.01))
    before = {n: p.detach().clone() for n, p in noisy.named_parameters()}
    nn.functional.cross_entropy(noisy(x), torch.tensor([1, 2])).backward()
    optimizer.step()
    changed = {n for n, p in noisy.named_parameters() if not torch.equal(p, before[n])}
    assert {n for n in before if n.endswith("attention.fc2.weight")} & changed  # the gates learn too
    assert len(changed) > 0.9 * len(before)
    assert all(p.isfinite().all() for p in noisy.parameters())


@pytest.mark.parametrize("family", ["dynamic", "static"])
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv1d(4, 6, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(4, 6, (3, 1), padding="same", dilation=2, groups=2),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
        nn.Conv3d(4, 6, 2, padding=1).double(),
    ],
    ids=str,
)
def test_from_conv_preserves_the_function_the_mode_and_the_dtype(conv, family):
    conv = copy.deepcopy(conv).eval()
    conv.weight.requires_grad_(False)
    layer = from_conv(conv, 3, family=family)
    x = torch.randn(2, 4, *[7] * (conv.weight.ndim - 2), dtype=conv.weight.dtype)
    torch.testing.assert_close(layer(x), conv(x), atol=1e-5, rtol=1e-5)
    assert not layer.training
    assert not layer.weight.requires_grad
    assert (layer.bias is None) == (conv.bias is None)


def test_noise_tells_kernels_apart_and_keeps_their_mean():
    conv = nn.Conv2d(8, 8, 3)
    layer = from_conv(conv, 4, noise=0.5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer.weight.mean(0), conv.weight, atol=1e-6, rtol=1e-5)
    spread = (layer.weight - conv.weight).std() / conv.weight.std()
    assert 0.35 < spread < 0.55  # 0.5 sqrt(3 / 4): centring takes one of four degrees of freedom
    assert torch.equal(layer.weight, from_conv(conv, 4, noise=0.5, generator=torch.Generator().manual_seed(1)).weight)


def test_without_noise_the_attention_gets_no_gradient():
    for noise, learns in ((0.0, False), (0.5, True)):
        layer = from_conv(nn.Conv2d(4, 4, 3), noise=noise, temperature=1.0)
        layer(torch.randn(3, 4, 8, 8)).square().sum().backward()
        assert (layer.attention.fc2.weight.grad.abs().max() > 1e-3) == learns


def small_net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()))


def dynamic_names(model):
    return [name for name, m in model.named_modules() if isinstance(m, DynamicConv2d)]


def test_selection_by_name_pattern_and_predicate():
    model = small_net()
    assert dynamic_names(convert(model)) == ["0", "3.0"]
    assert dynamic_names(convert(model, where="3.*")) == ["3.0"]
    assert dynamic_names(convert(model, where=["0"])) == ["0"]
    assert dynamic_names(convert(model, where=lambda name, conv: conv.in_channels == 3)) == ["0"]
    assert isinstance(convert(nn.Conv1d(2, 2, 3)), DynamicConv1d)
    with pytest.raises(ValueError, match=r"'4' fits no convolution; there are: 0, 3.0"):
        convert(model, where="4")
    with pytest.raises(ValueError, match="Linear has no convolution to convert"):
        convert(nn.Linear(2, 2))
    assert convert(model, inplace=True) is model


def test_a_shared_convolution_stays_shared_and_tied_weights_are_refused():
    conv = nn.Conv2d(4, 4, 3)
    twice = convert(nn.Sequential(conv, nn.ReLU(), conv))
    assert twice[0] is twice[2]
    other = nn.Conv2d(4, 4, 3)
    other.weight = conv.weight
    tied = nn.Sequential(conv, other)
    with pytest.warns(UserWarning, match=r"0 \(Conv2d\): its weight is shared by \['0', '1'\]"):
        assert dynamic_names(convert(tied)) == []
    with pytest.raises(ValueError, match=r"0: its weight is shared by \['0', '1'\]"):
        convert(tied, where="0")


def test_what_would_be_lost_is_refused():
    class Scaled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    hooked = nn.Conv2d(2, 2, 3)
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="_forward_hooks, which would be lost"):
        from_conv(hooked)
    with pytest.raises(TypeError, match="got Scaled"):
        from_conv(Scaled(2, 2, 3))
    with pytest.raises(TypeError, match=r"weight is parametrized by SpectralNorm.*got ParametrizedConv2d"):
        from_conv(nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 2, 3)))
    for options, message in (
        ({"family": "sparse"}, "got 'sparse'"),
        ({"noise": -1}, "noise must be finite and at least 0, got -1"),
        ({"noise": float("inf")}, "noise must be finite and at least 0, got inf"),
    ):
        with pytest.raises(ValueError, match=message):
            from_conv(nn.Conv2d(2, 2, 3), **options)
    with pytest.warns(UserWarning, match=r"0 \(Scaled\): its forward is its own"):
        assert dynamic_names(convert(nn.Sequential(Scaled(2, 2, 3), nn.Conv2d(2, 2, 3)))) == ["1"]


def test_fold_of_static_and_frozen_layers():
    static = StaticMixConv2d(3, 4, 3, num_kernels=3)
    nn.init.normal_(static.attention.logits)
    frozen = DynamicConv2d(4, 4, 3, num_kernels=2, attention=FixedAttention(torch.tensor([0.3, 1.2])))
    model = nn.Sequential(static, nn.ReLU(), frozen, nn.ReLU(), DynamicConv2d(4, 4, 3, num_kernels=2)).double()
    folded = fold(model)
    assert [type(m) for m in folded][::2] == [nn.Conv2d, nn.Conv2d, DynamicConv2d]  # the last still looks at images
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(folded(x), model(x))
    pi = torch.tensor([0.9, 0.1])
    model[4].attention = FixedAttention(pi.double())
    torch.testing.assert_close(fold(folded, {"4": pi})(x), model(x))
    torch.testing.assert_close(fold(folded, pi)(x), model(x))
    assert type(fold(static)) is nn.Conv2d
    for attention, message in (
        ("mean", "got 'mean'"),
        (torch.ones(3), r"\(K,\) = \(2,\), got \(3,\)"),
        ({"5": pi}, r"no layer is named \['5'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            fold(folded, attention)


def test_batch_norms_are_fused_only_where_they_follow_alone():
    class Net(nn.Module):
        """bn1 is named like a partner of conv1, but normalises something else."""

        def __init__(self):
            super().__init__()
            self.conv1, self.bn1, self.bn2 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv1(self.bn1(x))
            return self.bn2(y) + y  # y is needed twice: bn2 cannot go into conv1

    model, x = randomize_norms(Net()).eval(), torch.randn(2, 3, 8, 8)
    folded = fold(model, batch_norm=True)
    torch.testing.assert_close(folded(x), model(x))
    assert type(folded.bn1) is type(folded.bn2) is nn.BatchNorm2d
    with pytest.raises(ValueError, match="'1' is in training mode"):
        fold(small_net(), batch_norm=True)


def test_a_converted_dynamic_chain_can_be_cooled_and_restored():
    model = convert(small_net(), temperature=30.0)
    set_temperature(model, 2.0)
    other = convert(small_net(), temperature=30.0)
    other.load_state_dict(model.state_dict())
    assert other[0].attention.temperature == 2


def test_what_is_frozen_is_in_no_group():
    model = convert(small_net())
    frozen = [model[0].attention.fc2.weight, *model[0].attention.fc1.parameters(), model[1].bias]
    for parameter in frozen:
        parameter.requires_grad_(False)
    both = [p for group in parameter_groups(model) for p in group["params"]]
    assert not {id(p) for p in frozen} & {id(p) for p in both}
    assert len(both) == sum(p.requires_grad for p in model.parameters())


def test_gates_are_not_decayed_and_every_parameter_is_in_one_group():
    model = convert(small_net())
    model[1].weight.requires_grad_(False)
    others, gates = parameter_groups(model, weight_decay=0.1, lr=0.5)
    assert (others["weight_decay"], gates["weight_decay"], others["lr"], gates["lr"]) == (0.1, 0.0, 0.5, 0.5)
    names = {p: n for n, p in model.named_parameters()}
    assert {names[p] for p in gates["params"]} == {n for n in names.values() if ".attention." in n}
    both = [*others["params"], *gates["params"]]
    assert len(both) == len(set(both)) == sum(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "layer",
    [DynamicConv2d(4, 6, 3), CondConv2d(4, 6, 3), StaticMixConv2d(4, 6, 3), ODConv2d(4, 6, 3), OmniAttention(4, 6, 9)],
)
def test_no_part_of_an_attention_is_decayed(layer):
    others, gates = parameter_groups(nn.Sequential(layer, nn.Linear(2, 2)))
    names = {p: n for n, p in layer.named_parameters(prefix="0")}
    decayed = {names.get(p) for p in others["params"]}
    assert decayed <= {"0.weight", "0.bias", None}
    assert len(gates["params"]) + len(others["params"]) == len(names) + 2

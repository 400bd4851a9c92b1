"""Batch norms go where they can be traced, into K kernels too; what folds and what does not is said; samples are checked."""

import warnings

import pytest
import timm
import torch
import torchvision
from timm.layers import BatchNormAct2d
from torch import nn

from dynconv import CondConv2d, DynamicConv1d, DynamicConv2d, KernelAttention, ODConv2d, StaticMixConv2d
from dynconv.probe import intervene
from dynconv.surgery import convert, fold, report

X = torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(0))


def learned(model):
    """Statistics and scales as after training: those of a fresh net would hide a wrong fusion."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.track_running_stats:
                nn.init.uniform_(module.running_mean, -0.3, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
    return model.eval()


def norms(model):
    found = [name for name, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return [name for name in found if ".attention." not in name]


SUM_TO_ONE = {
    "dynamic": lambda: DynamicConv2d(8, 6, 3, temperature=0.5),
    "dynamic, no bias, groups": lambda: DynamicConv2d(8, 6, 3, groups=2, bias=False, temperature=0.5),
    "ODConv": lambda: ODConv2d(8, 6, 3),
    "ODConv, K = 1, no bias": lambda: ODConv2d(8, 6, 3, num_kernels=1, bias=False),
}


@pytest.mark.parametrize("make", SUM_TO_ONE.values(), ids=SUM_TO_ONE)
@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_goes_into_k_kernels_whose_weights_sum_to_one(make, affine):
    model = learned(nn.Sequential(make(), nn.BatchNorm2d(6, affine=affine), nn.ReLU()))
    folded = fold(model, batch_norm=True, sample=X)
    assert type(folded[0]) is type(model[0])
    assert type(folded[1]) is nn.Identity
    torch.testing.assert_close(folded(X), model(X), atol=1e-5, rtol=1e-5)
    assert report(folded).changes[1].why == "fused into 0"
    folded(X).sum().backward()  # a bias that was made on the way learns too
    assert all(p.grad is not None for n, p in folded[0].named_parameters() if n in ("weight", "bias"))


class Odd(KernelAttention):
    def forward(self, x):
        return 2 * super().forward(x)


OTHERS = {
    "CondConv": lambda: CondConv2d(8, 6, 3),
    "sigmoid": lambda: DynamicConv2d(8, 6, 3, attention=KernelAttention(8, activation="sigmoid")),
    "an attention of one's own": lambda: DynamicConv2d(8, 6, 3, attention=Odd(8)),
    "ODConv with another attention": lambda: _odconv_with_its_own(),
}


def _odconv_with_its_own():
    class Other(type(ODConv2d(8, 6, 3).attention)):
        def forward(self, x):
            return {over: 2 * weights for over, weights in super().forward(x).items()}

    layer = ODConv2d(8, 6, 3)
    layer.attention.__class__ = Other
    return layer


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_but_not_into_kernels_whose_weights_do_not(make):
    model = learned(nn.Sequential(make(), nn.BatchNorm2d(6)))
    folded = fold(model, batch_norm=True)
    assert norms(folded) == ["1"]
    assert "do not sum to one" in report(folded).changes[1].why
    torch.testing.assert_close(folded(X), model(X))


def test_one_dimension_and_a_norm_without_statistics():
    model = learned(
        nn.Sequential(
            DynamicConv1d(8, 6, 3), nn.BatchNorm1d(6), nn.Conv1d(6, 6, 1), nn.BatchNorm1d(6, track_running_stats=False)
        )
    )
    folded = fold(model, batch_norm=True)
    assert norms(folded) == ["3"]
    torch.testing.assert_close(folded(X[:, :, 0]), model(X[:, :, 0]), atol=1e-5, rtol=1e-5)


class Untraceable(nn.Module):
    """Its own forward branches on values; its parts do not."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
        self.conv, self.norm = nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x):
        x = self.stem(x)
        return self.norm(self.conv(x)) if x.sum() != 0 else x


def test_what_can_be_traced_is_fused_and_the_rest_is_named():
    model = learned(nn.Sequential(Untraceable(), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)))
    with pytest.warns(UserWarning, match=r"0\.norm \(BatchNorm2d\): torch\.fx cannot trace"):
        folded = fold(model, batch_norm=True, sample=X)
    assert norms(folded) == ["0.norm", "2"]  # with the root goes what is in it alone
    torch.testing.assert_close(folded(X), model(X), atol=1e-5, rtol=1e-5)
    with pytest.warns(UserWarning, match="cannot trace"):
        assert type(fold(nn.Sequential(Untraceable().eval()), batch_norm=True)[0].stem[1]) is nn.Identity


def test_no_norm_no_matter():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = StaticMixConv2d(8, 8, 3)

        def forward(self, x):
            return self.mix(x) if x.sum() != 0 else x

    assert type(fold(Net(), batch_norm=True).mix) is nn.Conv2d


def used_twice():
    conv = nn.Conv2d(8, 8, 1)
    return nn.Sequential(conv, nn.BatchNorm2d(8), conv, nn.BatchNorm2d(8))


def tied():
    model = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1))
    model[2].weight = model[0].weight
    return model


def hooked(index):
    model = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
    model[index].register_forward_hook(lambda module, args, y: 2 * y)
    return model


def normed():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1)), nn.BatchNorm2d(8))


class OwnNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).clamp(max=0.1)


KEPT = {
    "used twice": used_twice,
    "tied": tied,
    "hook on the convolution": lambda: hooked(0),
    "hook on the norm": lambda: hooked(1),
    "parametrized": normed,
    "a norm of one's own": lambda: nn.Sequential(nn.Conv2d(8, 8, 1), OwnNorm(8)),
    "standardised": lambda: nn.Sequential(timm.layers.StdConv2d(8, 8, 1), nn.BatchNorm2d(8)),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(8, 8, 1), nn.BatchNorm2d(8)),
}


@pytest.mark.parametrize("make", KEPT.values(), ids=KEPT)
def test_norms_whose_fusion_would_change_or_lose_something_stay(make):
    model = learned(make())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        folded = fold(model, batch_norm=True)
    assert norms(folded) == norms(model)
    torch.testing.assert_close(folded(X), model(X))
    assert all(change.why for change in report(folded).changes)


FUSED = {
    "drops and activates": lambda: nn.Sequential(nn.Conv2d(8, 8, 3), BatchNormAct2d(8)),
    "TensorFlow's padding": lambda: nn.Sequential(timm.layers.Conv2dSame(8, 8, 3, stride=2), nn.BatchNorm2d(8)),
    "compiled": lambda: nn.Sequential(
        torch.compile(nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)), backend="eager")
    ),
}


@pytest.mark.parametrize("make", FUSED.values(), ids=FUSED)
def test_norms_that_fuse(make):
    model = learned(make())
    with torch.no_grad():
        folded = fold(model, batch_norm=True, sample=X)
        assert not norms(folded)
        torch.testing.assert_close(folded(X), model(X), atol=1e-5, rtol=1e-5)


def test_a_training_norm_leaves_the_model_as_it_was():
    model = learned(nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)))
    model[3].train()
    before = model[0].weight.clone()
    with pytest.raises(ValueError, match="'3' is in training mode"):
        fold(model, batch_norm=True, inplace=True)
    assert torch.equal(model[0].weight, before)
    assert norms(model) == ["1", "3"]


# --- fold and its report ----------------------------------------------------------------------------------------------


class Doubled(DynamicConv2d):
    def forward(self, x):
        return 2 * super().forward(x)


def test_layers_that_would_lose_something_stay_and_are_refused_by_name():
    hooked, own, plain = DynamicConv2d(8, 8, 3), Doubled(8, 8, 3), DynamicConv2d(8, 8, 3)
    hooked.register_forward_hook(lambda module, args, y: 2 * y)
    model, pi = nn.Sequential(hooked, own, plain), torch.tensor([0.1, 0.2, 0.3, 0.4])
    with pytest.warns(
        UserWarning, match=r"0 \(DynamicConv2d\): it has _forward_hooks.*1 \(Doubled\): its forward is its own"
    ):
        folded = fold(model, pi, sample=X)
    assert [type(m) for m in folded] == [DynamicConv2d, Doubled, nn.Conv2d]
    for name, why in (("0", "_forward_hooks"), ("1", "its forward is its own")):
        with pytest.raises((TypeError, ValueError), match=f"{name}: .*{why}"):
            fold(model, {name: pi})


def test_an_attention_that_is_being_changed_keeps_its_layer():
    mix = StaticMixConv2d(8, 8, 3)
    nn.init.normal_(mix.attention.logits)
    model = nn.Sequential(mix)
    with intervene(model, "argmax"):
        with pytest.warns(UserWarning, match="of its attention: it has _forward_hooks"):
            folded = fold(model)
        assert type(folded[0]) is StaticMixConv2d


def test_the_report_of_a_fold_and_the_check_on_a_sample():
    model = learned(
        nn.Sequential(
            StaticMixConv2d(8, 6, 3, bias=False), nn.BatchNorm2d(6), ODConv2d(6, 6, 1), DynamicConv2d(6, 4, 1)
        )
    )
    omni = {over: torch.rand(head.fc.out_features) for over, head in model[2].attention.heads.items()}
    folded = fold(model, {"2": omni}, batch_norm=True, sample=X)
    told = report(folded)
    assert [(c.name, c.was, c.now, c.why) for c in told.changes] == [
        ("0", "StaticMixConv2d", "Conv2d", ""),
        ("1", "BatchNorm2d", "Identity", "fused into 0"),
        ("2", "ODConv2d", "Conv2d", ""),
        ("3", "DynamicConv2d", "DynamicConv2d", "its attention looks at the image"),
    ]
    assert told.counted == "multiply-adds"
    assert 0 < told.share < 1
    assert repr(told).splitlines()[-1].split()[:3] == ["3", "of", "4"]
    assert told._repr_html_().count("<tr>") == 6
    with pytest.raises(ValueError, match="no report on this Sequential"):
        report(model)


def test_a_wrong_fold_is_caught_by_the_sample():
    class Flips(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = StaticMixConv2d(8, 8, 3)

        def forward(self, x):
            return self.mix(x) * (1 if isinstance(self.mix, StaticMixConv2d) else -1)

    with pytest.raises(ValueError, match="Flips computes something else on the sample"):
        fold(Flips(), sample=X)


# --- convert's report -------------------------------------------------------------------------------------------------


def test_shares_are_of_multiply_adds_with_a_sample_and_of_parameters_without():
    net = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 81, 50))
    with pytest.warns(UserWarning, match=r"98% of the parameters stay static \(a sample= lets"):
        by_parameters = report(convert(net))
    by_macs = report(convert(net, sample=X))  # without a warning: it is less than half
    assert (by_parameters.counted, by_macs.counted) == ("parameters", "multiply-adds")
    assert by_parameters.share == pytest.approx(584 / (584 + 32450))
    assert by_macs.share == pytest.approx(8 * 8 * 9 * 81 / (8 * 8 * 9 * 81 + 648 * 50))
    assert [(c.name, c.was, c.why) for c in by_macs.changes] == [
        ("0", "Conv2d", ""),
        ("(other layers)", "1 Linear", "no convolution"),
    ]
    assert repr(by_macs).splitlines()[-1].split() == ["1", "of", "1", "2%", "59%"]


def test_more_than_half_static_warns_unless_it_was_chosen_so():
    net = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ConvTranspose2d(8, 8, 3), nn.Conv2d(8, 8, 5))
    with pytest.warns(UserWarning, match="9.% of the multiply-adds stay static"):
        convert(nn.Sequential(*net[:2]), sample=X)
    chosen = convert(net, where=["0", "2"], sample=X)
    assert [c.why for c in report(chosen).changes] == ["", "transposed", ""]
    one = report(convert(nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 5)), where="0", sample=X))
    assert one.changes[1].why == "not chosen"


def test_a_sample_may_be_several_inputs_and_leaves_no_trace():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.drop = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout()

        def forward(self, x, y):
            return {"out": [self.drop(self.norm(self.conv(x) + y))]}

    model, state = Two().train(), torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for sample in ((X, X), {"x": X, "y": X}):
        converted = convert(model, sample=sample, inplace=False)
        assert converted.training
        assert converted.drop.training
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.set_rng_state(state)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_default_device_changes_nothing(device):
    conv = nn.Sequential(nn.Conv2d(8, 8, 3), timm.layers.StdConv2d(8, 8, 1))
    torch.manual_seed(1)
    expected = convert(conv, noise=0.1)[0].weight
    with torch.device(device):
        torch.manual_seed(1)
        made = convert(conv, noise=0.1)
        given = convert(conv, noise=0.1, generator=torch.Generator("cpu").manual_seed(1), sample=X)
        folded = fold(made, "uniform", sample=X)
    assert made[0].weight.device == given[0].weight.device == folded[0].weight.device == expected.device
    assert given[0].weight.std(0).max() > 0


WHOLE = {
    "r3d_18": (lambda: torchvision.models.video.r3d_18(num_classes=5), (1, 3, 4, 32, 32), 0.99),
    "nf_regnet_b0": (lambda: timm.create_model("nf_regnet_b0", num_classes=5), (1, 3, 64, 64), 0.99),
    "tf_mobilenetv3_small_minimal_100": (
        lambda: timm.create_model("tf_mobilenetv3_small_minimal_100"),
        (1, 3, 64, 64),
        0.6,
    ),
}


@pytest.mark.parametrize(("make", "shape", "share"), WHOLE.values(), ids=WHOLE)
def test_networks_that_used_to_stay_static(make, shape, share):
    model = make().eval()
    converted = convert(model, 2, sample=torch.randn(shape))
    assert report(converted).share > share

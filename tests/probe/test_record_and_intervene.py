"""What a model weighs with is seen as it is, can be exchanged, and no hook stays behind."""

import copy

import pytest
import torch
from torch import nn

from dynconv import DynamicConv2d, KernelAttention, StaticMixConv2d
from dynconv.functional import dynamic_conv, mix_kernels
from dynconv.probe import MODES, intervene, record
from dynconv.surgery import fold


def a_model():
    return nn.Sequential(
        DynamicConv2d(3, 4, 3, num_kernels=3, temperature=0.1), nn.ReLU(), StaticMixConv2d(4, 4, 3, num_kernels=2)
    ).double()


class Brightness(nn.Module):
    """Attention by brightness: no two of the images get the same."""

    def forward(self, x):
        return torch.softmax(torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1), 1)


def images(n=5):
    # each image at a brightness of its own: the squeeze sees channel means, and nothing else
    return torch.randn(n, 3, 9, 9, dtype=torch.float64) + torch.linspace(-2, 2, n, dtype=torch.float64).view(
        -1, 1, 1, 1
    )


def hooks(model):
    return sum(len(v) for m in model.modules() for k, v in vars(m).items() if k.endswith("_hooks"))


def test_a_recording_is_what_the_layers_used():
    model, x = a_model(), images()
    with record(model) as seen:
        expected = model(x)
        model(x[:2])
    assert list(seen) == ["0.attention", "2.attention"]
    assert [len(b) for b in seen["0"].batches] == [5, 2]
    torch.testing.assert_close(seen["0"].weights, torch.cat([model[0].attention(x), model[0].attention(x[:2])]))
    torch.testing.assert_close(seen["2"].weights, model[2].attention())
    assert (seen["0"].over, seen["0"].batched, seen["2"].batched) == ("kernels", True, False)
    # the recorded kernels, image by image, give back the output
    rows = [nn.functional.conv2d(x[b : b + 1], seen["0"].kernels[b], bias) for b, bias in
            enumerate(mix_kernels(model[0].bias, seen["0"].weights)[:5])]  # fmt: skip
    torch.testing.assert_close(
        nn.functional.conv2d(torch.relu(torch.cat(rows)), seen["2"].kernels, model[2].fold().bias), expected
    )
    assert not seen["0"].weights.requires_grad
    with pytest.raises(KeyError, match="'1' fits"):
        seen["1"]


@pytest.mark.parametrize("context", [record, lambda m: intervene(m, "uniform")], ids=["record", "intervene"])
def test_hooks_are_removed_also_after_an_error_and_the_mode_stays(context):
    model = a_model().train()
    model[0].eval()
    modes = [m.training for m in model.modules()]

    def fail(module):
        with context(module):
            assert hooks(module) == 2
            raise RuntimeError("on purpose")

    for _ in range(3):
        with pytest.raises(RuntimeError, match="on purpose"):
            fail(model)
        with context(model):
            model(images())
        assert hooks(model) == 0
    assert [m.training for m in model.modules()] == modes


def test_every_intervention_is_what_it_says():
    layer, x = a_model()[0], images()
    pi = layer.attention(x)
    k, n = layer.num_kernels, len(x)
    expected = {
        "uniform": torch.full_like(pi, 1 / k),
        "argmax": nn.functional.one_hot(pi.argmax(1), k).double(),
        "frozen": pi.mean(0).expand(n, k),
    }
    for mode, weights in expected.items():
        with intervene(layer, mode), record(layer) as seen:
            y = layer(x)
        torch.testing.assert_close(seen[""].weights, weights)
        torch.testing.assert_close(y, dynamic_conv(x, layer.weight, weights, layer.bias))
    torch.testing.assert_close(layer(x), dynamic_conv(x, layer.weight, pi, layer.bias))  # and then all is as before


def test_shuffled_gives_everyone_anothers_and_every_layer_the_same():
    model, x = (
        nn.Sequential(
            *[DynamicConv2d(3, 3, 3, padding=1, num_kernels=2, attention=Brightness()) for _ in range(2)]
        ).double(),
        images(),
    )
    with intervene(model, "shuffled", seed=3), record(model) as seen:
        model(x)
    own = model[0].attention(x)
    got = seen["0"].weights
    source = [next(j for j in range(5) if torch.equal(own[j], row)) for row in got]
    assert sorted(source) == list(range(5))
    assert all(i != j for i, j in enumerate(source))
    with intervene(model, "shuffled", layers="1", seed=3), record(model) as only:
        model(x)
    own = model[1].attention(model[0](x))
    assert [next(j for j in range(5) if torch.equal(own[j], row)) for row in only["1"].weights] == source
    with pytest.raises(ValueError, match="at least 2 images in a batch, got 1"), intervene(model, "shuffled"):
        model(x[:1])


def test_frozen_stays_at_the_first_batch_and_is_what_fold_folds():
    model, x = a_model(), images()
    pi = model[0].attention(x).mean(0)
    with intervene(model, "frozen"):
        model(x)
        y = model(x[:1])
    torch.testing.assert_close(fold(model, {"0": pi})(x[:1]), y)
    with intervene(model, "uniform", layers="0"):
        y = model(x)
    torch.testing.assert_close(fold(model, "uniform")(x), y)


def test_given_attention_for_one_or_all():
    model, x = a_model(), images()
    pi = torch.tensor([0.2, 0.3, 0.5])
    with intervene(model, "given", attention={"0": pi}), record(model) as seen:
        model(x)
    torch.testing.assert_close(seen["0"].weights, pi.double().expand(5, 3))
    rows = torch.softmax(torch.randn(5, 3, dtype=torch.float64), 1)
    with intervene(model[0], "given", attention=rows):
        torch.testing.assert_close(model[0](x), dynamic_conv(x, model[0].weight, rows, model[0].bias))


def test_an_intervention_changes_a_static_mix_only_where_it_can():
    mix, x = StaticMixConv2d(3, 4, 3).double(), images()
    nn.init.normal_(mix.attention.logits)
    y = mix(x)
    for mode, changes in (("shuffled", False), ("frozen", False), ("uniform", True), ("argmax", True)):
        with intervene(mix, mode):
            assert torch.allclose(mix(x), y) != changes


def test_gradients_flow_through_an_intervention():
    layer = a_model()[0]
    with intervene(layer, "uniform"):
        layer(images()).sum().backward()
    assert layer.weight.grad.abs().min() > 0


def test_any_module_can_be_the_attention():
    layer, x = DynamicConv2d(3, 4, 3, num_kernels=2, attention=Brightness()).double(), images()
    with record(layer) as seen:
        layer(x)
    torch.testing.assert_close(seen["attention"].weights, Brightness()(x))


def test_bad_arguments():
    model, x = a_model(), images()
    for arguments, message in (
        (("loudest",), "mode must be one of 'uniform', .*, got 'loudest'"),
        (("given",), "attention goes with mode 'given'"),
        (("uniform", "7"), "no weighting is named '7'; there are: 0.attention, 2.attention"),
    ):
        with pytest.raises(ValueError, match=message), intervene(model, *arguments):
            pass
    with pytest.raises(ValueError, match="ReLU has no weights to intervene on"), intervene(nn.ReLU(), "uniform"):
        pass
    with (
        pytest.raises(ValueError, match=r"must be \(5, 3\).*got \(4,\)"),
        intervene(model, "given", "0", attention=torch.ones(4)),
    ):
        model(x)
    with record(model) as seen:
        pass
    with pytest.raises(ValueError, match="did not run"):
        _ = seen["0"].weights
    with record(KernelAttention(3)) as seen:
        pass
    with pytest.raises(ValueError, match="only a mix of K kernels"):
        _ = seen[""].kernels


def test_an_empty_batch_passes_every_mode():
    model = a_model()
    for mode in ("uniform", "argmax", "frozen"):
        with intervene(copy.deepcopy(model), mode):
            assert model(images()[:0]).shape == (0, 4, 5, 5)
    assert len(MODES) == 5


def test_an_attention_made_of_parts_is_one_weighting():
    """Found twice it would be shuffled twice: with two images, not at all."""
    parts = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(), KernelAttention(6, 4, temperature=0.1))
    scale = torch.tensor([0.1, 10.0]).reshape(2, 1, 1, 1)
    layer, x = DynamicConv2d(3, 5, 3, attention=parts), scale * torch.randn(2, 3, 9, 9)
    with record(layer) as seen:
        y = layer(x)
    assert list(dict(seen)) == ["attention"]
    assert seen["attention"].kernels.shape == (2, 5, 3, 3, 3)
    with intervene(layer, "shuffled"):
        swapped = layer(x)
    expected = dynamic_conv(x, layer.weight, seen["attention"].weights.flip(0), layer.bias)
    torch.testing.assert_close(swapped, expected)
    assert not torch.allclose(swapped, y, atol=1e-3)


@pytest.mark.parametrize(
    "wrap", [torch.compile, lambda m, **options: m.compile(**options) or m], ids=["wrapped", "inside"]
)
def test_a_compiled_model_that_ran_before_is_seen_and_changed(wrap):
    """Its graph holds no hooks: it has to be left for as long as there are some."""
    plain, x = a_model(), images()
    model = wrap(copy.deepcopy(plain), backend="eager")
    y = model(x)
    with record(plain) as expected:
        plain(x)
    with record(model) as seen:
        model(x)
    assert len(seen) == len(expected) == 2
    for ours, theirs in zip(seen.values(), expected.values(), strict=True):
        torch.testing.assert_close(ours.weights, theirs.weights)
    with intervene(plain, "uniform"):
        uniform = plain(x)
    with intervene(model, "uniform"):
        torch.testing.assert_close(model(x), uniform)
    torch.testing.assert_close(model(x), y)
    assert not torch.allclose(uniform, y)


def test_a_compiled_layer_is_one_weighting():
    layer = DynamicConv2d(3, 4, 3, num_kernels=2)
    with record(torch.compile(layer, backend="eager")) as seen:
        pass
    assert list(seen) == ["_orig_mod.attention"]
    with record(torch.compile(KernelAttention(3), backend="eager")) as seen:
        pass
    assert list(seen) == ["_orig_mod"]

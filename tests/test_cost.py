"""The table adds up to torch's own counter, and its formulas are right for every method."""

import math

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dynconv import DynamicConv1d, DynamicConv2d, DynamicConv3d, StaticMixConv2d
from dynconv.cost import layer_macs, summary
from dynconv.functional import METHODS
from dynconv.surgery import convert


def counted(model, x):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [{"kernel_size": 3, "padding": 1}, {"kernel_size": 2, "stride": 2, "groups": 2}, {"kernel_size": 1}],
    ids=str,
)
def test_formulas_are_torchs_count(n, options, method, bias):
    layer = {1: DynamicConv1d, 2: DynamicConv2d, 3: DynamicConv3d}[n](
        8, 6, **options, bias=bias, num_kernels=3, method=method
    )
    x = torch.randn(2, 8, *(9, 8, 7)[:n])
    parts = layer_macs(layer, tuple(x.shape), tuple(layer(x).shape))
    gate = 2 * (8 * 2 + 2 * 3)
    assert sum(parts.values()) + gate == counted(layer, x)
    table = summary(layer, x)
    assert (table.macs, table.gate_macs, table.aggregation_macs) == (counted(layer, x), gate, parts["aggregation"])


def test_static_mix_aggregates_once():
    layer, x = StaticMixConv2d(8, 6, 3, num_kernels=3), torch.randn(4, 8, 9, 9)
    assert layer_macs(layer, x.shape, layer(x).shape) == {
        "convolution": 4 * 49 * 6 * 8 * 9,
        "aggregation": 3 * (6 * 8 * 9 + 6),
    }
    assert summary(layer, x).macs == counted(layer, x) == 4 * 49 * 432 + 3 * 438


def test_a_converted_net_is_counted_where_counters_of_modules_see_nothing():
    plain = torchvision.models.resnet18(num_classes=10).eval()
    dynamic, x = convert(plain, num_kernels=4), torch.randn(1, 3, 64, 64)
    before, after = summary(plain, x), summary(dynamic, x)
    assert after.macs == counted(dynamic, x)
    assert sum(layer.macs for layer in after.layers) == after.macs
    assert (
        sum(layer.parameters for layer in after.layers)
        == after.parameters
        == sum(p.numel() for p in dynamic.parameters())
    )
    assert after.macs == before.macs + after.gate_macs + after.aggregation_macs
    # a counter that knows only nn.Conv2d and nn.Linear misses nearly everything
    known = sum(math.prod(m.weight.shape) for m in dynamic.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    assert after.macs > 8 * known


def test_tables_of_timm_models_add_up_and_print():
    table = summary(convert(timm.create_model("mobilenetv2_050", num_classes=10).eval()), torch.randn(2, 3, 64, 64))
    assert sum(layer.macs for layer in table.layers) == table.macs
    heading, *rows = table.rows()
    assert heading[0] == "layer"
    assert rows[-1][0] == "total"
    assert f"{table.macs:,}" in repr(table)
    assert table._repr_html_().count("<tr>") == len(rows) + 1
    assert '<th scope="col">multiply-adds</th>' in table._repr_html_()


def test_work_outside_of_any_layer_is_not_lost_and_hooks_go():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            if x.shape[0] == 3:
                raise RuntimeError("on purpose")
            return self.inner(x) @ x.T

    net = Net().train()
    normed = nn.Sequential(nn.BatchNorm1d(4)).train()
    summary(normed, torch.randn(3, 4))
    assert normed[0].num_batches_tracked == 0
    table = summary(net, torch.randn(2, 4))
    assert [(layer.name, layer.macs) for layer in table.layers] == [("inner", 32), ("(other)", 16)]
    with pytest.raises(RuntimeError, match="on purpose"):
        summary(net, torch.randn(3, 4))
    assert not any(v for m in net.modules() for k, v in vars(m).items() if k.endswith("_hooks"))
    assert net.training


@pytest.mark.parametrize(
    ("make", "shape", "kind", "macs"),
    [
        (lambda: torchvision.models.convnext_tiny(num_classes=10), (1, 3, 32, 32), "Linear", 4 * 9437184 // 16),
        (
            lambda: torchvision.models.vit_b_32(num_classes=10, image_size=64),
            (1, 3, 64, 64),
            "MultiheadAttention",
            None,
        ),
    ],
    ids=["convnext", "vit"],
)
def test_layers_inside_of_modules_with_parameters_have_lines_of_their_own(make, shape, kind, macs):
    model, x = make().eval(), torch.randn(shape)
    table = summary(model, x)
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operation is unknown to torch's counter
    try:
        assert table.macs == counted(model, x) == sum(layer.macs for layer in table.layers)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert table.parameters == sum(p.numel() for p in model.parameters()) == sum(c.parameters for c in table.layers)
    found = [layer for layer in table.layers if layer.kind == kind]
    assert len(found) > 10
    assert all(layer.macs for layer in found)


def test_gates_and_aggregation_inside_of_a_module_with_parameters_are_seen():
    class Scaled(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.scale = inner, nn.Parameter(torch.ones(1))

        def forward(self, x):
            return self.scale * self.inner(x)

    layer, x = DynamicConv2d(8, 8, 3), torch.randn(2, 8, 9, 9)
    alone, inside = summary(layer, x), summary(Scaled(Scaled(layer)), x)
    assert alone.gate_macs > 0
    assert (inside.gate_macs, inside.aggregation_macs) == (alone.gate_macs, alone.aggregation_macs)
    assert [(c.name, c.parameters) for c in inside.layers] == [("", 1), ("inner", 1), ("inner.inner", alone.parameters)]


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(6, 4)

    def forward(self, x, y):
        return self.first(x) + self.second(y)


@pytest.mark.parametrize("wrap", [tuple, lambda xy: dict(zip("xy", xy, strict=True))], ids=["tuple", "dict"])
def test_several_inputs(wrap):
    table = summary(Two(), wrap((torch.randn(2, 4), torch.randn(2, 6))))
    assert [(layer.name, layer.macs) for layer in table.layers] == [("first", 32), ("second", 48)]


def test_a_list_is_one_input_and_a_parameter_that_two_lines_share_counts_once():
    class Lists(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
            self.b.weight = self.a.weight

        def forward(self, images):
            return [self.b(self.a(image)) for image in images]

    table = summary(Lists(), [torch.randn(1, 4), torch.randn(2, 4)])
    assert [(layer.macs, layer.parameters) for layer in table.layers] == [(48, 20), (48, 0)]
    assert (table.macs, table.parameters) == (96, 20)


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU])
def test_recurrent_layers_are_counted(make):
    layer = make(8, 16)
    weights = sum(p.numel() for n, p in layer.named_parameters() if n.startswith("weight"))
    assert summary(layer, torch.randn(5, 2, 8)).macs == 5 * 2 * weights


def test_a_compiled_model_is_counted_as_the_plain_one():
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), DynamicConv2d(4, 4, 3)), torch.randn(1, 3, 9, 9)
    expected = [c.macs for c in summary(model, x).layers]
    part = nn.Sequential(model[0], torch.compile(model[1], backend="eager"))
    for compiled in (torch.compile(model, backend="eager"), part):
        with torch.no_grad():
            compiled(x)
        assert [c.macs for c in summary(compiled, x).layers] == expected

"""The same bad inputs for every function and every layer: each gives an error that names what was wrong.

The other device is "meta", which every machine has; the operations of torch that do not look would read its memory as numbers.
"""

import numpy as np
import pytest
import torch

import dynconv as d
from dynconv import functional as f

X, W, A, B = torch.randn(2, 4, 7, 7), torch.randn(3, 6, 4, 3, 3), torch.randn(2, 3), torch.randn(3, 6)
ROW, ROWS = torch.rand(4), torch.randn(2, 4)
FUNCTIONS = {  # function: its tensors by name, and what else it needs
    **{
        f"dynamic_conv {m}": (f.dynamic_conv, {"x": X, "weight": W, "attention": A, "bias": B}, {"method": m})
        for m in ("auto", *f.METHODS)
    },
    "conv": (f.conv, {"x": X, "weight": W[0], "bias": B[0]}, {}),
    "conv_per_image": (f.conv_per_image, {"x": X, "kernel": W[:2], "bias": B[:2]}, {}),
    "mix_kernels": (f.mix_kernels, {"weight": W, "attention": A}, {}),
    "mix_outputs": (f.mix_outputs, {"outputs": torch.randn(2, 3, 6, 5), "weights": A}, {}),
    "class_activation_map": (f.class_activation_map, {"features": X, "weight": torch.randn(5, 4)}, {}),
    "layer_instance_norm": (f.layer_instance_norm, {"x": X, "rho": ROW, "gamma": ROW, "beta": ROW}, {}),
    "adaptive_layer_instance_norm": (
        f.adaptive_layer_instance_norm,
        {"x": X, "rho": ROW, "gamma": ROWS, "beta": ROWS},
        {},
    ),
}
ONE_TENSOR_EACH = [(name, tensor) for name, (_, tensors, _) in FUNCTIONS.items() for tensor in tensors]
LAYERS = {
    "StaticMixConv1d": lambda: d.StaticMixConv1d(4, 6, 3),
    "StaticMixConv2d": lambda: d.StaticMixConv2d(4, 6, 3),
    "StaticMixConv3d": lambda: d.StaticMixConv3d(4, 6, 3),
    "KernelAttention": lambda: d.KernelAttention(4),
    "DynamicConv1d": lambda: d.DynamicConv1d(4, 6, 3),
    "DynamicConv2d": lambda: d.DynamicConv2d(4, 6, 3),
    "DynamicConv3d": lambda: d.DynamicConv3d(4, 6, 3),
    "Routing": lambda: d.Routing(4, 3),
    "CondConv2d": lambda: d.CondConv2d(4, 6, 3),
    "OmniAttention": lambda: d.OmniAttention(4, 6, 9),
    "ODConv2d": lambda: d.ODConv2d(4, 6, 3),
    "ChannelGate": lambda: d.ChannelGate(4, 2),
    "SqueezeExcitation": lambda: d.SqueezeExcitation(4),
    "CAMHead": lambda: d.CAMHead(4, 5),
    "CAMAttention": lambda: d.CAMAttention(4),
    "ILN": lambda: d.ILN(4),
    "AdaLINParameters": lambda: d.AdaLINParameters(4),
    "UGATITGenerator": lambda: d.UGATITGenerator(4, width=2),
    "UGATITDiscriminator": lambda: d.UGATITDiscriminator(4, width=2, num_layers=3),
    "SpatialGate": lambda: d.SpatialGate(4),
    "SparseBlock": lambda: d.SparseBlock(4),
}


def images(name):
    n = int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else 2
    return torch.randn(2, 4, *[9] * n)


def call(name, **changes):
    function, tensors, options = FUNCTIONS[name]
    return function(**{**tensors, **options, **changes})


# ------------------------------------------------------------------------------------------------------------ functions


@pytest.mark.parametrize(("name", "tensor"), ONE_TENSOR_EACH)
def test_a_tensor_on_another_device_is_named_with_both_devices(name, tensor):
    changes = {tensor: FUNCTIONS[name][1][tensor].to("meta")}
    with pytest.raises(RuntimeError, match=rf"one device, got .*\b{tensor}: meta") as error:
        call(name, **changes)
    assert ": cpu" in str(error.value)


@pytest.mark.parametrize(("name", "tensor"), [c for c in ONE_TENSOR_EACH if "norm" not in c[0]])
def test_a_tensor_of_another_dtype_is_named_with_both_dtypes(name, tensor):
    changes = {tensor: FUNCTIONS[name][1][tensor].double()}
    with pytest.raises(TypeError, match=rf"one dtype, got .*\b{tensor}: torch.float64") as error:
        call(name, **changes)
    assert ": torch.float32" in str(error.value)
    with torch.autocast("cpu", torch.bfloat16):  # there torch casts what it multiplies
        call(name, **{tensor: FUNCTIONS[name][1][tensor].bfloat16()})


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "conv" in name])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride": 1.5}, "stride must be one or 2 integers of at least 1, got 1.5"),
        ({"stride": (1, 1.5)}, r"stride must be .* got \(1, 1.5\)"),
        ({"stride": 0}, "stride must be .* at least 1, got 0"),
        ({"padding": -1}, "padding must be one or 2 integers of at least 0, got -1"),
        ({"padding": None}, "padding must be .* got None"),
        ({"dilation": 0}, "dilation must be .* at least 1, got 0"),
        ({"groups": 0}, "groups must be an integer of at least 1, got 0"),
        ({"groups": 2.0}, "groups must be an integer of at least 1, got 2.0"),
        ({"x": X[..., :2, :2]}, r"kernel \(3, 3\) is larger than the padded input, \(2, 2\) \+ 2 × \(0, 0\)"),
        ({"x": X[..., :0]}, r"kernel \(3, 3\) is larger than the padded input, \(7, 0\)"),
        ({"x": X[:, :3]}, r"x must be \(B, 4, 2 spatial sizes\).*got \(2, 3, 7, 7\)"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,  # the same in every process: no tensor's numbers
)
def test_every_road_says_the_same_of_a_bad_geometry(name, changes, message):
    with pytest.raises(ValueError, match=message):
        call(name, **changes)


def test_integers_of_numpy_are_integers():
    assert call("conv", stride=np.int64(2), padding=(np.int32(1), 0)).shape == (2, 6, 4, 3)
    assert d.DynamicConv2d(4, 6, np.int64(3), num_kernels=np.int64(2))(X).shape == (2, 6, 5, 5)


def test_further_arguments():
    for make, error, message in (
        (lambda: f.softmax_temperature(A, "1"), TypeError, "temperature must be a number, got '1'"),
        (lambda: f.softmax_temperature(A, torch.ones(3)), ValueError, r"one number, got a tensor of shape \(3,\)"),
        (
            lambda: f.softmax_temperature(A[:, :0], 1.0),
            ValueError,
            r"at least one entry along dim=-1, got shape \(2, 0\)",
        ),
        (lambda: f.mix_outputs([], A[0, :0]), ValueError, r"at least one tensor, all of one shape, got shapes \[\]"),
        (lambda: f.mix_outputs([X, X[1:]], A[0, :2]), ValueError, r"got shapes \[\(1, 4, 7, 7\), \(2, 4, 7, 7\)\]"),
        (lambda: f.gumbel_sigmoid(A, uniforms=(A.to("meta"),) * 2), RuntimeError, r"logits: cpu, uniforms\[0\]: meta"),
        (lambda: f.dilate_gate(torch.ones(2, 1, 4, 4) > 0, (4, 4)), TypeError, "floating point, got torch.bool"),
        (lambda: f.dilate_gate(torch.ones(2, 1, 4, 4), (4, 4), stride=0), ValueError, "stride must be .* got 0"),
        (lambda: f.conv(X, W[0, 0, 0]), ValueError, r"weight must be \(O, C/groups, \*kernel\).*got \(3, 3\)"),
        (lambda: f.conv(X, W[0], B), ValueError, r"bias must be \(O,\) = \(6,\), got \(3, 6\)"),
        (lambda: d.LearnedAttention(0), ValueError, "num_kernels must be an integer of at least 1, got 0"),
        (lambda: d.DynamicConv2d(4, 6, 3, stride=1.5), ValueError, "stride must be .* got 1.5"),
        (lambda: d.DynamicConv2d(4, 6, 3, padding="full"), ValueError, "padding must be .* got 'full'"),
        (lambda: d.DynamicConv2d(4.0, 6, 3), ValueError, "in_channels must be an integer of at least 1, got 4.0"),
        (lambda: d.DynamicConv2d(4, 6, 3, groups=0), ValueError, "groups must be an integer of at least 1, got 0"),
        (lambda: d.DynamicConv2d(4, 6, 3, reduction=2.5), ValueError, "reduction must be an integer .* got 2.5"),
        (lambda: d.CondConv2d(4, 6, 3)(X, ROWS.long()), TypeError, "one dtype, got .*attention: torch.int64"),
        (lambda: d.CondConv2d(4, 6, 3)(X, ROWS.to("meta")), RuntimeError, "x: cpu, weight: cpu, attention: meta"),
    ):
        with pytest.raises(error, match=message):
            make()


# --------------------------------------------------------------------------------------------------------------- layers


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_names_what_is_wrong_with_its_input(name):
    layer, x = LAYERS[name]().eval(), images(name)
    layer(x)
    with pytest.raises(ValueError, match=r"expects \(B, 4, .*got \(2, 3, 9"):
        layer(x[:, :3])
    with pytest.raises(TypeError, match=r"floating point.*got torch\.int64"):
        layer(x.long())
    with pytest.raises(RuntimeError, match=r"one device, got x: meta, .*: cpu"):
        layer(x.to("meta"))
    with pytest.raises(RuntimeError, match=r"one device, got x: cpu, .*: meta"):
        LAYERS[name]().to("meta")(x)
    with pytest.raises(ValueError, match=r"\b0[,)]|0 position"):
        layer(x[..., :0])
    if name != "ILN":  # it computes in the wider of the two
        with pytest.raises(TypeError, match=r"one dtype, got x: torch\.float64, .*: torch\.float32"):
            layer(x.double())

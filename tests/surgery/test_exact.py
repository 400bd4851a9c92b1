"""Whatever stands in a model: converted exactly, left alone and said so, or refused by name."""

import copy
import functools
import warnings
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
import torchvision
from timm.layers import Conv2dSame, ScaledStdConv2d, StdConv2d
from timm.layers.std_conv import ScaledStdConv2dSame, StdConv2dSame
from torch import nn
from torch.nn.utils import parametrizations, prune

from dynconv import CAMAttention, DynamicConv1d, DynamicConv2d, DynamicConv3d, SparseBlock, StaticMixConv2d
from dynconv.layers.kernel_stack import KernelStack
from dynconv.probe import intervene
from dynconv.surgery import convert, fold, from_conv, report

X = torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(0))


def stacks(model):
    return [name for name, m in model.named_modules() if isinstance(m, KernelStack)]


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function(*args, **options)


# --- subclasses -------------------------------------------------------------------------------------------------------


class Named(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(channels, channels, 3, padding=1)
        self.purpose = "a mark of its own"


class PadsItself(nn.Conv2d):
    """As detectron2's and many ports': a forward of its own that is the plain one."""

    def forward(self, image):
        return F.conv2d(image, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class BigTransferConv(nn.Conv2d):
    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=False)
        kernel = (self.weight - mean) / torch.sqrt(variance + 1e-10)
        return F.conv2d(x, kernel, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Causal(nn.Conv1d):
    def forward(self, x):
        return super().forward(F.pad(x, (self.dilation[0] * (self.kernel_size[0] - 1), 0)))


class Masked(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight * (self.weight > 0), self.bias, padding=self.padding)


class MaskedByBuffer(nn.Conv2d):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.register_buffer("mask", torch.ones_like(self.weight))

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class Noisy(nn.Conv2d):
    def forward(self, x):
        noise = torch.rand_like(self.weight) if self.training else 0
        return F.conv2d(x, self.weight + noise, self.bias, padding=self.padding)


class WithMask(nn.Conv2d):
    def forward(self, x, mask=None):
        return super().forward(x if mask is None else x * mask)


class Pointwise(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight.sum((2, 3), keepdim=True), self.bias)


class Equalized(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight * 0.1, self.bias, padding=self.padding)


class CallsDifferently(nn.Conv2d):
    def __call__(self, x):
        return 2 * super().__call__(x)


EXACT = {
    "only __init__": lambda: Named(8),
    "torchvision's Conv3DSimple": lambda: torchvision.models.video.resnet.Conv3DSimple(8, 4),
    "its own forward, plain": lambda: PadsItself(8, 4, 3, stride=2, padding=1, groups=2),
    "TensorFlow's padding": lambda: Conv2dSame(8, 4, 3, stride=2),
    "the same, even kernel, dilated": lambda: Conv2dSame(8, 4, (2, 3), stride=(3, 1), dilation=(1, 2), bias=False),
    "StdConv2d": lambda: StdConv2d(8, 4, 3, stride=2, bias=True),
    "StdConv2dSame": lambda: StdConv2dSame(8, 4, 3, stride=2),
    "ScaledStdConv2d": lambda: ScaledStdConv2d(8, 4, 3, gamma=1.7, groups=2),
    "ScaledStdConv2dSame": lambda: ScaledStdConv2dSame(8, 4, 3, stride=2),
    "BiT's, without eps": lambda: BigTransferConv(8, 4, 3, padding=1),
}


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_subclasses_that_compute_a_plain_convolution_are_converted(make, dtype):
    conv = make().to(dtype).train()
    if hasattr(conv, "gain"):
        nn.init.uniform_(conv.gain, 0.5, 2)
    layer = from_conv(conv, 3)
    for size in (9, 12, 13):
        x = torch.randn(2, 8, *[size] * (conv.weight.ndim - 2), dtype=dtype)
        torch.testing.assert_close(layer(x), conv(x), atol=1e-4, rtol=1e-4)
    assert layer.training
    assert_folds_back(layer, conv)
    model = convert(nn.Sequential(conv, nn.ReLU()))
    assert stacks(model) == ["0"]
    assert report(model).changes[0].why == (
        "standardised once, no longer at each call"
        if "Std" in type(conv).__name__ or isinstance(conv, BigTransferConv)
        else ""
    )


def assert_folds_back(layer, conv):
    """To a plain convolution, also where torch's own cannot pad so; which converts again."""
    plain = fold(layer, "uniform")
    again = from_conv(plain, 2)
    for size in (9, 12):
        x = torch.randn(8, *[size] * (conv.weight.ndim - 2), dtype=conv.weight.dtype)
        for other in (plain, again):
            torch.testing.assert_close(other(x), conv(x[None])[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
def test_same_padding_at_a_stride_folds_in_every_mode_and_dimension(mode):
    for n, kind in ((1, DynamicConv1d), (2, StaticMixConv2d), (3, DynamicConv3d)):
        layer = kind(4, 3, 3, stride=2, padding="same", padding_mode=mode, bias=False)
        plain, x = fold(layer, "uniform"), torch.randn(2, 4, *[8, 9, 7][:n])
        with intervene(layer, "uniform"):
            torch.testing.assert_close(plain(x), layer(x), atol=1e-5, rtol=1e-5)
        assert "padding=same" in repr(plain)
        torch.testing.assert_close(from_conv(plain)(x), plain(x), atol=1e-5, rtol=1e-5)


LEFT = {
    "causal": (lambda: Causal(8, 8, 3, dilation=2), "does more than a convolution"),
    "masked": (lambda: Masked(8, 8, 3), "computes its kernel from its weight"),
    "masked by a buffer": (lambda: MaskedByBuffer(8, 8, 3), "modules or buffers of its own"),
    "noise in training": (lambda: Noisy(8, 8, 3), "another kernel at each call"),
    "a kernel of another shape": (lambda: Pointwise(8, 8, 3), "another kernel at each call, or one of another shape"),
    "a second argument": (lambda: WithMask(8, 8, 3), "takes more than an image"),
    "scaled weight": (lambda: Equalized(8, 8, 3), "computes its kernel from its weight"),
    "__call__": (lambda: CallsDifferently(8, 8, 3), "does more|is its own"),
    "new weight norm": (
        lambda: parametrizations.weight_norm(nn.Conv2d(8, 8, 3)),
        "weight is parametrized by WeightNorm",
    ),
    "new spectral norm": (lambda: parametrizations.spectral_norm(nn.Conv2d(8, 8, 3)), "parametrized by SpectralNorm"),
    "old spectral norm": (lambda: nn.utils.spectral_norm(nn.Conv2d(8, 8, 3)), "hooks|weight is computed"),
    "pruned": (lambda: prune.l1_unstructured(nn.Conv2d(8, 8, 3), "weight", 0.5), "hooks|weight is computed"),
    "lazy": (lambda: nn.LazyConv2d(8, 3), "no weight yet"),
    "scripted": (lambda: torch.jit.script(nn.Conv2d(8, 8, 3)), None),
}


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(("make", "why"), LEFT.values(), ids=LEFT)
def test_what_would_be_another_function_is_left_with_the_reason(make, why):
    conv = make()
    model = nn.Sequential(conv, nn.Conv1d(8, 8, 1) if isinstance(conv, nn.Conv1d) else nn.Conv2d(8, 8, 1)).eval()
    x = X[:, :, 0] if isinstance(conv, nn.Conv1d) else X
    if why is None:  # no nn.ConvNd to be seen: no reason is owed
        converted = quietly(convert, model)
    else:
        with pytest.warns(UserWarning, match=why):
            converted = convert(model)
        with pytest.raises((TypeError, ValueError), match=why):
            convert(model, where="0")
        assert report(converted).changes[0].why
    assert stacks(converted) == ["1"]
    if not isinstance(conv, nn.LazyConv2d):
        torch.testing.assert_close(converted(x), model(x))


def test_the_old_weight_norm_is_left_in_a_copy_that_torch_itself_cannot_make():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(8, 8, 3)), nn.Conv2d(8, 8, 1))
    with pytest.raises(RuntimeError):
        copy.deepcopy(model)
    with pytest.warns(UserWarning, match="weight"):
        converted = convert(model)
    torch.testing.assert_close(converted(X), model(X))
    converted[0].weight_g.data.mul_(2)  # the copy is one: its norm is computed anew, and the original's stays
    assert not torch.allclose(converted(X), model(X))


def test_a_subclass_without_numbers_cannot_be_observed():
    with pytest.raises(TypeError, match="meta device"):
        from_conv(StdConv2d(8, 8, 3, device="meta"))
    assert from_conv(nn.Conv2d(8, 8, 3, device="meta"), noise=0.1).weight.is_meta


# --- what hangs on an instance ----------------------------------------------------------------------------------------


def patched_conv_forward(conv):
    conv._conv_forward = lambda i, w, b: F.conv2d(F.pad(i, (1, 1, 0, 0), mode="circular"), w, b, padding=(1, 0))


def patched_forward(conv):
    plain = conv.forward
    conv.forward = functools.partial(lambda old, x: 2 * old(x), plain)


def hooked_input(conv):
    conv.register_forward_pre_hook(lambda module, args: (2 * args[0],))


INSTANCES = {
    "patched _conv_forward": (patched_conv_forward, "a patched _conv_forward"),
    "patched forward": (patched_forward, "a patched forward"),
    "pre-hook": (hooked_input, "_forward_pre_hooks"),
    "backward hook": (lambda conv: conv.register_full_backward_hook(lambda *_: None), "_backward_hooks"),
    "state dict hook": (lambda conv: conv.register_state_dict_post_hook(lambda *_: None), "_state_dict_hooks"),
    "hook on the weight": (lambda conv: conv.weight.register_hook(lambda g: 2 * g), "hooks on weight"),
    "hook on the bias": (lambda conv: conv.bias.register_post_accumulate_grad_hook(lambda p: None), "hooks on bias"),
    "compiled in place": (lambda conv: conv.compile(backend="eager"), "compiled in place"),
}


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize(("patch", "why"), INSTANCES.values(), ids=INSTANCES)
def test_what_an_instance_overrides_is_not_lost(patch, why, inplace):
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1))
    patch(model[0])
    with torch.no_grad():
        expected = model(X)
        with pytest.raises((TypeError, ValueError), match=f"^0: .*{why}"):
            convert(model, where="0", inplace=inplace)
        with pytest.warns(UserWarning, match=why):
            converted = convert(model, inplace=inplace)
        assert stacks(converted) == ["1"]
        torch.testing.assert_close(converted(X), expected)


def test_a_hook_on_a_parameter_is_kept_in_a_copy_too():
    model, fired = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1)), []
    model[0].weight.register_hook(fired.append)
    quietly(convert, model)(X).sum().backward()
    assert len(fired) == 1


@pytest.mark.parametrize("inplace", [True, False])
def test_marks_gradients_wanted_and_attributes_go_along_both_ways(inplace):
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Linear(7, 7))
    model[0].weight._no_weight_decay, model[1].weight._lr_scale = True, 0.1
    model[0].bias.requires_grad_(False)
    dynamic = convert(model, inplace=inplace)
    assert dynamic[0].weight._no_weight_decay
    assert dynamic[1].weight._lr_scale == 0.1
    assert not dynamic[0].bias.requires_grad
    plain = fold(dynamic, "uniform", inplace=inplace)
    assert plain[0].weight._no_weight_decay
    assert (plain[0].weight.requires_grad, plain[0].bias.requires_grad) == (True, False)


def test_attributes_of_the_instance_go_along():
    conv = Named(8)
    conv.stage = 3
    assert (from_conv(conv).purpose, from_conv(conv).stage) == ("a mark of its own", 3)


def test_a_tensor_that_is_no_plain_parameter_is_refused():
    class Sharded(torch.Tensor):
        pass

    conv = nn.Conv2d(8, 8, 3)
    conv.weight = nn.Parameter(conv.weight.detach().as_subclass(Sharded))
    with pytest.raises(TypeError, match="its weight is a Sharded"):
        from_conv(conv)


def test_a_model_whose_parameters_were_handed_out_is_refused(monkeypatch):
    wrapped = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(wrapped)
    wrapped.module = nn.Sequential(nn.Conv2d(8, 8, 3), StaticMixConv2d(8, 8, 3))
    for change in (convert, fold):
        with pytest.raises(ValueError, match=r"DistributedDataParallel.*change its .module first"):
            change(wrapped, inplace=True)


# --- parents ----------------------------------------------------------------------------------------------------------


class Parent(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.other = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1)


class Reads(Parent):
    def forward(self, x):
        return self.other(F.conv2d(x, self.conv.weight, self.conv.bias))


def applied(conv, x):
    return F.conv2d(x, conv.weight, conv.bias)


class Hands(Parent):
    def forward(self, x):
        return self.other(applied(self.conv, x))


class ReadsInAMethod(Parent):
    @property
    def kernel(self):
        return self.conv.weight

    def _inner(self, x):
        return F.conv2d(x, self.kernel)

    def forward(self, x):
        return self.other(self._inner(x))


class ReadsAnAlias(Parent):
    def forward(self, x):
        conv = self.conv if self.training else (self.conv or None)
        kernel = conv.weight
        return self.other(F.conv2d(x, kernel))


class ReadsInALoop(Parent):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([self.conv])

    def forward(self, x):
        return self.other(sum(F.conv2d(x, conv.weight) for conv in self.convs))


class ReadsInAZip(ReadsInALoop):
    def forward(self, x):
        parts = zip((x,), self.convs, strict=True)
        return self.other(sum(F.conv2d(part, conv.weight) for i, (part, conv) in enumerate(parts)))


class ReadsAGrandchild(Parent):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(OrderedDict(conv=self.conv))

    def forward(self, x):
        return self.other(F.conv2d(x, self.inner.conv.weight))


class Inherits(Reads):
    def forward(self, x):
        return super().forward(x) + 1


class CallsConvForward(Parent):
    def forward(self, x):
        return self.other(self.conv._conv_forward(x, -self.conv.weight, None))


READERS = [Reads, Hands, ReadsInAMethod, ReadsAnAlias, ReadsInALoop, ReadsInAZip]
READERS += [ReadsAGrandchild, Inherits, CallsConvForward]


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("options", [{}, {"sample": X}], ids=["unseen", "sample"])
def test_convolutions_whose_parents_read_them_are_left(kind, options):
    model = kind()
    with pytest.warns(
        UserWarning,
        match=rf"conv \(Conv2d\): {'Reads' if kind is Inherits else kind.__name__}|conv \(Conv2d\): Inherits",
    ):
        converted = convert(model, **options)
    assert stacks(converted) == ["other"]
    torch.testing.assert_close(converted(X), model(X))
    with pytest.raises(ValueError, match="besides calling it"):
        convert(model, where="conv")


class OnlyLooks(Parent):
    def forward(self, x):
        if self.conv.bias is not None and self.conv.stride == (1, 1) and isinstance(self.conv, nn.Module):
            x = x.to(self.conv.weight.dtype).to(self.conv.weight.device)
        for conv in (self.conv, self.other):
            x = torch.utils.checkpoint.checkpoint(conv, x, use_reentrant=False)
        return x


class OnlyLoops(Parent):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([self.conv, self.other])
        self.named = nn.ModuleDict({"third": nn.Sequential(nn.ReLU())})

    def forward(self, x):
        for i, (conv, part) in enumerate(zip(self.convs, (1.0, 2.0), strict=True)):
            x = conv(x) * torch.tensor(part + i)
        return sum(layer(x) + len(name) for name, layer in self.named.items())


@pytest.mark.parametrize("kind", [OnlyLooks, OnlyLoops])
def test_parents_that_only_look_or_loop_are_no_readers(kind):
    model = kind()
    converted = convert(model)
    assert stacks(converted)[:2] == ["conv", "other"]
    torch.testing.assert_close(converted(X), model(X))


class Hidden(Parent):
    def forward(self, x):
        return self.other(vars(self)["_modules"]["conv"]._conv_forward(x, next(iter(self.parameters())), None))


def test_a_sample_finds_what_the_source_does_not_tell():
    model = Hidden().eval()
    expected = model(X)
    with pytest.warns(UserWarning, match=r"conv \(Conv2d\): the model uses its weight without calling it"):
        converted = convert(model, sample=X, noise=0.5)
    assert stacks(converted) == ["other"]
    torch.testing.assert_close(model(X), expected)
    assert type(converted.conv) is nn.Conv2d


class Flips(Parent):
    def forward(self, x):
        return self.other(self.conv(x)) * (1 if type(self.conv) is nn.Conv2d else -1)


@pytest.mark.parametrize("inplace", [True, False])
def test_another_output_on_the_sample_is_an_error_and_undone(inplace):
    model = Flips()
    expected = model(X)
    with pytest.raises(ValueError, match="Flips computes something else on the sample"):
        convert(model, sample=X, inplace=inplace)
    assert stacks(model) == []
    torch.testing.assert_close(model(X), expected)


class Jumps(nn.Module):
    """Its output is what rounding leaves, as the order of boxes is that are sorted by nearly equal scores."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3)

    def forward(self, x):
        return self.conv(x).mul(1e8).remainder(97)


def test_an_output_that_jumps_by_itself_is_told_and_no_error():
    model = Jumps().eval()
    with pytest.warns(UserWarning, match="own output jumps"):
        converted = convert(model, 3, sample=X)
    assert type(converted.conv) is DynamicConv2d
    folded = quietly(fold, converted, "uniform", sample=X)
    torch.testing.assert_close(folded.conv(X), model.conv(X))


def test_our_own_blocks():
    block = SparseBlock(8, 12, stride=2).eval()
    with pytest.warns(UserWarning, match="SparseBlock .* besides calling it"):
        converted = convert(block)
    torch.testing.assert_close(converted(X), block(X))
    cam = quietly(convert, CAMAttention(8))
    with pytest.raises(TypeError, match="plain conv1x1, got DynamicConv2d"):
        cam.fold()


class KeepsAList(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
        self.stages = [self.one, ("two", {"two": self.two})]

    def forward(self, x):
        return self.stages[1][1]["two"](self.stages[0](x))


def test_lists_beside_the_children_are_exchanged_too():
    model = convert(KeepsAList(), noise=0.5)
    assert model.stages[0] is model.one
    assert model.stages[1][1]["two"] is model.two
    model(X).sum().backward()
    assert model.one.attention.fc2.bias.grad is not None


# --- compiled ---------------------------------------------------------------------------------------------------------


def compiled(model):
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda layer: nn.Sequential(compiled(layer)),
        lambda layer: compiled(nn.Sequential(layer)),
        lambda layer: compiled(nn.Sequential(compiled(layer))),
        lambda layer: nn.Sequential(nn.Sequential(compiled(nn.Sequential(layer)))),
        compiled,
    ],
    ids=["part", "whole", "both", "around", "layer"],
)
def test_compiled_parts_run_what_was_put_into_them(wrap, inplace):
    with torch.no_grad():
        model = wrap(nn.Conv2d(8, 8, 3))
        expected = model(X)
        dynamic = convert(model, inplace=inplace, noise=0.5, temperature=0.3, sample=X)
        assert len(stacks(dynamic)) == 1
        with intervene(dynamic, "uniform"):
            torch.testing.assert_close(dynamic(X), expected, atol=1e-4, rtol=1e-4)
        before = dynamic(X)
        assert not torch.allclose(before, expected, atol=1e-4)  # it is the new layer that runs
        plain = fold(dynamic, "uniform", inplace=inplace, sample=X)
        torch.testing.assert_close(plain(X), expected, atol=1e-4, rtol=1e-4)
        assert report(plain).changes[0].name in ("", "0", "0.0", "0.0.0")

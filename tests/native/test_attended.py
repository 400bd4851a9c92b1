"""A layer's two steps, its attention and the convolution, are one where nobody looks on between them: with the same bits."""

import pytest
import torch
from torch import nn

from dynconv import native
from dynconv.layers import DynamicConv2d, DynamicConv3d, KernelAttention

pytestmark = pytest.mark.skipif(not native.available(), reason="the library is not built")

LAYERS = {
    "3 × 3": {"kernel_size": 3, "padding": 1},
    "at a stride, dilated": {"kernel_size": 3, "stride": 2, "dilation": 2, "bias": False},
    "1 × 1": {"kernel_size": 1, "bias": False},
    "patches": {"kernel_size": 2, "stride": 2},
    "depthwise": {"kernel_size": 5, "padding": "same", "groups": 12},
}


def made(channels=12, seed=0, temperature=2.0, **options):
    torch.manual_seed(seed)
    layer = DynamicConv2d(
        channels, 24 if options.get("groups", 1) == 1 else channels, **options, temperature=temperature
    )
    nn.init.normal_(layer.attention.fc2.weight)
    return layer


def watched(layer):
    """The same layer with somebody who looks at its attention and does nothing: so it is two steps."""
    layer.attention.register_forward_hook(lambda module, given, weights: None)
    return layer


def one_step(y):
    return y.grad_fn is not None and y.grad_fn.name() == "_AttendedBackward"


def images(last=False, batch=3, channels=12, size=9):
    torch.manual_seed(1)
    x = torch.randn(batch, channels, size, size + 1)
    return x.to(memory_format=torch.channels_last if last else torch.contiguous_format)


@pytest.mark.parametrize("last", [False, True], ids=["usual", "channels last"])
@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_and_gradients_have_the_bits_of_two_steps(options, last, batch):
    found, second = [], []
    for layer, one in ((made(**options), True), (watched(made(**options)), False)):
        x = images(last, batch)
        with torch.no_grad():
            still = layer(x)
        inputs = [x.requires_grad_(), *layer.parameters()]
        y = layer(x)
        assert one_step(y) == one
        again = torch.autograd.grad(layer(x).square().sum(), inputs, create_graph=True)
        found.append([still, y, *torch.autograd.grad(y.square().sum(), inputs), *again])
        second.append(torch.autograd.grad(sum((g * g).sum() for g in again), inputs))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()
    for ours, theirs in zip(*second, strict=True):  # added in another order
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("which", ["x", "weight", "bias", "attention", "attention.fc2"])
def test_what_is_frozen_gets_no_gradient_and_changes_no_other(which, frozen):
    layer, x = made(kernel_size=3), images().requires_grad_()
    everything = {"x": x, **dict(layer.named_parameters())}
    whole = torch.autograd.grad(layer(x).square().sum(), list(everything.values()))
    wanted = [name.startswith(which) != frozen for name in everything]
    for tensor, want in zip(everything.values(), wanted, strict=True):
        tensor.requires_grad_(want)
    y = layer(x)
    assert one_step(y)
    y.square().sum().backward()
    for tensor, want, expected in zip(everything.values(), wanted, whole, strict=True):
        assert torch.equal(tensor.grad, expected) if want else tensor.grad is None


def test_gradients_come_in_batches():
    layer, x = made(kernel_size=3), images()
    y, inputs = layer(x), list(layer.parameters())
    grads = torch.randn(4, *y.shape)
    together = torch.autograd.grad(y, inputs, grads, is_grads_batched=True, retain_graph=True)
    for i, grad in enumerate(grads):
        for some, one in zip(together, torch.autograd.grad(y, inputs, grad, retain_graph=True), strict=True):
            torch.testing.assert_close(some[i], one, atol=1e-5, rtol=1e-5)


def test_the_bits_are_the_same_for_any_number_of_threads():
    layer, x, threads = made(kernel_size=3, padding=1), images(batch=7), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            y = layer(x)
            found.append([y, *torch.autograd.grad(y.square().sum(), list(layer.parameters()))])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for others in found[1:] for one, other in zip(found[0], others, strict=True))


def replaced(layer):
    layer.attention = nn.Sequential(layer.attention)


def forwarded(layer):
    attend = layer.attention.forward
    layer.attention.forward = lambda x: attend(x).flip(1)


def subclassed(layer):
    class Flipped(KernelAttention):
        def logits(self, x):
            return super().logits(x).flip(1)

    layer.attention.__class__ = Flipped


def hooked(layer):
    layer.attention.fc2.register_forward_hook(lambda module, given, y: y.flip(1))


def replaced_inside(layer):
    layer.attention.fc1 = nn.Linear(12, layer.attention.fc1.out_features, bias=False)


def parametrized(layer):
    nn.utils.parametrizations.weight_norm(layer.attention.fc1)


def sigmoid(layer):
    layer.attention.activation = "sigmoid"


@pytest.mark.parametrize(
    "change",
    [replaced, forwarded, subclassed, hooked, replaced_inside, parametrized, sigmoid],
    ids=lambda f: f.__name__,
)
def test_an_attention_that_is_another_is_asked(change):
    layer, x = made(kernel_size=3), images()
    assert one_step(layer(x))
    change(layer)
    y = layer(x)
    assert not one_step(y)
    pi = layer.attention(x)
    expected = torch.cat(
        [nn.functional.conv2d(x[b : b + 1], torch.einsum("k,koihw->oihw", pi[b], layer.weight)) for b in range(3)]
    )
    expected = expected + (pi @ layer.bias)[:, :, None, None]
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)


def test_a_hook_for_all_modules_sees_the_attention():
    layer, seen = made(kernel_size=3), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, given, y: seen.append(module))
    try:
        assert not one_step(layer(images()))
    finally:
        handle.remove()
    assert layer.attention in seen


def test_the_temperature_of_the_forward_pass_is_that_of_its_gradients():
    layer, other, x = made(kernel_size=3), made(kernel_size=3), images()
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    loss = other(x).square().sum()
    other.attention.temperature.fill_(30.0)
    assert all(map(torch.equal, torch.autograd.grad(loss, list(other.parameters())), expected))
    assert not torch.equal(other(x), layer(x))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_divides_nothing_is_named(temperature):
    layer = made(kernel_size=3)
    layer(images())
    layer.attention.temperature.fill_(temperature)
    with pytest.raises(ValueError, match=f"temperature must be a finite number above 0, got {temperature}"):
        layer(images())


@pytest.mark.parametrize("as_parameter", [False, True])
def test_a_temperature_that_learns_gets_its_gradient(as_parameter):
    layer = made(kernel_size=3)
    if as_parameter:
        del layer.attention.temperature
        layer.attention.temperature = nn.Parameter(torch.tensor(2.0))
    layer.attention.temperature.requires_grad_()
    y = layer(images())
    assert not one_step(y)
    y.square().sum().backward()
    assert layer.attention.temperature.grad.abs() > 0


def test_what_torch_and_the_layer_were_told_is_done():
    x = images()
    for options in ({"method": "outputs"}, {"method": "grouped"}, {"padding": 1, "padding_mode": "reflect"}):
        layer = made(kernel_size=3, **options)
        y = layer(x)
        assert not one_step(y)
        torch.testing.assert_close(y, watched(layer)(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made(kernel_size=3)(x).dtype == torch.bfloat16
    assert made(kernel_size=3).double()(x.double()).dtype == torch.float64
    layer = made(kernel_size=3)
    for some in (x, images(size=12)):  # as high as there are channels
        assert torch.equal(layer(some[0]), layer(some[:1])[0])
    with torch.device("meta"):
        assert layer(x).device.type == "cpu"


def test_what_does_not_fit_is_refused_as_before():
    layer, x = made(kernel_size=3), images()
    layer(x)
    for wrong, error, told in (
        (x[:, :5], ValueError, r"DynamicConv2d expects \(B, 12, H, W\)"),
        (x[:, :, :2], ValueError, "larger than the padded input"),
        (x.double(), TypeError, "must have one dtype"),
        (x.long(), TypeError, "expects floating point input"),
        (x[0, 0], ValueError, "DynamicConv2d expects"),
    ):
        with pytest.raises(error, match=told):
            layer(wrong)
    layer.attention.fc2.weight.data = torch.randn(3, layer.attention.fc2.in_features)
    with pytest.raises((ValueError, RuntimeError)):
        layer(x)
    layer = made(kernel_size=3)
    layer(x)
    layer.weight.data = layer.weight.data[:3]
    with pytest.raises(ValueError, match="attention must be"):
        layer(x)


def test_parameters_that_are_laid_otherwise_are_read_as_they_lie():
    layer, x = made(kernel_size=3), images()
    expected = layer(x)
    layer.weight.data = layer.weight.data.transpose(0, 1).contiguous().transpose(0, 1)
    layer.attention.fc1.weight.data = layer.attention.fc1.weight.data.T.contiguous().T
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer(x.repeat_interleave(2, 3)[..., ::2]), expected)
    layer.load_state_dict({name: t * 2 for name, t in layer.state_dict().items()}, assign=True)
    assert not torch.equal(layer(x), expected)


def test_weights_changed_before_their_gradient_are_found_out():
    layer, x = made(kernel_size=3), images()
    loss = layer(x).sum()
    with torch.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_is_saved_may_be_kept_elsewhere():
    layer, x = made(kernel_size=3), images().requires_grad_()
    inputs = [x, *layer.parameters()]

    def penalty():
        first = torch.autograd.grad(layer(x.sin()).square().sum(), inputs, create_graph=True)
        return [*first, *torch.autograd.grad(sum((g * g).sum() for g in first), inputs)]

    expected = penalty()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().numpy().copy(), torch.from_numpy):
        for ours, theirs in zip(penalty(), expected, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_an_attention_that_is_no_module_is_asked():
    layer, x = made(kernel_size=3), images()
    del layer.attention
    layer.attention = lambda x: torch.full((len(x), 4), 0.25)
    expected = nn.functional.conv2d(x, layer.weight.mean(0), layer.bias.mean(0))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


def test_one_volume_as_deep_as_it_has_channels_is_no_batch():
    torch.manual_seed(0)
    layer, x = DynamicConv3d(4, 6, 3, padding=1), torch.randn(2, 4, 4, 5, 6)
    torch.testing.assert_close(layer(x[0]), layer(x)[0])


def test_a_geometry_of_its_own_is_asked():
    class Valid(DynamicConv2d):
        def geometry(self):
            return {**super().geometry(), "padding": 0}

    torch.manual_seed(0)
    layer, x = Valid(12, 24, 3, padding=1), images()
    assert one_step(layer(x))
    assert layer(x).shape[2:] == (7, 8)

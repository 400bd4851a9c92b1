"""The attention's two layers, computed in one call where nobody has put anything on them, and called where somebody has."""

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

from dynconv import native
from dynconv.layers import CondConv2d, KernelAttention
from dynconv.layers.attention import Scores


@pytest.fixture(autouse=True)
def library():
    try:
        native.build()
    except RuntimeError as reason:
        pytest.skip(str(reason))


def doubled(module, args, output):
    return 2 * output


def put_forward(layer):
    layer.forward = lambda x: 2 * nn.functional.linear(x, layer.weight, layer.bias)


def put_tensor(layer, name):
    doubled = 2 * getattr(layer, name).detach() + 1
    delattr(layer, name)
    setattr(layer, name, doubled)


PUT = {
    "a hook": lambda layer: layer.register_forward_hook(doubled),
    "a hook before": lambda layer: layer.register_forward_pre_hook(lambda module, args: (2 * args[0],)),
    "a forward": put_forward,
    "a parametrization": lambda layer: nn.utils.parametrize.register_parametrization(layer, "weight", nn.Softplus()),
    "a mask": lambda layer: nn.utils.prune.random_unstructured(layer, "weight", 0.5),
    "a tensor for the weight": lambda layer: put_tensor(layer, "weight"),
    "a tensor for the bias": lambda layer: put_tensor(layer, "bias"),
    "a hook on all": lambda layer: nn.modules.module.register_module_forward_hook(
        lambda module, args, output: 2 * output if module is layer else None
    ),
}


@pytest.mark.parametrize("put", PUT.values(), ids=PUT)
def test_what_is_put_on_a_layer_is_heeded(put):
    torch.manual_seed(0)
    attention, x = KernelAttention(8, temperature=1.0), torch.randn(3, 8, 5, 5)
    with torch.no_grad():
        before, logits = attention(x), attention.logits(x)
        handle = put(attention.fc2)
        expected = attention.fc2(torch.relu(attention.fc1(x.mean((2, 3)))))
        after, scores = attention(x), attention.logits(x)
    if hasattr(handle, "remove"):
        handle.remove()
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(after, expected.softmax(1))
    assert not torch.allclose(after, before)
    assert not torch.allclose(scores, logits)


def test_another_layer_and_other_logits_are_heeded():
    class Louder(KernelAttention):
        def logits(self, x):
            return 3 * super().logits(x)

    attention, x = Louder(8, temperature=1.0), torch.randn(3, 8, 5, 5)
    torch.testing.assert_close(attention(x), (3 * Scores.logits(attention, x)).softmax(1))
    attention.fc2 = nn.Sequential(attention.fc2, nn.Tanh())
    torch.testing.assert_close(attention(x), attention.logits(x).softmax(1))
    routing = CondConv2d(8, 4, 3).attention
    routing.fc.register_forward_hook(doubled)
    torch.testing.assert_close(routing.logits(x), 2 * nn.functional.linear(x.mean((2, 3)), *routing.fc.parameters()))


@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 7), (3, 8, 5, 6), (0, 8, 5, 5), (3, 8, 40, 40)])
@pytest.mark.parametrize("temperature", [0.03, 1.0, 30.0])
def test_one_call_is_torchs_functions(shape, temperature):
    attention, x = KernelAttention(8, temperature=temperature), torch.randn(shape, requires_grad=True)
    inputs = [x, *attention.parameters()]
    answers = []
    for leaves in (inputs, [t.detach().double().requires_grad_() for t in inputs]):
        x, w1, w2, b2 = leaves
        if x.dtype == torch.float32:
            y = attention(x)
        else:
            mean = x.flatten(2).mean(2) if x.ndim > 2 else x
            y = ((torch.relu(mean @ w1.T) @ w2.T + b2) / temperature).softmax(1)
        first = torch.autograd.grad(y.cumsum(1).square().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves, allow_unused=True)
        answers.append([y, *first, *(g for g in second if g is not None)])
    torch.testing.assert_close(*answers, check_dtype=False, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # by the C++, and by torch's functions
def test_the_temperature_may_move_before_backward(dtype):
    attention, x = KernelAttention(8, temperature=2.0, dtype=dtype), torch.randn(3, 8, 5, 5, dtype=dtype)
    answers = []
    for moved in (2.0, 5.0):
        attention.temperature.fill_(2.0)
        y = attention(x).cumsum(1).square().sum()
        attention.temperature.fill_(moved)
        answers.append(torch.autograd.grad(y, list(attention.parameters())))
    torch.testing.assert_close(*answers)

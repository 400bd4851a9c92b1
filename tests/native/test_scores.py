"""The C++ of the attention's scores is torch's mean, linear layers and softmax, at any sizes, with the gradients."""

import pytest
import torch

from dynconv import native

pytestmark = pytest.mark.skipif(not native.available(), reason="the library is not built")


def sizes(seed):
    """Images, channels, positions, hidden numbers and outputs: around what a register holds, and what is computed together."""
    generator = torch.Generator().manual_seed(seed)
    return [int(torch.randint(1, most + 1, (), generator=generator)) for most in (9, 40, 70, 37, 19)]


@pytest.mark.parametrize("two_layers", [False, True])
@pytest.mark.parametrize("image", [None, torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("seed", range(25))
def test_outputs_and_gradients_are_those_in_double_precision(seed, image, two_layers):
    torch.manual_seed(seed)
    images, channels, positions, hidden, outs = sizes(seed)
    x = torch.randn(images, channels, *[positions, 2] * (image is not None))
    x = x if image is None else x.contiguous(memory_format=image)
    first = torch.randn(hidden, channels), torch.randn(hidden)
    second = (torch.randn(outs, hidden), torch.randn(outs)) if two_layers else (None, None)
    temperature, direction = torch.tensor(2.0), torch.randn(images, outs if two_layers else hidden)

    def found(dtype):
        given = [None if t is None else t.to(dtype).requires_grad_() for t in (x, *first, *second)]
        y = native.perceptron(*given, temperature.to(dtype))
        return y, *torch.autograd.grad((y * direction.to(dtype)).sum(), [t for t in given if t is not None])

    with torch.no_grad():
        alone = native.perceptron(x, *first, *second, temperature)
    ours, theirs = found(torch.float32), found(torch.float64)
    assert torch.equal(alone, ours[0])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_mean_of_a_long_row_is_not_lost_in_its_sum():
    x = torch.full((3, 5, 1 << 20), 0.1)
    y = native.perceptron(x, torch.eye(5))
    torch.testing.assert_close(y, torch.full((3, 5), 0.1), atol=0, rtol=5e-5)

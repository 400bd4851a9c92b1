"""What torch.library asks of operations, of each that is registered: schema, autograd, fake kernels, symbolic sizes."""

import pytest
import torch
from torch.library import opcheck

from dynconv import native

OPERATIONS = {"native": native.OPERATION, "grouped": native.GROUPED}


# torch looks at .grad of its own copies and hides this warning from a reader, not from a test in which warnings are errors
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


@pytest.fixture(scope="module", autouse=True)
def library():
    try:
        native.build()
    except RuntimeError as reason:
        pytest.skip(str(reason))


def arguments(requires_grad, bias, groups=1):
    """With groups a kernel for each channel, and channels last."""
    torch.manual_seed(0)
    channels, outs, inside = (3, 8, 3) if groups == 1 else (groups, groups, 1)
    shapes = (2, channels, 6, 5), (4, outs, inside, 3, 3), (2, 4), (4, outs), (2, outs, 3, 3)
    x, weight, attention, beta, grad = (torch.randn(shape) for shape in shapes)
    x = x if groups == 1 else x.to(memory_format=torch.channels_last)
    given = [t.requires_grad_(requires_grad) for t in (x, weight, attention, beta, grad)]
    return [*given[:3], given[3] if bias else None], given[4], [[2, 2], [1, 1], [1, 1], groups]


@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_operations_with_derivatives(name, bias, groups):
    inputs, grad, geometry = arguments(True, bias, groups)
    opcheck(OPERATIONS[name].outer, (*inputs, *geometry))
    opcheck(OPERATIONS[name].outer_backward, (*inputs, grad, *geometry, [True, True, True, bias]))


@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("needed", [(True, True, True, True), (False, True, False, False)], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_those_that_do_the_work(name, needed, groups):
    inputs, grad, geometry = arguments(False, True, groups)
    opcheck(OPERATIONS[name].inner, (*inputs, *geometry))
    opcheck(OPERATIONS[name].inner_backward, (*inputs, grad, *geometry, needed))

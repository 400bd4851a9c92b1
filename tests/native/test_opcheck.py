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


def arguments(requires_grad, bias):
    torch.manual_seed(0)
    shapes = (2, 3, 6, 5), (4, 8, 3, 3, 3), (2, 4), (4, 8), (2, 8, 3, 3)
    x, weight, attention, beta, grad = (torch.randn(shape, requires_grad=requires_grad) for shape in shapes)
    return [x, weight, attention, beta if bias else None], grad, [[2, 2], [1, 1], [1, 1], 1]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_operations_with_derivatives(name, bias):
    inputs, grad, geometry = arguments(True, bias)
    opcheck(OPERATIONS[name].outer, (*inputs, *geometry))
    opcheck(OPERATIONS[name].outer_backward, (*inputs, grad, *geometry, [True, True, True, bias]))


@pytest.mark.parametrize("needed", [(True, True, True, True), (False, True, False, False)], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_those_that_do_the_work(name, needed):
    inputs, grad, geometry = arguments(False, True)
    opcheck(OPERATIONS[name].inner, (*inputs, *geometry))
    opcheck(OPERATIONS[name].inner_backward, (*inputs, grad, *geometry, needed))

"""The method that "auto" takes, by thresholds that were measured: ``python -m experiments.bench --all`` shows every method.

On a CPU, in the order in which it is asked:

- *native* wins but for large kernels that see many positions, which are what torch's convolutions are best at, if channels are
  multiples of 16: others they fill up. Where each channel has a kernel of its own it always wins. Its sums have an order that
  does not depend on the number of threads, which torch's have not: so under ``torch.use_deterministic_algorithms(True)`` it is
  taken wherever it can be.
- *unfold* wins where patches cost little (1 × 1), where channels are few, and where a large kernel sees few positions. Its
  patches are the kernel's size times the image, so it is left where they are many.
- *grouped* is what is left.

On an NVIDIA GPU (one group, 16 channels and more; an H100's numbers are in experiments/speed_gpu.md):

- *triton* wins in half precision, where a convolution in which each image is a group is what cuDNN is slowest at; in float32 at
  a stride; and for 1 × 1 kernels if channels lie last.
- *outputs*, K plain convolutions, win for few positions, where mixing is the work: up to 14² in float32, 7² in training.
- *grouped* wins in float32 for many positions, and for one image, which is a plain convolution; *unfold* for 1 × 1 kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..native.operation import format_of, learns
from .checks import autocasts
from .methods import backends

__all__ = ["choose_method", "choose_per_image"]

TORCH_TAPS = 16  # of a kernel, at least: for
TORCH_POSITIONS = 128  # of the output, at least, and
TORCH_CHANNELS = 16  # in and out, or multiples, torch's own convolutions win
FEW_CHANNELS = 4  # at most this many are unfolded
MANY_WEIGHTS = 4096  # of a kernel, for each position of the image: then it is unfolded
SINGLE_POSITIONS = 196  # of the output, at most: for so few, in float32 on a GPU, K convolutions of torch's win
HALF_POSITIONS = 64  # the same in half precision, if gradients are wanted
PATCHES = 8_000_000  # bytes that may be unfolded, but for 1 × 1 kernels, whose patches are the image itself


def choose_method(x: Tensor, weight: Tensor, stride: Sequence[int] = (), can: Sequence[str] | None = None) -> str:
    """Name the method that ``method="auto"`` takes.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458; where one method overtakes another was measured here
    (experiments/speed.md)

    It depends on shapes and device, on what is built, on whether gradients are wanted, and on
    ``torch.use_deterministic_algorithms``. While a model is exported, on whether its batch is free: with a fixed one the
    kernels are mixed before the convolution, with a free one K convolutions are computed for each image, K times the work.

    Example:
        >>> import torch
        >>> choose_method(torch.empty(16, 64, 28, 28), torch.empty(4, 64, 64, 5, 5))
        'grouped'

    Args:
        x: (B, C, *S).
        weight: (K, O, C/groups, *kernel).
        stride: one number a dimension, or none for 1.
        can: the registered operations that can take the tensors, where this is known.
    """
    if _free_batch(x):  # images as groups would fix it
        return "unfold" if _pointwise(weight) else "outputs"
    if x.shape[0] == 0:  # a convolution cannot have zero groups
        return "outputs"
    can = backends(x, weight) if can is None else can
    if "native" in can and _native_wins(x, weight, stride):
        return "native"
    method = _on_a_gpu(x, weight, stride) if "triton" in can else None
    return method or choose_per_image(x, weight, stride)


def choose_per_image(x: Tensor, kernel: Tensor, stride: Sequence[int] = ()) -> str:
    """ "unfold" where patches cost little or, on a CPU, where a large kernel sees few positions; else "grouped"."""
    if _free_batch(x) or x.shape[0] == 0:
        return "unfold"
    if x.shape[0] == 1:  # one image is one group: a plain convolution
        return "grouped"
    if _pointwise(kernel):
        return "unfold"
    cpu, positions = x.device.type == "cpu", x.shape[2:].numel()
    few_positions = kernel.shape[1:].numel() >= MANY_WEIGHTS * positions
    few_channels = x.shape[1] == kernel.shape[2] <= FEW_CHANNELS
    taps, stepped = kernel.shape[3:].numel(), positions // math.prod(stride)
    small = x.shape[0] * x.shape[1] * taps * stepped * x.element_size() <= PATCHES
    return "unfold" if cpu and small and (few_positions or few_channels) else "grouped"


def _native_wins(x: Tensor, weight: Tensor, stride: Sequence[int]) -> bool:
    large = weight.shape[3:].numel() >= TORCH_TAPS and x.shape[2:].numel() // math.prod(stride) >= TORCH_POSITIONS
    filled_up = any(channels % TORCH_CHANNELS for channels in weight.shape[1:3])
    return not large or filled_up or torch.are_deterministic_algorithms_enabled()


def _on_a_gpu(x: Tensor, weight: Tensor, stride: Sequence[int]) -> str | None:
    """ "triton", "outputs", or what :func:`choose_per_image` says."""
    if x.shape[0] == 1:  # one image is a plain convolution
        return None
    if torch.are_deterministic_algorithms_enabled():
        return "triton"
    if _pointwise(weight):  # the patches are the image itself, if its channels lie last
        return "triton" if format_of(x) == torch.channels_last else None
    positions, single = x.shape[2:].numel() // math.prod(stride), x.dtype == torch.float32
    if single and not autocasts(x):
        few = positions <= SINGLE_POSITIONS
        return "triton" if math.prod(stride) > 1 else "outputs" if few else None
    return "outputs" if positions <= HALF_POSITIONS and learns(x, weight) else "triton"


def _free_batch(x: Tensor) -> bool:
    """Whether an exporter wants any number of images (of dynamo's it is not known: there it looks like one number)."""
    return torch.compiler.is_exporting() and (torch.compiler.is_dynamo_compiling() or not isinstance(x.shape[0], int))


def _pointwise(weight: Tensor) -> bool:
    return weight.shape[3:].numel() == 1

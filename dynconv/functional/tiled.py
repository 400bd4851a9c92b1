"""Dynamic convolution a tile at a time: kernels are mixed in a little memory that is used again, forward and backward.

New memory costs a CPU more than mixing does: the kernels of 32 images with 256 channels are 75 MB, which the system hands out page
by page. Here a few images and a few output channels are mixed at a time, used while they lie in the cache, and overwritten;
the backward pass mixes them again instead of keeping them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..native.definition import Derivatives, mix, output_size, per_channel, through_bias
from ..native.operation import Operation

__all__ = ["OPERATION", "pays"]

Ints = Sequence[int]

TILE, FEWEST_IMAGES, FEWEST_CHANNELS = 2_000_000, 8, 128  # bytes of mixed kernels in a tile, unless that is too few
ORDER = 2  # how many times as many numbers as the patches the kernels may have and still be reordered


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether the mixed kernels are more than one tile holds: below that, "unfold" does the same with less ado."""
    return x.shape[0] * weight[0].numel() * x.element_size() > TILE


def _forward(x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    """(B, C, *S), (K, O, C, *kernel), (B, K), (K, O) → (B, O, *S')."""
    plan = _Plan(x, weight, *geometry[:3])
    matrix, scratch = plan.matrix(weight), plan.scratch(x)
    output = x.new_empty(x.shape[0], weight.shape[1], *plan.spatial)
    y = output.flatten(2)  # (B, O, S'), the same memory
    for images in plan.images:
        columns = plan.columns(x[images])
        for rows in plan.rows:
            kernel = plan.mix(matrix, attention[images], rows, scratch)
            torch.bmm(kernel, columns, out=y[images, rows])
    return output if bias is None else output.add_(per_channel(mix(bias, attention), output))


def _backward(
    x: Tensor, weight: Tensor, attention: Tensor, bias: Tensor | None, grad: Tensor, *rest: Any
) -> Derivatives:
    """From the gradient of the outputs those of the four inputs, each where it is needed."""
    *steps, _, needed = rest
    plan = _Plan(x, weight, *steps)
    matrix, scratch, change = plan.matrix(weight), plan.scratch(x), plan.scratch(x)
    grad = grad.reshape(*grad.shape[:2], -1)  # (B, O, S')
    grad_x: Any = torch.empty_like(x, memory_format=torch.contiguous_format) if needed[0] else None
    grad_matrix: Any = torch.zeros_like(matrix) if needed[1] else None
    grad_attention: Any = torch.zeros_like(attention) if needed[2] else None
    for images in plan.images:
        columns: Any = plan.columns(x[images]) if needed[1] or needed[2] else None
        grad_columns: Any = None
        for rows in plan.rows:
            g = grad[images, rows]  # (b, rows, S')
            if needed[0]:
                kernel = plan.mix(matrix, attention[images], rows, scratch)
                factors = (g.transpose(1, 2), kernel) if plan.last else (kernel.transpose(1, 2), g)
                grad_columns = torch.bmm(*factors) if grad_columns is None else grad_columns.baddbmm_(*factors)
            if needed[1] or needed[2]:
                of_kernel = torch.bmm(g, columns.transpose(1, 2), out=plan.tile(change, g)).flatten(1)
            part = slice(rows.start * plan.length, rows.stop * plan.length)
            if needed[1]:
                grad_matrix[:, part].addmm_(attention[images].T, of_kernel)
            if needed[2]:
                grad_attention[images].addmm_(of_kernel, matrix[:, part].T)
        if needed[0]:
            grad_x[images] = plan.fold(grad_columns)
    of_attention, of_bias = through_bias(attention, bias, grad, grad_attention, needed[3])
    return grad_x, None if grad_matrix is None else plan.kernels(grad_matrix), of_attention, of_bias


class _Plan:
    """How the work is cut: images and rows (output channels) of a tile, and the order in which a patch is laid out.

    A patch lies channels last, in runs as long as the channels, unless reordering the kernels would cost more.
    """

    def __init__(self, x: Tensor, weight: Tensor, stride: Ints, padding: Ints, dilation: Ints) -> None:
        batch, self.channels = x.shape[:2]
        self.kernel = weight.shape[3:]
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.sizes = x.shape[2:]
        self.spatial = output_size(self.sizes, self.kernel, stride, padding, dilation)
        self.positions = torch.Size(self.spatial).numel()
        out, self.length = weight.shape[1], weight[0, 0].numel()
        self.last = self.kernel.numel() > 1 and weight.numel() <= ORDER * batch * self.positions * self.length
        row = self.length * x.element_size()
        self.at_once = max(1, min(batch, max(FEWEST_IMAGES, TILE // (out * row))))
        self.high = max(1, min(out, max(FEWEST_CHANNELS, TILE // (self.at_once * row))))
        self.images = [slice(i, min(i + self.at_once, batch)) for i in range(0, batch, self.at_once)]
        self.rows = [slice(o, min(o + self.high, out)) for o in range(0, out, self.high)]

    def matrix(self, weight: Tensor) -> Tensor:
        """(K, O · length), each row of a kernel in the order of a patch."""
        return (weight.flatten(3).transpose(2, 3) if self.last else weight).flatten(1)

    def kernels(self, matrix: Tensor) -> Tensor:
        """Back from :meth:`matrix` to (K, O, C, *kernel)."""
        if self.last:
            matrix = matrix.reshape(matrix.shape[0], -1, self.kernel.numel(), self.channels).transpose(2, 3)
        return matrix.reshape(matrix.shape[0], -1, self.channels, *self.kernel)

    def scratch(self, like: Tensor) -> Tensor:
        return like.new_empty(self.at_once * self.high * self.length)

    def tile(self, scratch: Tensor, like: Tensor) -> Tensor:
        """(b, rows, length) of the scratch memory, for as many images and rows as ``like`` has."""
        return scratch[: like.shape[0] * like.shape[1] * self.length].view(*like.shape[:2], self.length)

    def mix(self, matrix: Tensor, attention: Tensor, rows: slice, scratch: Tensor) -> Tensor:
        """(b, rows, length): these images' mixed kernels, in the scratch memory."""
        high, batch = rows.stop - rows.start, attention.shape[0]
        mixed = scratch[: batch * high * self.length].view(batch, high * self.length)
        torch.mm(attention, matrix[:, rows.start * self.length : rows.stop * self.length], out=mixed)
        return mixed.view(batch, high, self.length)

    def columns(self, x: Tensor) -> Tensor:
        """(b, length, positions): every patch as a column."""
        n = len(self.kernel)
        if self.last:
            x = self._pad(x)
            for i, (size, step, gap) in enumerate(zip(self.kernel, self.stride, self.dilation, strict=True)):
                x = x.unfold(1 + i, gap * (size - 1) + 1, step)[..., ::gap]  # (b, …, C, …, kernel size)
            order = (0, *range(1, n + 1), *range(n + 2, 2 * n + 2), n + 1)
            return x.permute(order).reshape(x.shape[0], self.positions, self.length).transpose(1, 2)
        x = F.pad(x, [p for size in reversed(self.padding) for p in (size, size)])
        for i, (size, step, gap) in enumerate(zip(self.kernel, self.stride, self.dilation, strict=True)):
            x = x.unfold(2 + i, gap * (size - 1) + 1, step)[..., ::gap]
        order = (0, 1, *range(n + 2, 2 * n + 2), *range(2, n + 2))
        return x.permute(order).reshape(x.shape[0], self.length, self.positions)

    def fold(self, columns: Tensor) -> Tensor:
        """Back from patches, adding where they overlap: (b, positions, length), or else turned, → (b, C, *S)."""
        n, batch = len(self.kernel), columns.shape[0]
        if self.last:
            columns = columns.reshape(batch, *self.spatial, *self.kernel, self.channels)
        else:
            columns = columns.reshape(batch, self.channels, *self.kernel, *self.spatial)
            columns = columns.permute(0, *range(n + 2, 2 * n + 2), *range(2, n + 2), 1)
        padded = [size + 2 * p for size, p in zip(self.sizes, self.padding, strict=True)]
        x = columns.new_zeros(batch, *padded, self.channels)
        for tap in product(*map(range, self.kernel)):
            starts = [i * gap for i, gap in zip(tap, self.dilation, strict=True)]
            spans = [
                slice(a, a + (s - 1) * step + 1, step)
                for a, s, step in zip(starts, self.spatial, self.stride, strict=True)
            ]
            here: tuple[slice, ...] = (slice(None), *spans)
            there: tuple[slice | int, ...] = (slice(None), *[slice(None)] * n, *tap)
            x[here] += columns[there]
        return x[self._inside()].movedim(-1, 1)

    def _pad(self, x: Tensor) -> Tensor:
        padded = x.new_zeros(
            x.shape[0], *(s + 2 * p for s, p in zip(self.sizes, self.padding, strict=True)), self.channels
        )
        padded[self._inside()] = x.movedim(1, -1)
        return padded

    def _inside(self) -> tuple[slice, ...]:
        return (slice(None), *(slice(p, p + s) for p, s in zip(self.padding, self.sizes, strict=True)))


OPERATION = Operation("tiled", _forward, _backward, "CPU")

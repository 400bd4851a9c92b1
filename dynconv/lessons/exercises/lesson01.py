"""Exercises of lesson 01, plain convolution."""

from __future__ import annotations

import torch
from torch import Tensor

from ...functional import conv
from .exercise import Exercise, Mistake
from .watching import CONVOLUTIONS, Limit

__all__ = ["EXERCISES"]


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Patch times kernel, summed over the input channels, plus the bias; no padding, stride 1."""
    patches = x.unfold(1, weight.shape[2], 1).unfold(2, weight.shape[3], 1)  # (in, H', W', kh, kw)
    return torch.einsum("ihwuv,oiuv->ohw", patches, weight) + bias[:, None, None]


def _convolve_cases():
    generator = torch.Generator().manual_seed(1)
    cases = []
    for channels, out, size, kernel in ((2, 3, (5, 5), (3, 3)), (3, 2, (5, 7), (2, 3)), (1, 4, (4, 6), (1, 2))):
        shapes = ((channels, *size), (out, channels, *kernel), (out,))
        cases.append(tuple(torch.randint(-3, 4, shape, generator=generator).float() for shape in shapes))
    return cases


CONVOLVE = Exercise(
    convolve,
    _convolve_cases,
    {
        "flipped": Mistake(
            lambda x, w, b: convolve(x, w.flip(2, 3), b),
            "The kernel is turned by 180 degrees, as in mathematics. Lay it on the patch as it is.",
        ),
        "transposed": Mistake(
            lambda x, w, b: convolve(x, w.transpose(2, 3), b),
            "Rows and columns of the kernel are swapped: u goes down, v goes right, in patch and kernel alike.",
        ),
        "no bias": Mistake(
            lambda x, w, b: convolve(x, w, 0 * b), "The bias is missing: each output channel adds its own once."
        ),
        "bias for every channel": Mistake(
            lambda x, w, b: convolve(x, w, len(x) * b),
            "The bias is added once for every input channel. Add it once, after the sum over the channels.",
        ),
        "bias for every product": Mistake(
            lambda x, w, b: convolve(x, w, w[0].numel() * b),
            "The bias is inside the sum and is added once for every product. Add it once, after the sum.",
        ),
        "bias along the columns": Mistake(
            lambda x, w, b: convolve(x, w, 0 * b) + b,
            "The bias runs along the columns: PyTorch lines up the last dimension. Use bias[o], or bias[:, None, None].",
        ),
        "products averaged": Mistake(
            lambda x, w, b: convolve(x, w / w[0].numel(), b),
            "The products of a patch are averaged. A convolution adds them up.",
        ),
        "channels averaged": Mistake(
            lambda x, w, b: convolve(x, w / len(x), b),
            "The input channels' parts are averaged. A convolution adds them up.",
        ),
        "first channel only": Mistake(
            lambda x, w, b: convolve(x[:1], w[:, :1], b),
            "Only the first input channel is used. Sum over all of them, each with a kernel of its own.",
        ),
        "one kernel for all channels": Mistake(
            lambda x, w, b: convolve(x, w[:, :1].expand_as(w), b),
            "Every input channel is multiplied with the same kernel. weight[o, i] belongs to input channel i.",
        ),
        "one output channel": Mistake(
            lambda x, w, b: convolve(x, w, b).sum(0, keepdim=True),
            "The output channels are added up too. Only input channels are summed; keep one map for each output channel.",
        ),
        "one row and column too few": Mistake(
            lambda x, w, b: convolve(x, w, b)[:, :-1, :-1],
            "The last row and column are missing: a kernel of kh has H - kh + 1 places, not H - kh.",
        ),
        "one row too few": Mistake(
            lambda x, w, b: convolve(x, w, b)[:, :-1],
            "The last row is missing: a kernel of kh has H - kh + 1 places, not H - kh.",
        ),
        "rows for columns": Mistake(
            lambda x, w, b: convolve(x, w, b).transpose(1, 2),
            "Rows and columns of the result are swapped: y[o, r, c], with r for the row.",
        ),
        "padded": Mistake(
            lambda x, w, b: conv(x[None], w, b, padding=(w.shape[2] // 2, w.shape[3] // 2))[0],
            "The picture was padded with zeros. Here the kernel stays inside: H - kh + 1 rows, W - kw + 1 columns.",
        ),
    },
    (
        Limit(
            CONVOLUTIONS,
            0,
            "But write the convolution yourself: with loops, or with `F.unfold` and `einsum`, and without torch's own.",
        ),
    ),
)


def output_size(size: int, kernel: int, padding: int, stride: int) -> int:
    """How many places a kernel has along one axis."""
    return (size + 2 * padding - kernel) // stride + 1


OUTPUT_SIZE = Exercise(
    output_size,
    lambda: [(20, 3, 4, 2), (9, 2, 1, 3), (96, 7, 3, 2), (28, 5, 0, 1), (5, 5, 0, 1)],
    {
        "plus one inside": Mistake(
            lambda n, k, p, s: (n + 2 * p - k + 1) // s,
            "The 1 stands inside the division. Divide the way to go by the stride first, then add 1 for the first place.",
        ),
        "one too few": Mistake(
            lambda n, k, p, s: (n + 2 * p - k) // s,
            "This counts the steps; the places are one more, for the kernel stands at its first place before any step.",
        ),
        "padding at one end": Mistake(
            lambda n, k, p, s: (n + p - k) // s + 1,
            "The padding is added at one end only. It is added at both: 2 * padding.",
        ),
        "padding forgotten": Mistake(
            lambda n, k, p, s: (n - k) // s + 1, "The padding is missing: it makes the picture larger at both ends."
        ),
        "stride forgotten": Mistake(
            lambda n, k, p, s: n + 2 * p - k + 1, "The stride is missing: the kernel moves `stride` pixels at a time."
        ),
        "size over stride": Mistake(
            lambda n, k, p, s: n // s,
            "This is size / stride, which is right only for some paddings. The kernel has to fit in.",
        ),
        "rounded up": Mistake(
            lambda n, k, p, s: -(-(n + 2 * p - k) // s) + 1,
            "The division rounds up. Where the last step does not fit, there is no place: round down, with //.",
        ),
        "kernel not divided": Mistake(
            lambda n, k, p, s: (n + 2 * p) // s - k + 1,
            "The kernel is taken off after the division. Take it off first: only the way that is left is walked in strides.",
        ),
        "one place early": Mistake(
            lambda n, k, p, s: (n + 2 * p - k - 1) // s + 1,
            "There is 1 too much taken off before the division. (PyTorch's formula has dilation * (kernel - 1) there.)",
        ),
        "rounded to the nearest": Mistake(
            lambda n, k, p, s: round((n + 2 * p - k) / s) + 1,
            "The division rounds to the nearest. Where the last step does not fit, there is no place: round down, with //.",
        ),
        "not whole": Mistake(
            lambda n, k, p, s: (n + 2 * p - k) / s + 1,
            "The result is not a whole number: half a place is no place. Use // for the division.",
        ),
    },
)

EXERCISES = {"01.convolve": CONVOLVE, "01.output_size": OUTPUT_SIZE}

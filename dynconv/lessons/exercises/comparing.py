"""What an answer returned beside what it should: anything can come, and all of it gets a sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .running import OutOfTimeError, Raised

__all__ = ["advice", "described", "difference"]

FEW = 12  # numbers that are shown as they are
LONGEST = 200  # letters of somebody else's words


def difference(expected: object, got: object) -> str:
    """One sentence on the first difference between numbers, empty if there is none; of what kind they are is no matter.

    Reference: closeness as in torch.testing.assert_close, https://docs.pytorch.org/docs/stable/testing.html

    Example:
        >>> difference(torch.ones(2), torch.tensor([1.0, 2.0]))
        'element [1] should be 1 but is 2.'
        >>> difference(torch.ones(2), [1, 1]), difference(3, "three")
        ('', 'should return a tensor or number but returns str.')

    Args:
        expected: a tensor, a number, a tuple of them, or a :class:`dynconv.lessons.exercises.running.Raised`.
        got: anything.
    """
    try:
        return _difference(expected, got)
    except Exception:  # what says of itself what it likes
        return "should return a tensor or number but returns something that cannot be looked at."


def _difference(expected: object, got: object) -> str:
    if isinstance(got, Raised):
        return "" if isinstance(expected, Raised) and _words(expected) == _words(got) else _words(got)
    if isinstance(expected, tuple):
        if not isinstance(got, tuple | list) or len(got) != len(expected):
            return f"should return {len(expected)} values but returns {described(got)}."
        parts = (_difference(e, g) for e, g in zip(expected, got, strict=True))
        return next((f"value {i}: {part}" for i, part in enumerate(parts, 1) if part), "")
    numbers = None if isinstance(expected, Raised) else _numbers(got)
    if numbers is None:
        return f"should return a tensor or number but returns {described(got)}."
    return _compare(torch.as_tensor(expected), numbers, got)


def advice(expected: object, got: Any) -> str:
    """How to make what the lessons go on with out of the right numbers in another form; empty if they can use it.

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.as_tensor.html

    Example:
        >>> advice(torch.ones(2), [1, 1])
        'the numbers are right, but it should be a tensor, not a list: make it one with torch.as_tensor(…).'

    Args:
        expected, got: as in :func:`difference`.
    """
    if isinstance(expected, tuple):
        return next(filter(None, map(advice, expected, got)), "")
    kinds = (
        (isinstance(got, np.ndarray), "a numpy array", "torch.as_tensor(…)"),
        (isinstance(got, list | tuple), f"a {type(got).__name__}", "torch.as_tensor(…)"),
        (isinstance(got, Tensor) and got.layout != torch.strided, "a sparse one", ".to_dense()"),
        (isinstance(got, Tensor) and got.is_quantized, "a quantised one", ".dequantize()"),
    )
    said = "the numbers are right, but it should be {} tensor, not {}: make it one with {}."
    found = next(((what, how) for it_is, what, how in kinds if it_is), None)
    return said.format("an ordinary" if isinstance(got, Tensor) else "a", *found) if found else ""


def described(value: object) -> str:
    """What something is, in words.

    Reference: none

    Example:
        >>> described(torch.ones(2, 3)), described(None), described((1, 2)), described(x for x in ())
        ('a tensor of shape (2, 3)', 'nothing', '2 values', 'a generator, by a yield')

    Args:
        value: anything.
    """
    if isinstance(value, Tensor) and value.is_nested:
        return "a nested tensor"
    if isinstance(value, Tensor):
        where = " on the device meta, where there are no numbers" if value.is_meta else ""
        return f"a tensor of shape {tuple(value.shape)}{where}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {value.shape}" + (" of objects" if value.dtype == object else "")
    kinds: tuple[tuple[Callable, str], ...] = (
        (lambda v: v is None, "nothing"),
        (inspect.isclass, "a class"),
        (inspect.isgenerator, "a generator, by a yield"),
        (inspect.iscoroutine, "a coroutine, by an async"),
        (inspect.isroutine, "a function"),
    )
    if isinstance(value, tuple | list):
        return f"{len(value)} value{'s' * (len(value) != 1)}"
    return next((words for is_one, words in kinds if is_one(value)), _short(type(value).__name__))


def shown(value: object) -> str:
    """An argument: few numbers as they are, of more the shape."""
    if isinstance(value, Tensor):
        few = value.numel() <= FEW and not value.is_complex()
        return f"tensor({_rounded(value.tolist())})" if few else described(value)
    return f"{value:.4g}" if isinstance(value, float) else _short(getattr(value, "__name__", None) or repr(value))


def _rounded(values: list | float) -> str:
    if isinstance(values, list):
        return f"[{', '.join(map(_rounded, values))}]"
    return f"{values:.4g}" if isinstance(values, float) else str(values)


def _words(raised: Raised) -> str:
    """The kind of error and its first line, for torch lists every signature it knows on lines of their own."""
    try:
        lines = str(raised.error).splitlines()
    except Exception:  # an error may fail to say what it is
        lines = []
    if isinstance(raised.error, OutOfTimeError):
        return lines[0]
    return f"it raises {_short(type(raised.error).__name__)}: {_short(lines[0] if lines else '')}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _numbers(value: object) -> Tensor | None:
    """As a tensor, whatever it stands in; None where that has no numbers."""
    try:
        if isinstance(value, Tensor):
            return None if value.is_nested or value.is_meta else value.detach()
        if isinstance(value, np.ndarray):
            return torch.as_tensor(value.astype(value.dtype.newbyteorder("=")))  # a copy: no strides below zero
        if isinstance(value, list | tuple):
            return torch.stack([number for one in value if (number := _numbers(one)) is not None]) if value else None
        if isinstance(value, bool | int | float | complex | np.number | np.bool_):
            return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # letters, objects, rows of different lengths, 2 ** 70
        return torch.tensor(float(value)) if isinstance(value, int) and abs(value) < 2**1000 else None
    return None


def _compare(expected: Tensor, numbers: Tensor, got: object) -> str:
    if expected.shape != numbers.shape:
        return f"the shape should be {tuple(expected.shape)} but is {tuple(numbers.shape)}."
    if numbers.is_complex() and not expected.is_complex():
        return f"the numbers should be real but are complex ({numbers.dtype})."
    exact = torch.complex128 if expected.is_complex() else torch.float64
    try:
        ours, theirs = expected.detach().to("cpu", exact), _dense(numbers).to("cpu", exact)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        return f"should return a tensor of ordinary numbers but returns {described(got)} of {numbers.dtype} ({error!r:.80})."
    rtol = 1e-4 if expected.is_floating_point() or expected.is_complex() else 0.0  # whole numbers are right or wrong
    wrong = ~torch.isclose(ours, theirs, rtol=rtol, atol=1e-5)
    if not wrong.any():
        return ""
    index = tuple(wrong.nonzero()[0].tolist())
    element = f"element {list(index)}" if index else "the value"
    return "{} should be {} but is {}.".format(
        element, *_told_apart(expected[index].item(), theirs[index].item(), numbers)
    )


def _dense(numbers: Tensor) -> Tensor:
    if numbers.layout != torch.strided:
        return numbers.to_dense()
    return numbers.dequantize() if numbers.is_quantized else numbers


def _told_apart(expected: float | int | complex, got: float | complex, numbers: Tensor) -> tuple[str, str]:
    """Both numbers in as few digits as show the difference; whole numbers in full."""
    whole = not (numbers.is_floating_point() or numbers.is_complex() or numbers.is_quantized)
    values = (expected, int(got.real) if whole else got)
    for digits in (4, 6, 9, 17):
        ours, theirs = (str(v) if isinstance(v, int) else f"{v:.{digits}g}" for v in values)
        if ours != theirs:
            break
    return ours, theirs

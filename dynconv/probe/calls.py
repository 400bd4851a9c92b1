"""One function on one batch of images: what goes in and comes out is checked, and nothing is left behind in it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

__all__: list[str] = []

AT_ONCE = 64  # images in a call, unless the batch itself holds more


class Subject:
    """What a verdict is asked on: a function, its batch, and a way to call it that spares both."""

    def __init__(self, function: Callable[..., object], batch: Tensor) -> None:
        self.module = function if isinstance(function, nn.Module) else None
        whole = type(function).__name__ if self.module is not None else getattr(function, "__name__", "function")
        self.function, self.name = function, str(whole)
        _check_batch(batch)
        self.batch = batch.detach()
        self._check_values()
        self._check_signature()
        self._check_dimensions()

    def __call__(self, x: Tensor) -> Tensor:
        """The first tensor it returns; the images are copies, for a function may work in place."""
        return self.tensor(self.function(x.clone()), len(x)).detach()

    def first(self) -> Tensor:
        """The batch's own output, with an error in words if there is none."""
        try:
            y = self.function(self.batch.clone())
        except Exception as error:
            shape = tuple(self.batch.shape)
            text = f"{self.name} cannot take a batch {shape}, images (B, C, *spatial): {error}"
            raise ValueError(text if self.batch.ndim > 3 else f"{text}; is the batch dimension missing?") from error
        y = self.tensor(y, len(self.batch)).detach()
        wrong = int((~y.isfinite()).sum())
        if wrong:
            raise ValueError(f"{self.name} gives NaN or infinity in {wrong} of {y.numel()} values of its output")
        return y

    def attempt(self, x: Tensor) -> Tensor | None:
        """The output for images that are not the user's own; None where the function refuses them."""
        try:
            return torch.cat([self(part) for part in torch.split(x, max(AT_ONCE, len(self.batch)))])
        except Exception:
            return None

    def tensor(self, output: object, images: int) -> Tensor:
        wrap = f"wrap it: verdict(lambda x: {self.name}(x)"
        if isinstance(output, Mapping):
            keys = ", ".join(map(repr, output))
            raise TypeError(f"{self.name} returns a dict of {keys}; {wrap}[{next(iter(output), '')!r}], batch)")
        if isinstance(output, (tuple, list)) and output:
            return self.tensor(output[0], images)
        if output is None:
            raise TypeError(f"{self.name} returns None; it must return the tensor that it computes")
        if isinstance(output, np.ndarray):
            raise TypeError(
                f"{self.name} returns a numpy array; {wrap.replace('x: ', 'x: torch.from_numpy(')}), batch)"
            )
        if not isinstance(output, Tensor):
            raise TypeError(
                f"{self.name} returns {type(output).__name__}; it must return a tensor, or a tuple led by one"
            )
        if not output.is_floating_point():
            raise TypeError(
                f"{self.name} returns {output.dtype}; only real floating point can be judged; {wrap}.…, batch)"
            )
        if output.ndim == 0 or len(output) != images:
            text = f"for {images} images {self.name} returns {tuple(output.shape)}, which has not one row an image"
            raise ValueError(f"{text}; is the batch dimension missing?")
        return output

    def _check_values(self) -> None:
        """torch's own convolution reads memory that is nobody's where a weight is on meta and the images are not."""
        held = [] if self.module is None else [*self.module.named_parameters(), *self.module.named_buffers()]
        empty = [name for name, tensor in held if tensor.is_meta]
        if empty:
            raise ValueError(
                f"{self.name} has parts on meta, without values: {', '.join(empty[:3])}; load or initialise them first"
            )

    def _check_signature(self) -> None:
        try:
            parameters = inspect.signature(self.module.forward if self.module is not None else self.function).parameters
        except (TypeError, ValueError):  # of something built in
            return
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [p.name for p in parameters.values() if p.default is p.empty and p.kind not in kinds]
        if len(needed) > 1:
            text = f"{self.name} needs {len(needed)} inputs ({', '.join(needed)}), and a verdict varies one"
            given = ", ".join([needed[0], *(f"{name}={name}" for name in needed[1:])])
            raise TypeError(f"{text}; fix the others: verdict(lambda {needed[0]}: {self.name}({given}), batch)")

    def _check_dimensions(self) -> None:
        head = self.module
        while isinstance(head, nn.Sequential) and len(head):
            head = head[0]
        axes = re.search(r"([123])d$", type(head).__name__)
        if head is not None and axes and self.batch.ndim == int(axes[1]) + 1:
            shape = tuple(self.batch.shape)
            raise ValueError(
                f"{type(head).__name__} takes (B, C, *spatial), got {shape}: stack several images to a batch"
            )


def _check_batch(batch: object) -> None:
    if isinstance(batch, np.ndarray):
        raise TypeError("batch must be a tensor, got a numpy array: torch.from_numpy(batch) makes one")
    if not isinstance(batch, Tensor):
        raise TypeError(f"batch must be a tensor, got {type(batch).__name__}")
    if batch.ndim < 3 or len(batch) < 2:
        raise ValueError(f"batch must hold at least 2 images (B, C, *spatial), got {tuple(batch.shape)}")
    if not batch.is_floating_point():
        raise TypeError(f"batch must be floating point, got {batch.dtype}")
    if batch.device.type == "meta" or not batch.numel():
        raise ValueError(f"batch must hold values, got {tuple(batch.shape)} on {batch.device}")
    if not batch.isfinite().all():
        raise ValueError(f"batch must be finite, got {int((~batch.isfinite()).sum())} values that are NaN or infinite")


@contextmanager
def undisturbed(module: nn.Module | None, batch: Tensor) -> Iterator[bool]:
    """Eval mode, each submodule back in its own afterwards; eager, full precision. Yields whether it was training."""
    cuda = isinstance(batch, Tensor) and batch.is_cuda
    modes = {} if module is None else {m: m.training for m in module.modules()}
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.random.fork_rng([batch.device] if cuda else []))
        if cuda:
            stack.enter_context(torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False))
        if module is not None:
            module.eval()
        try:
            yield any(modes.values())
        finally:
            for m, training in modes.items():
                m.training = training

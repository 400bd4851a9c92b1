"""What is tried on each network, one function a step.

Each takes a :class:`Trial`, returns what is worth a cell in the table, and raises if it fails. A step that the plain network
itself fails at proves nothing: :class:`PlainFails` says so.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dynconv.layers.inputs import tensors
from dynconv.layers.kernel_stack import KernelStack
from dynconv.probe import intervene, record
from dynconv.surgery import convert, fold, parameter_groups, report
from dynconv.surgery.comparison import steady

from .architectures import Architecture

__all__ = ["STEPS", "PlainFails", "Trial"]


class PlainFails(Exception):  # noqa: N818  it is no error of ours
    """The network does not pass the step before it is converted either."""


@dataclass
class Trial:
    """One network, its converted copy and their outputs, each made once."""

    architecture: Architecture
    num_kernels: int = 4

    @cached_property
    def plain(self) -> nn.Module:
        torch.manual_seed(0)
        model = self.architecture.make().eval()
        for module in model.modules():  # as after training: fresh statistics would hide a wrong fusion
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
                nn.init.uniform_(module.running_var, 0.8, 1.2)
        return model

    @cached_property
    def inputs(self) -> tuple[Any, ...]:
        return self.architecture.inputs()

    @cached_property
    def dynamic(self) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return convert(self.plain, self.num_kernels, sample=self.inputs, temperature=4.0)

    @cached_property
    def expected(self) -> list[Tensor]:
        return outputs(self.plain, self.inputs)

    def fresh(self) -> nn.Module:
        return copy.deepcopy(self.dynamic)

    def same(self, got: list[Tensor]) -> str:
        """How far it is from the plain network's output; PlainFails where that jumps when its parameters are rounded anew."""
        try:
            return far(self.expected, got)
        except AssertionError as error:
            if not steady(self.plain, self.inputs, self.expected):
                raise PlainFails(
                    "its own output jumps when its parameters are rounded anew: it sorts boxes by their scores"
                ) from error
            raise


def outputs(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    with torch.no_grad():
        torch.manual_seed(0)
        return [tensor.clone() for tensor in tensors(model(*inputs))]


def far(expected: list[Tensor], got: list[Tensor], least: float = 1e-2) -> str:
    """The largest difference, in units of the largest value; AssertionError above ``least``."""
    assert [t.shape for t in expected] == [t.shape for t in got], "other shapes"
    worst = 0.0
    for a, b in zip(expected, got, strict=True):
        if a.is_floating_point() and a.numel():
            assert bool(b.isfinite().all()), "not finite"
            worst = max(worst, float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)))
    assert worst < least, f"differs by {worst:.1e} of the largest value"
    return f"{worst:.0e}"


def same_for_plain(step: Callable[[nn.Module], Any], trial: Trial) -> None:
    """Raise PlainFails if the plain network cannot do it."""
    try:
        step(copy.deepcopy(trial.plain))
    except Exception as error:
        raise PlainFails(f"{type(error).__name__}: {error}") from error


def converted(trial: Trial) -> str:
    """The part of the convolutions and of the multiply-adds that became dynamic."""
    made = report(trial.dynamic)
    convs = [c for c in made.changes if not c.name.startswith("(")]
    return f"{sum(c.changed for c in convs)} of {len(convs)}, {made.share:.0%}"


def same_output(trial: Trial) -> str:
    return trial.same(outputs(trial.dynamic, trial.inputs))


def _learning(model: nn.Module, trial: Trial) -> set[str]:
    """The convolutions that get a gradient in one step of training, by name."""
    inputs = (trial.architecture.training or trial.architecture.inputs)()
    optimizer = torch.optim.SGD(parameter_groups(model.train()), lr=1e-3)
    torch.manual_seed(0)
    loss = sum(t.float().square().mean() for t in tensors(model(*inputs)) if t.is_floating_point())
    assert isinstance(loss, Tensor)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None), "gradients are not finite"
    optimizer.step()
    weights = {n: m.weight for n, m in model.named_modules() if isinstance(m, (nn.modules.conv._ConvNd, KernelStack))}
    return {name for name, w in weights.items() if w.grad is not None and bool(w.grad.abs().sum() > 0)}


def trained(trial: Trial) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = convert(trial.plain, trial.num_kernels, noise=0.1, temperature=4.0)
    learning = _learning(model, trial)
    # networks that begin with branches multiplied by 0 give these no gradient: those of the plain one are what is owed
    missing = _learning(copy.deepcopy(trial.plain), trial) - learning
    assert not missing, f"no gradient for {', '.join(sorted(missing)[:3])}"
    return f"{len(learning)} layers"


def recorded(trial: Trial) -> str:
    with record(trial.dynamic) as seen:
        got = outputs(trial.dynamic, trial.inputs)
    trial.same(got)
    assert len(seen), "nothing was recorded"
    return str(len(seen))


def intervened(trial: Trial) -> str:
    for how in ("uniform", "argmax", "shuffled"):
        with intervene(trial.dynamic, how):
            trial.same(outputs(trial.dynamic, trial.inputs))  # the kernels are all alike: nothing may change
    return "3"


def folded(trial: Trial) -> str:
    made = fold(trial.dynamic, "uniform", sample=trial.inputs)
    assert not any(isinstance(m, KernelStack) for m in made.modules()), "a layer stays dynamic"
    return trial.same(outputs(made, trial.inputs))


def folded_norms(trial: Trial) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = fold(trial.dynamic, "uniform", batch_norm=True, sample=trial.inputs)
    difference = trial.same(outputs(made, trial.inputs))
    norms = [change for change in report(made).changes if "Norm" in change.was]
    return f"{sum(c.why.startswith('fused') for c in norms)} of {len(norms)}, {difference}" if norms else "no norms"


def channels_last(trial: Trial) -> str:
    same_for_plain(lambda model: model.to(memory_format=torch.channels_last), trial)
    inputs = tuple(t.to(memory_format=torch.channels_last) if isinstance(t, Tensor) else t for t in trial.inputs)
    return trial.same(outputs(trial.fresh().to(memory_format=torch.channels_last), inputs))


def fx(trial: Trial) -> str:
    same_for_plain(torch.fx.symbolic_trace, trial)
    return trial.same(outputs(torch.fx.symbolic_trace(trial.fresh()), trial.inputs))


def compiled(trial: Trial) -> str:
    def step(model: nn.Module) -> list[Tensor]:
        torch._dynamo.reset()
        return outputs(torch.compile(model, backend="aot_eager"), trial.inputs)

    try:
        return trial.same(step(trial.fresh()))
    except Exception:
        same_for_plain(step, trial)
        raise


def exported(trial: Trial) -> str:
    def step(model: nn.Module) -> list[Tensor]:
        return outputs(torch.export.export(model, trial.inputs).module(), trial.inputs)

    try:
        return trial.same(step(trial.fresh()))
    except Exception:
        same_for_plain(step, trial)
        raise


def onnx(trial: Trial) -> str:
    import onnxruntime

    def step(model: nn.Module) -> list[Tensor]:
        buffer = io.BytesIO()
        program = torch.onnx.export(model, trial.inputs, dynamo=True, verbose=False)
        assert program is not None
        program.save(buffer)
        session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
        given = zip(session.get_inputs(), trial.inputs, strict=True)
        return [torch.from_numpy(y) for y in session.run(None, {i.name: x.numpy() for i, x in given})]

    try:
        return trial.same(step(trial.fresh()))
    except Exception:
        same_for_plain(step, trial)
        raise


STEPS: dict[str, Callable[[Trial], str]] = {
    "converted": converted,
    "same output": same_output,
    "trained": trained,
    "record": recorded,
    "intervene": intervened,
    "fold": folded,
    "fold, norms": folded_norms,
    "channels_last": channels_last,
    "fx": fx,
    "compile": compiled,
    "export": exported,
    "ONNX": onnx,
}

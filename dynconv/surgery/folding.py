"""What no image has a part in becomes one plain convolution."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..cost import Sample
from ..functional import mix_kernels
from ..layers.attention import FixedAttention, LearnedAttention
from ..layers.branched import BranchedConv2d
from ..layers.hooks import hooked
from ..layers.kernel_stack import KernelStack
from ..layers.omni import ODConv2d, OmniAttention
from .batch_norm import UNTRACED, fuse_batch_norms
from .comparison import UNSTEADY, difference, output, steady
from .obstacles import check_wrapper, is_plainly, obstacle, obstacles
from .replace import carry_marks, copied, plain_name, replace_modules
from .reports import REPORTS, Report, layers

__all__ = ["fold"]

Weights = Tensor | Mapping[str, Tensor]  # of the K kernels, or of each head of an ODConv2d
DYNAMIC = "its attention looks at the image"
TRAINING = "in training its norms depend on the batch"


def fold(
    model: nn.Module,
    attention: str | Tensor | Mapping[str, Weights] | None = None,
    *,
    batch_norm: bool = False,
    inplace: bool = False,
    sample: Sample | None = None,
) -> nn.Module:
    r"""Replace every mix of kernels that no image has a part in by the one plain convolution it equals.

    Reference: linearity of the convolution; batch norm as in https://arxiv.org/abs/1502.03167

    .. math:: W = \sum_k \pi_k W_k, \qquad b = \sum_k \pi_k b_k

    StaticMix layers fold exactly, and in eval mode so does a BranchedConv2d. A dynamic layer folds only where its attention is frozen: then the result equals the
    model under ``dynconv.probe.intervene`` with that attention, and no longer looks at the image.

    Example:
        >>> import torch
        >>> from dynconv import StaticMixConv2d
        >>> model = torch.nn.Sequential(StaticMixConv2d(3, 8, 3, num_kernels=4), torch.nn.BatchNorm2d(8)).eval()
        >>> fold(model, batch_norm=True)
        Sequential(
          (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
          (1): Identity()
        )

    Args:
        model: any module.
        attention: what dynamic layers are frozen at: None leaves them dynamic (unless their attention is a FixedAttention),
            "uniform" is 1/K each, a tensor (K,) is for all of them, a dict goes from names of layers to (K,), or for an
            ODConv2d to a dict from "kernels", "channels", "filters", "taps" to their weights.
        batch_norm: fuse every batch norm that alone takes a convolution's output into that convolution, also into the K
            kernels of a mix that stays dynamic, if its weights sum to one; needs eval mode. Parts of the model that
            torch.fx cannot trace keep their norms, and a warning names these.
        inplace: change ``model`` itself instead of a copy.
        sample: an input of the model (several as a tuple, named ones as a dict). With it, multiply-adds are counted, and
            the folded model is run beside the old one with its attention frozen: it must put out the same.

    Returns:
        The folded model. :func:`dynconv.surgery.report` tells what was folded, what was left, and why.

    Raises:
        ValueError: attention has the wrong shape or an unknown name; batch norm is to be fused in training mode; or the
            model computes something else on the sample afterwards.
        TypeError, ValueError: a layer that ``attention`` names has hooks or patches, which would be lost.
    """
    check_wrapper(model)
    stacks = {plain_name(name): m for name, m in model.named_modules() if isinstance(m, KernelStack)}
    weights = _weights(stacks, attention)
    branched, unfit = _branched(model)
    kept = _kept(model, stacks, weights, attention) | unfit
    frozen = {name: w for name, w in weights.items() if name not in kept}
    kinds = (KernelStack, BranchedConv2d)
    before = layers(model, sample, (*kinds, _BatchNorm) if batch_norm else kinds)
    expected = None if sample is None else _frozen_output(model, sample, stacks, frozen)
    model = model if inplace else copied(model)
    names = {plain_name(name): module for name, module in model.named_modules()}
    new = {name: _folded(names[name], w) for name, w in (frozen | dict.fromkeys(branched)).items()}
    model = replace_modules(model, {names[name]: conv for name, conv in new.items()})
    norms = fuse_batch_norms(model) if batch_norm else {}
    if expected is not None and difference(expected, now := output(model, sample)) > 1:
        if steady(model, sample, now):
            raise ValueError(f"folded, {type(model).__name__} computes something else on the sample: leave layers out")
        warnings.warn(UNSTEADY, UserWarning, stacklevel=2)
    became = {plain_name(name): type(module).__name__ for name, module in model.named_modules()}
    REPORTS[model] = before.after(became, dict.fromkeys(stacks.keys() - new.keys(), DYNAMIC) | kept | norms)
    _warn(REPORTS[model], kept)
    return model


def _weights(
    stacks: Mapping[str, KernelStack], attention: str | Tensor | Mapping[str, Weights] | None
) -> dict[str, Weights | None]:
    """What each layer that folds is frozen at; None for one that no image has a part in anyhow."""
    if isinstance(attention, Mapping):
        attention = {plain_name(name): weights for name, weights in attention.items()}
        if unknown := attention.keys() - stacks.keys():
            raise ValueError(f"no layer is named {sorted(unknown)}; there are: {', '.join(stacks)}")
    found: dict[str, Weights | None] = {}
    for name, stack in stacks.items():
        given = attention.get(name) if isinstance(attention, Mapping) else attention
        own = stack.get_submodule("attention")
        if is_plainly(own, LearnedAttention):
            found[name] = None
        elif given is None and is_plainly(own, FixedAttention):
            found[name] = own.get_buffer("weights")
        elif isinstance(given, Mapping) or (given is not None and not isinstance(stack, ODConv2d)):
            found[name] = _fitting(stack, name, given)  # an ODConv needs all four of its attentions frozen
    return found


def _fitting(stack: KernelStack, name: str, weights: str | Weights) -> Weights:
    if isinstance(weights, Mapping):
        heads = _heads(stack)
        if weights.keys() != heads.keys():
            raise ValueError(f"attention of {name!r} must be for {sorted(heads)}, got {sorted(weights)}")
        for over, head in heads.items():
            if weights[over].shape != (head.out_features,):
                raise ValueError(f"{over} of {name!r} must be ({head.out_features},), got {tuple(weights[over].shape)}")
        return weights
    if isinstance(weights, str):
        if weights != "uniform":
            raise ValueError(f"attention must be 'uniform', a tensor or a dict, got {weights!r}")
        return stack.weight.new_full((stack.num_kernels,), 1 / stack.num_kernels)
    if weights.shape != (stack.num_kernels,):
        raise ValueError(f"attention of {name!r} must be (K,) = ({stack.num_kernels},), got {tuple(weights.shape)}")
    return weights


def _heads(stack: KernelStack) -> dict[str, nn.Linear]:
    """The last layer of each attention of an ODConv2d."""
    attention = stack.get_submodule("attention")
    heads = attention.heads.items() if isinstance(attention, OmniAttention) else ()
    return {over: head.fc for over, head in heads if isinstance(head.fc, nn.Linear)}


def _kept(
    model: nn.Module,
    stacks: Mapping[str, KernelStack],
    weights: Mapping[str, Weights | None],
    attention: str | Tensor | Mapping[str, Weights] | None,
) -> dict[str, str]:
    """Why layers that could fold do not; raise for one that was asked for by name."""
    errors = obstacles(model, {name: stacks[name] for name in weights})
    for name in weights.keys() - errors.keys():
        if not type(stacks[name]).forward.__module__.startswith("dynconv.layers"):
            errors[name] = TypeError(f"its forward is its own; got {type(stacks[name]).__name__}")
        elif weights[name] is None and (why := obstacle(stacks[name].get_submodule("attention"))):
            errors[name] = type(why)(f"of its attention: {why}")
    for name, error in errors.items():
        if isinstance(attention, Mapping) and name in map(plain_name, attention):
            raise type(error)(f"{name or 'the model'}: {error}")
    return {name: str(error) for name, error in errors.items()}


def _branched(model: nn.Module) -> tuple[list[str], dict[str, str]]:
    """The names of the branched convolutions that fold, and why others do not."""
    found = {plain_name(n): m for n, m in model.named_modules() if isinstance(m, BranchedConv2d)}
    unfit = {name: str(error) for name, error in obstacles(model, found).items()}
    for name, layer in found.items():
        parts = [why for part in layer.modules() if part is not layer and (why := obstacle(part)) is not None]
        reasons = [TRAINING] if layer.training else [f"of a branch: {why}" for why in parts]
        unfit |= {name: reasons[0]} if reasons else {}
    return [name for name in found if name not in unfit], unfit


def _folded(layer: nn.Module, weights: Weights | None) -> nn.Module:
    """The plain convolution of one mix of kernels at some weights, or of all branches."""
    if isinstance(layer, BranchedConv2d):
        return layer.fold()
    assert isinstance(layer, KernelStack)
    with torch.no_grad():
        if isinstance(layer, ODConv2d) and isinstance(weights, Mapping):
            kernels, biases = layer.kernels({over: w.to(layer.weight)[None] for over, w in weights.items()}, batch=1)
            kernel, bias = kernels[0], None if biases is None else biases[0]
        else:
            pi = layer.get_submodule("attention")() if weights is None else weights
            assert isinstance(pi, Tensor)
            pi = pi.to(layer.weight)
            kernel = mix_kernels(layer.weight, pi)
            bias = None if layer.bias is None else mix_kernels(layer.bias, pi)
        conv = layer._plain_conv(kernel, bias)
    for old, name in ((layer.weight, "weight"), (layer.bias, "bias")):
        if old is not None:
            carry_marks(old, conv.get_parameter(name))
            conv.get_parameter(name).requires_grad_(old.requires_grad)
    return conv


def _frozen_output(
    model: nn.Module, sample: Sample, stacks: Mapping[str, KernelStack], frozen: Mapping[str, Weights | None]
) -> list[Tensor]:
    """What the model puts out with the attention of some layers frozen."""
    parts, values = dict[str, nn.Module](), dict[str, Tensor]()
    for name, weights in frozen.items():
        attention = stacks[name].get_submodule("attention")
        if isinstance(weights, Tensor):
            parts[name], values[name] = attention, weights
        for over, of in weights.items() if isinstance(weights, Mapping) else ():
            parts[f"{name}.{over}"], values[f"{name}.{over}"] = attention.get_submodule(f"heads.{over}"), of
    with hooked(parts, lambda name: lambda _, args, y: values[name].to(y).expand_as(y), changes=True):
        return output(model, sample)


def _warn(made: Report, kept: Mapping[str, str]) -> None:
    """Say what was left though it could have been folded."""
    left = [f"{c.name or 'the model'} ({c.was}): {c.why}" for c in made.changes if c.name in kept or c.why == UNTRACED]
    if left:
        more = f"; and {len(left) - 3} more" if len(left) > 3 else ""
        warnings.warn("fold left " + "; ".join(left[:3]) + more, UserWarning, stacklevel=3)

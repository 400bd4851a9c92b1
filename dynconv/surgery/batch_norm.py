"""Batch norm at inference is a scale and a shift of each channel: it goes into the convolution before it.

Into K kernels too, if their weights sum to one: s (sum_k pi_k (W_k * x + b_k)) + t = sum_k pi_k (s W_k * x + s b_k + t). With
the sigmoids of CondConv the shift t would be multiplied by their sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers.attention import KernelAttention, LearnedAttention
from ..layers.kernel_stack import KernelStack
from ..layers.omni import ODConv2d, OmniAttention
from .obstacles import is_plainly, obstacle, obstacles
from .plain import CONVS, plain
from .replace import copied, outside_stacks, plain_name

__all__: list[str] = []

UNTRACED = "torch.fx cannot trace what it is a part of"


class _Tracer(torch.fx.Tracer):
    """Looks into containers only: a norm that also activates, or a layer of ours, stays one step."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        ours = type(module).__module__.startswith("dynconv.layers") or isinstance(module, CONVS)
        return ours or super().is_leaf_module(module, name) or not _has_convs(module)


def _has_convs(module: nn.Module) -> bool:
    return any(isinstance(m, (*CONVS, KernelStack)) for m in module.modules())


def fuse_batch_norms(model: nn.Module) -> dict[str, str]:
    """Fuse, in place, every batch norm that alone takes the output of a convolution; say what became of each, by name.

    Who takes whose output is read from torch.fx traces, of the whole model or of its largest parts that can be traced: names
    and order of the children prove nothing.
    """
    modules = outside_stacks(model)
    norms = {name: module for name, module in modules.items() if isinstance(module, _BatchNorm)}
    said = dict.fromkeys(norms, UNTRACED)
    kept = obstacles(model, {n: m for n, m in modules.items() if isinstance(m, (_BatchNorm, *CONVS, KernelStack))})
    places = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    pairs = {name: source for name, source in _sources(model) if name in norms} if norms else {}
    for name, source in pairs.items():
        why = kept.get(name) or kept.get(source)
        if places[id(norms[name])] > 1 or (source and places[id(modules[source])] > 1):
            why = ValueError("it or its convolution is used in several places")
        said[name] = str(why or _unfit(modules.get(source), norms[name]) or "")
    fusing = {name: source for name, source in pairs.items() if not said[name]}
    for name in fusing:
        if norms[name].training:
            raise ValueError(f"batch norm {name!r} is in training mode; call model.eval() before it is fused")
    for name, source in fusing.items():
        _absorb(modules[source], norms[name])
        model.set_submodule(name, _without_norm(norms[name]))
        said[name] = f"fused into {plain_name(source)}"
    return {plain_name(name): why for name, why in said.items()}


def _sources(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names of modules that are called once in a graph, each with that of the module whose output it alone takes, or ""."""
    if not _has_convs(module):
        return
    try:
        graph = _Tracer().trace(module)
    except Exception:  # whatever it is that cannot be traced: its parts may be
        for name, child in module.named_children():
            yield from _sources(child, f"{prefix}{name}.")
        return
    calls = [node for node in graph.nodes if node.op == "call_module"]
    times = Counter(node.target for node in calls)
    for node in calls:
        source = node.args[0] if node.args else None
        taken = ""
        if isinstance(source, torch.fx.Node) and source.op == "call_module" and len(source.users) == 1:
            once = times[node.target] == times[source.target] == 1
            taken = f"{prefix}{source.target}" if once else ""
        yield f"{prefix}{node.target}", taken


def _unfit(conv: nn.Module | None, norm: _BatchNorm) -> str:
    """Why this norm cannot go into what comes before it; nothing if it can."""
    if isinstance(conv, KernelStack):
        if not _sum_to_one(conv):
            return "the weights of the kernels before it do not sum to one"
    elif conv is None or not isinstance(conv, CONVS):
        return "it does not take the output of a convolution alone"
    else:
        try:
            if plain(conv).note:
                return "the convolution before it standardises its kernel"
        except TypeError as error:
            return f"of the convolution before it: {error}"
    if norm.running_mean is None or norm.running_var is None:
        return "it keeps no statistics"
    return "" if _is_norm(norm) else "it does more than to normalise"


def _sum_to_one(stack: KernelStack) -> bool:
    """Whether the layer and its attention are ours, with a softmax over the kernels."""
    attention = stack.get_submodule("attention")
    if not type(stack).forward.__module__.startswith("dynconv.layers") or obstacle(attention):
        return False
    if isinstance(stack, ODConv2d):
        return is_plainly(attention, OmniAttention)
    softmax = getattr(attention, "activation", "softmax") == "softmax"
    return softmax and (is_plainly(attention, KernelAttention) or is_plainly(attention, LearnedAttention))


def _is_norm(norm: _BatchNorm) -> bool:
    """Whether a norm with a forward of its own (timm's drops and activates) is a batch norm and then its children."""
    if type(norm).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward) or norm.training:
        return True
    trial, rest = copied(norm), _without_norm(copied(norm))
    x = torch.randn(2, norm.num_features, 3, 3, generator=torch.Generator().manual_seed(0), device="cpu")
    assert norm.running_mean is not None
    x = x.to(norm.running_mean)
    try:
        with torch.no_grad():
            scale, shift = _affine(norm)
            return torch.allclose(trial(x), rest(x * scale[:, None, None] + shift[:, None, None]), atol=1e-3, rtol=1e-3)
    except Exception:
        return False


def _affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """The scale and the shift (C,) of a batch norm at inference."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def _absorb(conv: nn.Module, norm: _BatchNorm) -> None:
    """Scale the filters of a convolution, or of each of K kernels, and shift the bias."""
    assert isinstance(conv, (*CONVS, KernelStack))
    with torch.no_grad():
        scale, shift = (t.to(conv.weight.dtype) for t in _affine(norm))  # (O,)
        trailing = conv.weight.ndim - (2 if isinstance(conv, KernelStack) else 1)
        conv.weight.mul_(scale.reshape(-1, *[1] * trailing))
        if conv.bias is None:
            shape = conv.weight.shape[: 2 if isinstance(conv, KernelStack) else 1]  # (K, O) or (O,)
            conv.bias = nn.Parameter(shift.expand(shape).clone(), requires_grad=conv.weight.requires_grad)
        else:
            conv.bias.mul_(scale).add_(shift)


def _without_norm(norm: nn.Module) -> nn.Module:
    """What a norm does besides normalising (timm's drops and activates)."""
    rest = [child for child in norm.children() if not isinstance(child, nn.Identity)]
    return nn.Sequential(*rest).train(norm.training) if rest else nn.Identity().train(norm.training)

"""Plain convolutions become mixes of K kernels that compute the same to begin with."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ..cost import Sample
from ..layers.dynamic import DynamicConv1d, DynamicConv2d, DynamicConv3d
from ..layers.kernel_stack import KernelStack
from ..layers.static_mix import StaticMixConv1d, StaticMixConv2d, StaticMixConv3d
from .comparison import UNSTEADY, called, difference, output, steady
from .obstacles import check_wrapper, obstacle, obstacles
from .plain import CONVS, Plain, plain
from .replace import carry_marks, copied, plain_name, replace_modules
from .reports import REPORTS, Report, layers, with_rest

__all__ = ["convert", "from_conv"]

FAMILIES: dict[str, tuple[Callable[..., KernelStack], ...]] = {
    "dynamic": (DynamicConv1d, DynamicConv2d, DynamicConv3d),
    "static": (StaticMixConv1d, StaticMixConv2d, StaticMixConv3d),
}
Where = str | Iterable[str] | Callable[[str, nn.Module], bool] | None
PLAIN = nn.Conv2d(1, 1, 1, device="meta")
NOT_CHOSEN = "not chosen"


def from_conv(
    conv: nn.Module,
    num_kernels: int = 4,
    *,
    family: str = "dynamic",
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    **options: Any,
) -> KernelStack:
    r"""A mix of K kernels that computes, to begin with, what the plain convolution ``conv`` computes.

    Reference: Chen et al., https://arxiv.org/abs/1912.03458

    .. math:: W_k = W + \sigma\,(\varepsilon_k - \bar\varepsilon), \qquad b_k = b

    All K kernels start as W, and softmax weights sum to one, so the function is unchanged whatever the attention says.
    Equal kernels give the attention no gradient: ``noise`` tells them apart while their mean stays W.

    Example:
        >>> import torch
        >>> conv = torch.nn.Conv2d(16, 32, 3, padding=1)
        >>> layer, x = from_conv(conv, num_kernels=4), torch.randn(2, 16, 8, 8)
        >>> bool(torch.allclose(layer(x), conv(x), atol=1e-5))
        True

    Args:
        conv: an nn.Conv1d, nn.Conv2d or nn.Conv3d, which is left alone. Of a subclass with a forward of its own (timm's
            Conv2dSame, StdConv2d) it is found out by running it which plain convolution it computes; a standardised
            kernel is taken as it stands, and no longer standardised in training.
        num_kernels: K, at least 1.
        family: "dynamic" (attention from the image) or "static" (K learned numbers).
        noise: σ in units of the standard deviation of W; 0 preserves the function exactly.
        generator: where the noise is drawn from.
        options: passed on to the layer: ``temperature``, ``reduction``, ``method``, ...

    Returns:
        DynamicConvNd or StaticMixConvNd with the geometry, device, dtype, mode, ``requires_grad`` and marks of ``conv``.

    Raises:
        TypeError: conv is no plain convolution (a subclass may compute something else), or its weight is computed.
        ValueError: family or noise is unknown, or conv has hooks or patches, which would be lost.
    """
    _check(family, noise)
    if why := obstacle(conv):
        raise why
    layer = _stack(conv, plain(conv), num_kernels, family, options)
    _spread(layer, noise, generator)
    return layer


def _check(family: str, noise: float) -> None:
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(map(repr, FAMILIES))}, got {family!r}")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be finite and at least 0, got {noise}")


def _stack(conv: nn.Module, found: Plain, num_kernels: int, family: str, options: dict[str, Any]) -> KernelStack:
    """K kernels that are all alike: that of ``found``, in the geometry of ``conv``."""
    assert isinstance(conv, CONVS)
    layer = FAMILIES[family][conv.weight.ndim - 3](
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, found.padding, conv.dilation, conv.groups,
        found.bias is not None, found.padding_mode, conv.weight.device, conv.weight.dtype, num_kernels=num_kernels, **options,
    )  # fmt: skip
    for old, new, values in ((conv.weight, layer.weight, found.weight), (conv.bias, layer.bias, found.bias)):
        if old is not None and new is not None and values is not None:
            with torch.no_grad():
                new.copy_(values.expand_as(new))
            carry_marks(old, new)
            new.requires_grad_(old.requires_grad)
    for name in vars(conv).keys() - vars(PLAIN).keys() - vars(layer).keys():
        setattr(layer, name, getattr(conv, name))  # what someone put on the module
    return layer.train(conv.training)


def _spread(layer: KernelStack, noise: float, generator: torch.Generator | None) -> None:
    """Tell kernels apart that are alike, and leave their mean."""
    if noise:
        # drawn where the generator is, so that a default device changes nothing
        device = "cpu" if generator is None else generator.device
        drawn = torch.randn(layer.weight.shape, generator=generator, device=device).to(layer.weight)
        with torch.no_grad():
            layer.weight.add_(noise * layer.weight[0].std(correction=0) * (drawn - drawn.mean(0)))


def convert(
    model: nn.Module,
    num_kernels: int = 4,
    *,
    where: Where = None,
    family: str = "dynamic",
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    inplace: bool = False,
    sample: Sample | None = None,
    **options: Any,
) -> nn.Module:
    """Replace the plain convolutions of any model by mixes of K kernels that compute the same to begin with.

    Reference: Chen et al., section 4, https://arxiv.org/abs/1912.03458 (all convolutions but the first)

    What cannot be replaced exactly is left as it is, and a warning names it: convolutions with hooks, patches or
    parametrizations, those whose parameters others share or read, subclasses that compute something else. Warned is too if
    more than half of the model stays static. :func:`dynconv.surgery.report` tells all of it, layer by layer.

    Example:
        >>> import torch, torchvision
        >>> model = torchvision.models.resnet18().eval()
        >>> dynamic = convert(model, num_kernels=4, where=lambda name, conv: name != "conv1")
        >>> type(dynamic.layer1[0].conv1).__name__, type(dynamic.conv1).__name__
        ('DynamicConv2d', 'Conv2d')

    Args:
        model: any module (torchvision's and timm's too).
        num_kernels, family, noise, generator, options: see :func:`from_conv`.
        where: which convolutions: None for every nn.ConvNd, a dotted name or a list of names with ``*`` as a wildcard, or
            a function of (name, module). Transposed convolutions are never replaced.
        inplace: change ``model`` itself instead of a copy.
        sample: an input of the model (several as a tuple, named ones as a dict). With it, multiply-adds are counted, and
            the changed model is run beside the old one, in eval mode: it must put out the same before noise is added (a
            warning, if the model's own output jumps when its parameters are rounded anew, as sorted boxes do).

    Returns:
        The model with its convolutions replaced; one that is used in two places stays one.

    Raises:
        ValueError: a name fits no convolution, there is nothing to replace, or the model computes something else on the
            sample afterwards.
        TypeError, ValueError: a convolution that was asked for by its full name cannot be replaced.
    """
    _check(family, noise)
    check_wrapper(model)
    convs = {plain_name(name): m for name, m in model.named_modules() if isinstance(m, CONVS)}
    chosen = _choose(convs, where)
    if not chosen:
        raise ValueError(
            f"{type(model).__name__} has no convolution to convert" + (f" where {where!r}" if where else "")
        )
    found, left = _sorted(model, chosen, where)
    before = with_rest(layers(model, sample), model)
    expected, idle = list[Tensor](), set[str]()
    if sample is not None:
        expected, idle = output(model, sample), found.keys() - called(model, sample, chosen)
    model = model if inplace else copied(model)
    names = {plain_name(name): module for name, module in model.named_modules()}
    new = {name: (names[name], _stack(names[name], form, num_kernels, family, options)) for name, form in found.items()}
    model = replace_modules(model, dict(new.values()))
    if sample is not None and (error := _changed(model, sample, expected)):
        # a convolution that the model never calls may be one whose weight it reads
        model = replace_modules(model, {new[name][1]: new[name][0] for name in idle})
        if _changed(model, sample, expected):
            replace_modules(model, {layer: conv for conv, layer in new.values()})
            if steady(model, sample, expected):
                raise error
            replace_modules(model, dict(new.values()))
            warnings.warn(UNSTEADY, UserWarning, stacklevel=2)
        left |= dict.fromkeys(idle, "the model uses its weight without calling it")
    now = {name: type(layer).__name__ for name, (_, layer) in new.items() if name not in left}
    for name in now:
        _spread(new[name][1], noise, generator)
    why = dict.fromkeys(convs.keys() - chosen.keys(), NOT_CHOSEN) | {n: p.note for n, p in found.items()} | left
    REPORTS[model] = before.after(now, why)
    _warn(REPORTS[model], left)
    return model


def _choose(candidates: Mapping[str, nn.Module], where: Where) -> dict[str, nn.Module]:
    if where is None:
        return dict(candidates)
    if callable(where):
        return {name: module for name, module in candidates.items() if where(name, module)}
    patterns = [where] if isinstance(where, str) else list(where)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in candidates):
            names = ", ".join(name or "(the model itself)" for name in candidates)
            raise ValueError(f"{pattern!r} fits no convolution; there are: {names}")
    return {name: m for name, m in candidates.items() if any(fnmatchcase(name, p) for p in patterns)}


def _sorted(model: nn.Module, chosen: Mapping[str, nn.Module], where: Where) -> tuple[dict[str, Plain], dict[str, str]]:
    """Of the chosen convolutions the plain ones, and why the others are left; raise for one that was asked for by name."""
    named = set() if where is None or callable(where) else {where} if isinstance(where, str) else set(where)
    found, errors = dict[str, Plain](), obstacles(model, chosen)
    for name in chosen.keys() - errors.keys():
        try:
            found[name] = plain(chosen[name])
        except TypeError as error:
            errors[name] = error
    for name in chosen:
        if name in errors and name in named:
            raise type(errors[name])(f"{name or 'the model'}: {errors[name]}")
    return {name: found[name] for name in chosen if name in found}, {name: str(e) for name, e in errors.items()}


def _changed(model: nn.Module, sample: Sample, expected: list[Tensor]) -> ValueError | None:
    """The error to raise if the model puts out anything but ``expected``."""
    try:
        if difference(expected, output(model, sample)) <= 1:
            return None
        what = "other values"
    except Exception as error:  # whatever it is, the model did not raise it before
        what = f"{type(error).__name__}: {error}"
    return ValueError(
        f"converted, {type(model).__name__} computes something else on the sample ({what}); it has been left as it was. "
        "Does it use a convolution without calling it? Choose others with `where`"
    )


def _warn(made: Report, left: Mapping[str, str]) -> None:
    """Say what was left though it was wanted, and that more than half stays static."""
    said = [f"{c.name or 'the model'} ({c.was}): {c.why}" for c in made.changes if c.name in left]
    static = made.part(c for c in made.changes if not c.changed and c.why != NOT_CHOSEN)
    if said:
        more = f" and {len(said) - 3} more" if len(said) > 3 else ""
        said = ["convert left static: " + "; ".join(said[:3]) + more]
    if static > 0.5:
        how = "" if made.macs is not None else " (a sample= lets convert count multiply-adds)"
        said.append(f"{static:.0%} of the {made.counted} stay static{how}")
    if said:
        warnings.warn(
            "\n".join(said) + "\nprint(dynconv.surgery.report(model)) shows all layers", UserWarning, stacklevel=3
        )

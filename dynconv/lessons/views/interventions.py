"""Interventions: other weights in the place of the model's own, and what becomes of its output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import combinations

import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor, nn

from ...layers import DynamicConv2d
from ...probe import intervene, record
from ...probe.hooks import hooked, select
from .. import figures
from .dynamic import MOST_KERNELS, dynamic_state, kernels_of
from .instrument import Finite, Instrument, encode
from .javascript import module, styles

__all__ = ["InterventionsView", "interventions_state"]

MODES = ("as trained", "uniform", "argmax", "shuffled", "frozen", "swap")
MOST_IMAGES, MOST_CLASSES, MOST_PIXELS = 6, 20, 128


def interventions_state(
    model: nn.Module,
    images: Tensor,
    mode: str,
    pair: tuple[int, int] | None = None,
    layers: str | Sequence[str] | None = None,
    seed: int = 0,
) -> dict:
    """What a model weighs with and what it puts out while its weights are replaced.

    Reference: :func:`dynconv.probe.intervene`; Jain and Wallace, https://arxiv.org/abs/1902.10186

    Returns attention, name → (B, ...) or (...) for weights that images share; output (B, ...), of a tuple the first.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> layer, images = DynamicConv2d(1, 2, 3, temperature=0.1), torch.rand(3, 1, 8, 8)
        >>> own, swapped = (interventions_state(layer, images, m, (0, 2)) for m in ("as trained", "swap"))
        >>> bool(torch.equal(swapped["attention"]["attention"][0], own["attention"]["attention"][2]))
        True

    Args:
        model: anything :func:`dynconv.probe.record` sees weights in; measured in eval mode, left as it was.
        images: (B, C, H, W).
        mode: "as trained", "uniform", "argmax", "shuffled", "frozen" (at the mean of these images), or "swap": two
            images exchange the weights they have as trained, in all layers.
        pair: the two images, from 0; only "swap" looks at it.
        layers: names (``*`` is a wildcard); None for all.
        seed: which shuffle.

    Raises:
        ValueError: unknown mode, no weights, or a layer that runs more than once.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, MODES))}, got {mode!r}")
    if mode != "swap":
        return _run(model, images, None if mode == "as trained" else mode, layers, seed)
    own, batched = _run(model, images, None, layers, seed)["attention"], _batched(model)
    order = torch.arange(len(images))
    first, second = pair or (0, 1)
    order[[first, second]] = order[[second, first]]
    given = {name: w[order] if batched[name] else w for name, w in own.items()}
    return _run(model, images, "given", list(own), seed, given)


class InterventionsView(Instrument):
    """Cut the wire that feeds a model's weights, and see what its output loses. Attention that varies need not matter.

    Reference: Jain and Wallace, *Attention is not Explanation*, https://arxiv.org/abs/1902.10186

    Python runs the model once for every mode and every pair of images; the page plays the results for one image and tells
    the change of all. For a single DynamicConv2d the output is linear in the attention, so a slider can go from its own
    attention to the other one; its kernels are shown with their ribbons. Of a model with one layer of at most 8 gates over
    channels, each channel is shown with the ribbon that its gate lets through.

    Example:
        >>> import torch
        >>> from dynconv import DynamicConv2d
        >>> view = InterventionsView(DynamicConv2d(1, 2, 3), {"a": torch.rand(1, 8, 8), "b": torch.rand(1, 8, 8)})
        >>> view.mode, view.first, view.second, view.strength, view.layer
        ('as trained', 'a', 'b', 1.0, 'attention')

    Args:
        model: see :func:`.interventions_state`; its output must be maps (B, C, H, W), of which the first channel is
            shown, or logits (B, classes) of at most 20 classes.
        images: name → (C, H, W), all of one size, 2 to 6; three channels are shown in colour, of others the first.
        targets: what the output should be: classes (B,) for logits, or a tensor of the output's shape (squared error).
        layers: which weightings are replaced; None for all.
        classes: names of the classes; their numbers if left out.
        mode: one of :data:`~dynconv.lessons.views.interventions.MODES` to start with.
        first: name of the image that is shown, which swaps with ``second``; the first two if left out.
        second: the other one.
        strength: 0 for the attention as trained … 1 for the other; only a single DynamicConv2d takes another than 1.
        layer: whose attention is shown; the first if left out.
        seed: which shuffle.
        experiments: button's label → traits it sets, for example {"swap": {"mode": "swap"}}.
        shown_classes: which logits are shown, at most 20, where there are more; changes are measured on all. Not with
            targets: an image may then be right in a class that is not shown.

    Raises:
        ValueError: images, output, targets or classes do not fit; TraitError: there is no such mode, image or layer.
    """

    _esm, _css = module("interventions"), styles("diagram", "interventions")
    mode = traitlets.Unicode(MODES[0]).tag(sync=True)
    first = traitlets.Unicode().tag(sync=True)
    second = traitlets.Unicode().tag(sync=True)
    strength = Finite(1.0, min=0, max=1).tag(sync=True)
    layer = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        model: nn.Module,
        images: Mapping[str, Tensor],
        targets: Tensor | None = None,
        layers: str | Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        mode: str = MODES[0],
        first: str | None = None,
        second: str | None = None,
        strength: float = 1.0,
        layer: str | None = None,
        seed: int = 0,
        experiments: Mapping[str, Mapping] | None = None,
        shown_classes: Sequence[int] | None = None,
    ) -> None:
        self.names, self.images = list(images), _batch(images)
        self.linear, self.shown_classes = isinstance(model, DynamicConv2d), shown_classes
        if shown_classes is not None and (targets is not None or not 1 <= len(shown_classes) <= MOST_CLASSES):
            raise ValueError(f"shown_classes must be 1 to {MOST_CLASSES}, without targets, got {len(shown_classes)}")
        self.attention, self.outputs = _play(model, self.images, layers, seed, shown_classes is not None)
        self.targets = None if targets is None else _fitting(targets, self.outputs[0])
        self.inside = _kernels(model, self.images, self.attention) if self.linear else {}
        over = {name: getattr(weighting, "over", "kernels") for name, weighting in select(model).items()}
        self.channels = _channels(model, self.images, self.attention, over)
        super().__init__(
            data=json.dumps(self._data(over, classes)),
            experiments=json.dumps(experiments or {}),
            mode=mode,
            first=self.names[0] if first is None else first,
            second=self.names[1] if second is None else second,
            strength=strength,
            layer=next(iter(self.attention)) if layer is None else layer,
        )

    def _data(self, over: Mapping[str, str], classes: Sequence[str] | None) -> dict:
        logits = self.outputs.ndim == 3
        if classes is not None and (not logits or len(classes) != self.outputs.shape[2]):
            raise ValueError(
                f"classes must be one name a logit, got {len(classes)} for output {tuple(self.outputs.shape[1:])}"
            )
        labels = None if self.targets is None or not logits else self.targets.tolist()
        shown = self.outputs if logits else self.outputs[:, :, 0]  # (R, B, classes) or (R, B, H', W')
        names = list(map(str, range(shown.shape[2]) if classes is None else classes))
        if self.shown_classes is not None:
            shown, names = shown[..., list(self.shown_classes)], [names[k] for k in self.shown_classes]
        data = {
            "modes": MODES,
            "names": self.names,
            "images": [encode(image if len(image) == 3 else image[:1]) for image in self.images],
            "image_shape": list(self.images.shape[-2:]),
            "outputs": encode(shown),
            "output_shape": list(shown.shape[2:]),
            "classes": names if logits else None,
            "targets": labels,
            "linear": self.linear,
            "donors": _donors(self.attention),
            "layers": [
                {"name": name, "over": over[name], "shape": list(array.shape[2:]), "attention": encode(array)}
                for name, array in self.attention.items()
            ],
        }
        arrays = _figures(self.outputs, self.targets) | self.inside
        if not logits and self.targets is not None:
            arrays["wanted"] = self.targets[:, 0]  # (B, H', W')
        sizes = {"kernel_shape": list(self.inside["kernels"].shape[1:])} if self.inside else {}
        if self.channels is not None:
            arrays["channels"], sizes = self.channels, {"channel_shape": list(self.channels.shape[2:])}
        return data | sizes | {name: encode(array) for name, array in arrays.items()}

    @traitlets.validate("mode", "first", "second", "layer")
    def _check_choice(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        options = {"mode": list(MODES), "layer": list(self.attention)}.get(name, self.names)
        if value not in options:
            raise traitlets.TraitError(f"{name} must be one of {options}, got {value!r}")
        return value

    @traitlets.validate("strength")
    def _check_strength(self, proposal):
        if proposal["value"] != 1 and not self.linear:
            raise traitlets.TraitError(
                f"strength must be 1 for a model that is no single DynamicConv2d, got {proposal['value']}"
            )
        return proposal["value"]

    def changes(self) -> dict[str, float]:
        """How much the output of all images changes, relative to its norm, in every mode but "swap"."""
        difference = (self.outputs[: len(MODES) - 1] - self.outputs[0]).flatten(1).norm(dim=1)
        return dict(zip(MODES, (difference / self.outputs[0].norm().clamp_min(1e-30)).tolist(), strict=False))

    def still(self) -> figures.Picture:
        said = ", ".join(f"{mode} {change:.0%}" for mode, change in list(self.changes().items())[1:])
        alt = f"Interventions on the weights of {self.layer}; the output changes by: {said}."
        if self.outputs.ndim == 3:
            runs = {mode: self.outputs[r] for r, mode in enumerate(MODES[:-1])}  # (B, classes)
            return figures.images({"rows images, columns logits": runs}, alt, signed=True, shared=False)
        rows = {
            name: {mode: self.outputs[r, b, 0] for r, mode in enumerate(MODES[:-1])}
            for b, name in enumerate(self.names)
        }
        return figures.images(rows, alt)


def _kernels(layer, images, attention):
    """A layer's kernels (K, kh, kw), where few share all of an output, and the logits (B, K) of those with a softmax."""
    weights = next(iter(attention.values()))  # (R, B, K)
    whole = weights.min() >= 0 and torch.allclose(weights.sum(2), torch.ones(()), atol=1e-4)
    if layer.num_kernels > MOST_KERNELS or not whole:
        return {}
    found = {"kernels": kernels_of(layer)}
    with suppress(ValueError):
        found["logits"] = dynamic_state(layer, _as_weights(layer, images))["logits"]
    return found


def _channels(model: nn.Module, images: Tensor, attention: dict[str, Tensor], over: dict[str, str]) -> Tensor | None:
    """What a model's only gates scale, (B, C, h, w), where they are few and each multiplies its channel; else None."""
    name, weights = next(iter(attention.items()))  # (R, B, C)
    few = weights.ndim == 3 and weights.shape[2] <= MOST_KERNELS and weights[0].min() >= 0 and weights[0].max() <= 1
    if len(attention) > 1 or over[name] != "channels" or not few:
        return None
    parts = name.split(".")
    above = [model.get_submodule(".".join(parts[:n])) for n in range(len(parts) - 1, -1, -1)]
    found: list[Tensor] = []

    def look(_, inputs, output):
        x = next(iter(inputs), None)
        if not isinstance(x, Tensor) or not isinstance(output, Tensor):
            return
        if x.ndim == 4 and x.shape == output.shape and x.shape[:2] == weights.shape[1:]:
            gates = weights[0][:, :, None, None].to(x)
            found.extend([x] if torch.allclose(gates * x, output, atol=1e-5, rtol=1e-4) else [])

    with hooked({str(n): module for n, module in enumerate(above)}, lambda _: look):
        _run(model, images, None, None, 0)
    return found[0].cpu().float() if found and max(found[0].shape[2:]) <= MOST_PIXELS else None


def _donors(attention):
    """For each image the one whose weights it has when they are shuffled; itself where that is nobody else's."""
    own, shuffled = (
        torch.cat([w[MODES.index(mode)].flatten(1) for w in attention.values()], 1)
        for mode in ("as trained", "shuffled")
    )
    others = [[j for j in range(len(own)) if j != b and torch.equal(shuffled[b], own[j])] for b in range(len(own))]
    return [(found or [b])[0] for b, found in enumerate(others)]


def _run(model, images, mode, layers, seed, attention=None):
    names = list(select(model, layers))
    if not names:
        raise ValueError(f"{type(model).__name__} has no weights to intervene on")
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with ExitStack() as stack:
            if mode is not None:
                stack.enter_context(intervene(model, mode, names, attention=attention, seed=seed))
            seen = stack.enter_context(record(model, names))  # later than intervene: it sees what is put in
            stack.enter_context(torch.no_grad())
            output = model(_as_weights(model, images))
    finally:
        for module, was in training.items():
            module.training = was
    ran = {name: len(seen[name].batches) for name in names if seen[name].batches}
    if not ran or max(ran.values()) > 1:
        raise ValueError(f"weightings must run once for a batch, got {ran or 'none that ran'}")
    output = output if isinstance(output, Tensor) else output[0]
    return {"attention": {name: seen[name].weights for name in ran}, "output": output}


def _as_weights(model, images):
    """Where the model's numbers are, and as exact."""
    weights = next((p for p in model.parameters() if p.is_floating_point()), images)
    return images.to(weights.device, weights.dtype)


def _batched(model):
    """Name → whether each image has weights of its own."""
    return {name: getattr(weighting, "batched", True) for name, weighting in select(model).items()}


def _play(model, images, layers, seed, some_classes):
    """Attention, name → (R, B, ...), outputs (R, B, ...). Runs: the modes, then all images with those of image j."""
    states = [interventions_state(model, images, mode, None, layers, seed) for mode in MODES[:-1]]
    own, batch = states[0], len(images)
    _check_output(tuple(own["output"].shape), batch, some_classes)
    swaps = own["output"].repeat(batch, *[1] * own["output"].ndim)  # (donor, B, ...)
    for i, j in combinations(range(batch), 2):
        swapped = interventions_state(model, images, "swap", (i, j), layers, seed)["output"]
        swaps[j, i], swaps[i, j] = swapped[i], swapped[j]
    attention, batched = {}, _batched(model)
    for name in own["attention"]:
        rows = torch.stack([state["attention"][name] for state in states])  # (modes, B, ...), or (modes, ...)
        if not batched[name]:
            rows = rows[:, None].expand(-1, batch, *[-1] * (rows.ndim - 1))
        donors = rows[0][:, None].expand(-1, batch, *[-1] * (rows.ndim - 2))  # (donor, B, ...)
        attention[name] = torch.cat([rows, donors]).cpu().float()
    return attention, torch.cat([torch.stack([s["output"] for s in states]), swaps]).cpu().float()


def _check_output(shape, batch, some_classes):
    if len(shape) not in (2, 4) or shape[0] != batch:
        raise ValueError(f"output must be (B, C, H, W) or (B, classes), got {shape}")
    if max(shape[2:], default=0) > MOST_PIXELS or (len(shape) == 2 and shape[1] > MOST_CLASSES and not some_classes):
        raise ValueError(
            f"output must have at most {MOST_CLASSES} classes or {MOST_PIXELS} × {MOST_PIXELS} pixels, got {shape}"
        )


def _figures(outputs, targets):
    """Per run and image: squared norm of the change, and the loss; per image: squared norm of the output.

    ``crossed`` is what the loss needs on the way from one output to another: with y(s) = (1 − s) y + s y', the squared
    error is (1 − s)² loss + 2 s (1 − s) crossed + s² loss'.
    """
    flat = outputs.flatten(2).double()  # (R, B, n)
    found = {"differences": (flat - flat[0]).square().sum(2), "norms": flat[0].square().sum(1).clamp_min(1e-30)}
    if targets is None:
        return found
    if outputs.ndim == 3:
        losses = torch.stack([F.cross_entropy(run, targets, reduction="none") for run in outputs])  # (R, B)
        return found | {"losses": losses, "crossed": losses}
    errors = flat - targets.flatten(1)
    return found | {"losses": errors.square().mean(2), "crossed": (errors * errors[0]).mean(2)}


def _batch(images):
    shapes = sorted({tuple(image.shape) for image in images.values()})
    if not 2 <= len(images) <= MOST_IMAGES or len(shapes) != 1:
        raise ValueError(f"images must be 2 to {MOST_IMAGES} of one size, got {len(images)} of {shapes}")
    if len(shapes[0]) != 3 or max(shapes[0][1:]) > MOST_PIXELS:
        raise ValueError(f"images must be (C, H, W) of at most {MOST_PIXELS} × {MOST_PIXELS} pixels, got {shapes[0]}")
    return torch.stack(list(images.values())).detach()


def _fitting(targets, output):
    """The targets as classes or as an output, checked."""
    targets = targets.detach().cpu()
    if output.ndim == 2:
        if targets.shape != output.shape[:1] or targets.is_floating_point():
            raise ValueError(
                f"targets must be ({len(output)},) whole numbers, got {targets.dtype} {tuple(targets.shape)}"
            )
        if targets.min() < 0 or targets.max() >= output.shape[1]:
            raise ValueError(f"targets must be 0 to {output.shape[1] - 1}, got {targets.tolist()}")
        return targets.long()
    if targets.shape != output.shape:
        raise ValueError(f"targets must have the output's shape {tuple(output.shape)}, got {tuple(targets.shape)}")
    return targets.float()

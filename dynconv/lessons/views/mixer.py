"""Mixer: the question's layer with its K logits and its temperature on sliders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import torch
import traitlets
from torch import Tensor

from ...functional import conv, mix_kernels, softmax_temperature
from .. import figures
from .instrument import KernelInstrument, Numbers, encode
from .javascript import module, styles

__all__ = ["Mixer", "mixer_state"]

MOST_PHOTOS = 4


def mixer_state(photo: Tensor, kernels: Tensor, logits: Tensor, temperature: float) -> dict[str, Tensor]:
    """Everything the Mixer shows, computed by torch: weights (K,), maps (K, H, W), mixed (H, W), kernel (k, k), folded (H, W).

    Reference: https://ai.stackexchange.com/questions/34748; linearity of convolution

    Example:
        >>> import torch
        >>> shown = mixer_state(torch.rand(16, 16), torch.randn(3, 5, 5), torch.zeros(3), 1.0)
        >>> bool(torch.allclose(shown["mixed"], shown["folded"], atol=1e-5))
        True

    Args:
        photo: (H, W).
        kernels: (K, k, k), k odd.
        logits: (K,).
        temperature: T above 0.
    """
    x, size = photo[None, None], kernels.shape[-1]
    weights = softmax_temperature(logits, temperature)
    maps = conv(x, kernels[:, None], padding=size // 2)[0]  # (K, H, W)
    kernel = mix_kernels(kernels, weights)  # (k, k)
    folded = conv(x, kernel[None, None], padding=size // 2)[0, 0]
    return {"weights": weights, "maps": maps, "mixed": mix_kernels(maps, weights), "kernel": kernel, "folded": folded}


class Mixer(KernelInstrument):
    """K convolutions of a photo, mixed by sliders for the logits and the temperature. No wire leads from photo to weights.

    Reference: https://ai.stackexchange.com/questions/34748

    Everything is computed in the page, so the pictures follow the sliders at screen speed. The traits ``logits``,
    ``temperature`` and ``num_kernels`` hold what the sliders show and can be set from Python; ``photo``, where there are
    several, which of them is shown.

    Example:
        >>> import torch
        >>> mixer = Mixer(torch.rand(1, 32, 32), {"blur": torch.full((3, 3), 1 / 9), "copy": torch.eye(3)})
        >>> mixer.num_kernels, mixer.logits
        (2, [0.0, 0.0])

    Args:
        photo: (1, H, W) or (H, W); or name → such a photo, at most 4 of one size, to switch between.
        kernels: name → (k, k), k odd, the same for all; at most 8.
        logits: K starting values; zeros if left out.
        temperature: T to start with, 0.1 … 100 on the slider.
        num_kernels: how many of the kernels take part at the start; all if left out.
        experiments: button's label → traits it sets, for example {"one wins": {"temperature": 0.1}}.

    Raises:
        ValueError: a shape or number does not fit.
    """

    _esm, _css = module("mixer"), styles("diagram")
    photo = traitlets.Unicode().tag(sync=True)
    logits = Numbers().tag(sync=True)

    def __init__(
        self,
        photo: Tensor | Mapping[str, Tensor],
        kernels: Mapping[str, Tensor],
        logits: Sequence[float] | None = None,
        temperature: float = 1.0,
        num_kernels: int | None = None,
        experiments: Mapping[str, Mapping] | None = None,
    ) -> None:
        self.photos = _photos(photo)
        shapes = {tuple(kernel.shape) for kernel in kernels.values()}
        size = next(iter(shapes))[0] if shapes else 0
        if not 1 <= len(kernels) <= 8 or shapes != {(size, size)} or size % 2 == 0:
            raise ValueError(
                f"kernels must be 1 to 8 square ones of one odd size, got {len(kernels)} of {sorted(shapes)}"
            )
        self.most_kernels = count = len(kernels)
        self.kernels = {name: kernel.float() for name, kernel in kernels.items()}
        photos = [encode(one) for one in self.photos.values()]
        height, width = next(iter(self.photos.values())).shape
        data = {"photos": photos, "photo_names": list(self.photos), "height": height, "width": width}
        super().__init__(
            data=json.dumps(data | {"kernels": encode(self._stack()), "size": size, "names": list(kernels)}),
            experiments=json.dumps(experiments or {}),
            temperature=temperature,
            logits=[0.0] * count if logits is None else [float(z) for z in logits],
            num_kernels=count if num_kernels is None else num_kernels,
            photo=next(iter(self.photos)),
        )

    def _stack(self) -> Tensor:
        return torch.stack(list(self.kernels.values()))  # (K, k, k)

    @traitlets.validate("photo")
    def _check_photo(self, proposal):
        if proposal["value"] not in self.photos:
            raise traitlets.TraitError(f"photo must be one of {list(self.photos)}, got {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("logits")
    def _check_logits(self, proposal):
        value = proposal["value"]
        if len(value) != len(self.kernels):
            raise traitlets.TraitError(f"logits must be {len(self.kernels)} numbers, got {len(value)}")
        return value

    def still(self) -> figures.Picture:
        stack, logits = self._stack(), torch.tensor(self.logits)
        if not logits.any():
            logits = torch.linspace(1, -1, len(logits))  # all equal would give one and the same picture at every T
        counts = sorted({1, min(2, len(stack)), len(stack)})
        rows = {
            f"K = {K}": {
                f"T = {T:g}": mixer_state(self.photos[self.photo], stack[:K], logits[:K], T)["mixed"]
                for T in (0.1, 1, 10, 100)
            }
            for K in counts
        }
        shown = ", ".join(f"{z:g}" for z in logits.tolist())
        return figures.images(
            rows,
            alt=f"Mixer: the weighted sum of K feature maps for K = {counts} and T = 0.1, 1, 10, 100 with logits {shown}: "
            "low T shows the winner's map alone, high T the plain average.",
        )


def _photos(given: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name → (H, W), checked."""
    photos = {"photo": given} if isinstance(given, Tensor) else dict(given)
    photos = {name: one[0] if one.ndim == 3 and one.shape[0] == 1 else one for name, one in photos.items()}
    shapes = [tuple(one.shape) for one in photos.values()]
    if not 1 <= len(photos) <= MOST_PHOTOS or len(set(shapes)) > 1 or any(len(shape) != 2 for shape in shapes):
        raise ValueError(
            f"photo must be grey, (1, H, W) or (H, W), or 1 to {MOST_PHOTOS} such of one size, got {shapes}"
        )
    return photos

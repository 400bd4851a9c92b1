"""Rescale: any weight for any kernel, and not one pixel of the output moves."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
import traitlets
from torch import Tensor

from ...functional import conv, mix_kernels
from .. import figures
from .instrument import Finite, Instrument, encode
from .javascript import module, styles

__all__ = ["RescaleView", "rescale_state"]


def rescale_state(kernels: Tensor, weights: Tensor, which: int, share: float) -> dict[str, Tensor]:
    r"""Other weights for the same layer: kernel ``which`` gets ``share``, the others share the rest as before.

    Reference: Wang et al., https://arxiv.org/abs/2108.04392, ask what such weights say

    .. math:: \pi'_k W'_k = \pi_k W_k, \qquad W'_k = \frac{\pi_k}{\pi'_k} W_k

    Returns weights (K,), kernels (K, k, k), mixed (k, k): the last is what it was.

    Example:
        >>> import torch
        >>> kernels, weights = torch.randn(2, 3, 3), torch.tensor([0.9, 0.1])
        >>> now = rescale_state(kernels, weights, 0, 0.1)
        >>> now["weights"], bool(torch.allclose(now["mixed"], 0.9 * kernels[0] + 0.1 * kernels[1]))
        (tensor([0.1000, 0.9000]), True)

    Args:
        kernels: (K, k, k), K at least 2.
        weights: (K,), above 0 and with sum 1.
        which: a kernel, from 0.
        share: its new weight, between 0 and 1, both excluded.
    """
    new = weights * (1 - share) / (1 - weights[which])
    new[which] = share
    now = kernels * (weights / new)[:, None, None]
    return {"weights": new, "kernels": now, "mixed": mix_kernels(now, new)}


class RescaleView(Instrument):
    """A slider that gives a kernel any weight, and resizes the kernels so that the output stays.

    Reference: see :func:`.rescale_state`

    All is computed in the page. A weight says how much a map counts only beside the size of its kernel.

    Example:
        >>> import torch
        >>> view = RescaleView(torch.randn(16, 16), {"a": torch.randn(3, 3), "b": torch.randn(3, 3)}, [0.9, 0.1])
        >>> view.kernel, view.share
        ('a', 0.9)

    Args:
        photo: (H, W), mean about 0.
        kernels: name → (k, k), k odd, 2 to 8 of them.
        weights: K numbers above 0 with sum 1.
        kernel: whose weight the slider moves; the first if left out.
        share: its weight to start with; the one it has if left out.
        experiments: button's label → traits it sets, for example {"turn round": {"share": 0.05}}.

    Raises:
        ValueError: a shape or number does not fit; traitlets.TraitError: there is no such kernel, or the share is none.
    """

    _esm, _css = module("rescale"), styles("diagram", "branches")
    kernel = traitlets.Unicode().tag(sync=True)
    share = Finite(0.5, min=0.02, max=0.98).tag(sync=True)

    def __init__(
        self,
        photo: Tensor,
        kernels: Mapping[str, Tensor],
        weights: list[float],
        kernel: str | None = None,
        share: float | None = None,
        experiments: Mapping[str, Mapping] | None = None,
    ) -> None:
        shapes = {tuple(one.shape) for one in kernels.values()}
        side = next(iter(shapes))[-1] if shapes else 0
        if not 2 <= len(kernels) <= 8 or shapes != {(side, side)} or side % 2 == 0:
            raise ValueError(
                f"kernels must be 2 to 8 square ones of one odd size, got {len(kernels)} of {sorted(shapes)}"
            )
        if photo.ndim != 2:
            raise ValueError(f"photo must be (H, W), got {tuple(photo.shape)}")
        if len(weights) != len(kernels) or min(weights) <= 0 or abs(sum(weights) - 1) > 1e-3:
            raise ValueError(f"weights must be {len(kernels)} numbers above 0 with sum 1, got {list(weights)}")
        self.names, self.photo = list(kernels), photo.detach()
        self.stack, self.weights = torch.stack(list(kernels.values())).detach(), torch.tensor(weights) / sum(weights)
        kernel = self.names[0] if kernel is None else kernel
        data = {
            "photo": encode(self.photo),
            "height": photo.shape[0],
            "width": photo.shape[1],
            "names": self.names,
            "kernels": encode(self.stack),
            "size": side,
            "weights": self.weights.tolist(),
        }
        own = dict(zip(self.names, weights, strict=True)).get(kernel, 0.5)  # the trait refuses a name that is none
        super().__init__(
            data=json.dumps(data),
            experiments=json.dumps(experiments or {}),
            kernel=kernel,
            share=min(0.98, max(0.02, own)) if share is None else share,
        )

    @traitlets.validate("kernel")
    def _check_kernel(self, proposal):
        if proposal["value"] not in self.names:
            raise traitlets.TraitError(f"kernel must be one of {self.names}, got {proposal['value']!r}")
        return proposal["value"]

    def still(self) -> figures.Picture:
        which, rows, size = self.names.index(self.kernel), {}, self.stack.shape[-1]
        for share in (0.9, 0.5, 0.1):
            now = rescale_state(self.stack, self.weights, which, share)
            pictures = {
                f"{n} {w:.0%}": k for n, w, k in zip(self.names, now["weights"].tolist(), now["kernels"], strict=True)
            }
            y = conv(self.photo[None, None], now["mixed"][None, None], padding=size // 2)[0, 0]
            rows[f"{self.kernel} {share:.0%}"] = pictures | {"output": y}
        return figures.images(
            rows,
            f"Weights and kernels when {self.kernel} has 90, 50 and 10 per cent: the kernels grow as their weights shrink, and the "
            "output is the same picture in every row.",
            signed=True,
            shared=False,
        )

"""Cost: what a dynamic convolution computes and keeps, against its size, its images and K."""

from __future__ import annotations

import json
from collections.abc import Mapping

import traitlets

from .. import figures
from .instrument import Instrument, Whole
from .javascript import module, styles

__all__ = ["CostView", "cost_state"]

RANGES = {"channels": (8, 512), "size": (1, 64), "kernel_size": (1, 7), "num_kernels": (1, 8), "batch": (1, 128)}


def cost_state(channels: int, size: int, kernel_size: int, num_kernels: int, batch: int) -> dict[str, float]:
    r"""Multiply-adds, parameters and numbers in memory of a C → C convolution of B images, static and dynamic.

    Reference: Chen et al., section 3.2, https://arxiv.org/abs/1912.03458

    .. math:: \frac{\text{mixing}}{\text{convolution}} = \frac{B K C^2 k^2}{B H^2 C^2 k^2} = \frac{K}{H^2}

    Returns convolution, mixing and attention, the multiply-adds of the dynamic layer's parts; static and outputs, those of
    one plain convolution and of K convolutions whose outputs are mixed; parameters and static_parameters; mixed_kernels,
    the numbers in one kernel for each image, and images, those of the input.

    Example:
        >>> cost = cost_state(channels=64, size=10, kernel_size=3, num_kernels=4, batch=1)
        >>> cost["mixing"] / cost["convolution"]
        0.04

    Args:
        channels: C, in and out.
        size: H, height and width of input and output, in pixels.
        kernel_size: k, odd.
        num_kernels: K.
        batch: B.
    """
    one_kernel = channels * channels * kernel_size**2
    convolution, hidden = batch * size**2 * one_kernel, max(1, channels // 4)
    attention = hidden * (channels + num_kernels)  # two small layers; the biases of the second are num_kernels more
    return {
        "static": convolution,
        "convolution": convolution,
        "mixing": batch * num_kernels * one_kernel,
        "attention": batch * attention,
        "outputs": num_kernels * convolution + batch * (num_kernels * channels * size**2 + attention),
        "static_parameters": one_kernel,
        "parameters": num_kernels * one_kernel + attention + num_kernels,
        "mixed_kernels": batch * one_kernel,
        "images": batch * channels * size**2,
    }


def _bounded(name: str) -> traitlets.TraitType:
    low, high = RANGES[name]
    return Whole(low, min=low, max=high).tag(sync=True)


class CostView(Instrument):
    """Multiply-adds, parameters and memory of a dynamic convolution beside a static one, with its sizes on sliders.

    Reference: Chen et al., section 3.2, https://arxiv.org/abs/1912.03458

    Mixing costs K / H² of the convolution, whatever the channels: nothing on a large image, a good part on a small one.

    Example:
        >>> view = CostView(channels=256, size=7)
        >>> view.num_kernels, view.batch
        (4, 32)

    Args:
        channels: C, in and out, 8 to 512.
        size: H, in pixels, 1 to 64.
        kernel_size: k, odd, 1 to 7.
        num_kernels: K, 1 to 8.
        batch: B, 1 to 128.
        experiments: button's label → traits it sets, for example {"early layer": {"channels": 64, "size": 56}}.

    Raises:
        TraitError: a number is out of its range, or kernel_size is even.
    """

    _esm, _css = module("cost"), styles("cost")
    channels, size, kernel_size = _bounded("channels"), _bounded("size"), _bounded("kernel_size")
    num_kernels, batch = _bounded("num_kernels"), _bounded("batch")

    def __init__(
        self,
        channels: int = 64,
        size: int = 14,
        kernel_size: int = 3,
        num_kernels: int = 4,
        batch: int = 32,
        experiments: Mapping[str, Mapping] | None = None,
    ) -> None:
        sizes = {"channels": channels, "size": size, "kernel_size": kernel_size}
        super().__init__(
            data=json.dumps({"ranges": RANGES}),
            experiments=json.dumps(experiments or {}),
            num_kernels=num_kernels,
            batch=batch,
            **sizes,
        )

    @traitlets.validate("kernel_size")
    def _check_kernel_size(self, proposal):
        if proposal["value"] % 2 == 0:
            raise traitlets.TraitError(f"kernel_size must be odd, got {proposal['value']}")
        return proposal["value"]

    def still(self) -> figures.Picture:
        sizes = [4, 7, 10, 14, 20, 28, 40, 56]
        shares = {}
        for K in (2, 4, 8):
            states = [cost_state(self.channels, size, self.kernel_size, K, self.batch) for size in sizes]
            shares[f"K = {K}"] = [(s["convolution"] + s["mixing"] + s["attention"]) / s["static"] for s in states]
        return figures.curves(
            shares,
            alt="Multiply-adds of a dynamic convolution over those of a static one, against the image's size, for K = 2, 4 and "
            f"8: with K = 4, {shares['K = 4'][0]:.2f} at 4 pixels, {shares['K = 4'][2]:.2f} at 10 and {shares['K = 4'][-1]:.3f} at 56.",
            x=sizes,
            xlabel="height and width in pixels",
            ylabel="dynamic / static",
            log_x=True,
        )

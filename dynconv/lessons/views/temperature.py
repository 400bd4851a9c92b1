"""Temperature bench: a softmax taken apart, stage by stage, and what still learns behind it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import torch
import traitlets
from torch import Tensor

from ...functional import check_temperature, softmax_temperature
from .. import figures
from .instrument import Instrument, Numbers, Temperature
from .javascript import module, styles

__all__ = ["TemperatureBench", "temperature_state"]

MOST = 1e6  # of T and s: with logits as large no float32 overflows


def temperature_state(logits: Tensor, temperature: float, scale: float, upstream: Tensor) -> dict[str, Tensor]:
    r"""Every stage of softmax(s z / T), all (K,), and the gradients that come back through it.

    Reference: Chen et al., section 3.3, https://arxiv.org/abs/1912.03458

    .. math:: \pi = \mathrm{softmax}(s z / T), \qquad
        \frac{\partial L}{\partial z_k} = \frac{s}{T}\, \pi_k \Big(g_k - \sum_j \pi_j g_j\Big)

    with g the gradient that arrives at the weights. A kernel's own gradient is its weight times what arrives at the mix, so
    its share is the weight itself.

    Example:
        >>> import torch
        >>> shown = temperature_state(torch.tensor([2.0, 0.0]), 1.0, 1.0, torch.tensor([1.0, 0.0]))
        >>> [round(w, 3) for w in shown["weights"].tolist()], [round(g, 3) for g in shown["gradient"].tolist()]
        ([0.881, 0.119], [0.105, -0.105])

    Args:
        logits: z, (K,).
        temperature: T above 0.
        scale: s above 0.
        upstream: g, (K,).

    Returns:
        "divided" s z / T; "powers" exp of that, after the largest is subtracted; "weights"; "entropy" in nats and
        "effective", its exponential, one number each; "gradient" of the logits.

    Raises:
        ValueError: T or s is not a finite number above 0.
    """
    check_temperature(temperature)
    check_scale(scale)
    divided = logits * (scale / temperature)
    weights = softmax_temperature(logits * scale, temperature)
    entropy = -torch.special.xlogy(weights, weights).sum()
    gradient = scale / temperature * weights * (upstream - weights @ upstream)
    powers = torch.exp(divided - divided.max())
    shown = {"divided": divided, "powers": powers, "weights": weights, "gradient": gradient}
    return shown | {"entropy": entropy, "effective": entropy.exp()}


def check_scale(scale: float) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be a finite number above 0, got {scale}")


def _finite(what: str, values: Sequence[float] | Tensor) -> list[float]:
    numbers = torch.as_tensor(values, dtype=torch.float64)
    if numbers.ndim != 1 or not 1 <= len(numbers) <= 8:
        raise ValueError(f"{what} must be 1 to 8 numbers, got shape {tuple(numbers.shape)}")
    if not numbers.isfinite().all():
        raise ValueError(f"{what} must be finite, got {numbers.tolist()}")
    return numbers.tolist()


class TemperatureBench(Instrument):
    """Sliders for K logits, their scale and the temperature; every stage of the softmax, and what learns.

    Reference: Chen et al., section 3.3, https://arxiv.org/abs/1912.03458

    Scale and temperature enter only as s / T, so at inference one undoes the other. In training they do not start there:
    the gradient of the logits carries the same s / T.

    Example:
        >>> bench = TemperatureBench([2.0, 1.0, 0.0], temperature=30)
        >>> bench.temperature, bench.scale, bench.logits
        (30.0, 1.0, [2.0, 1.0, 0.0])

    Args:
        logits: 1 to 8 numbers, -5 … 5 on the sliders.
        names: of the kernels; "kernel 1", "kernel 2" and so on if left out.
        temperature: T to start with, 0.1 … 100 on the slider.
        scale: s to start with, 0.1 … 100 on the slider.
        upstream: g, how much the loss would change with each weight; from 1 down to -1 if left out.
        experiments: button's label → traits it sets, for example {"cancel": {"temperature": 30, "scale": 30}}.

    Raises:
        ValueError: not 1 to 8 finite logits, or not as many different names or finite gradients;
            traitlets.TraitError: T or s is not 1e-6 … 1e6, or a logit is larger than 1e6.
    """

    _esm = module("temperature")
    _css = styles("diagram", "temperature")
    logits = Numbers().tag(sync=True)
    temperature = Temperature(1.0, largest=MOST).tag(sync=True)
    scale = Temperature(1.0, largest=MOST).tag(sync=True)

    def __init__(
        self,
        logits: Sequence[float] | Tensor,
        names: Sequence[str] | None = None,
        temperature: float = 1.0,
        scale: float = 1.0,
        upstream: Sequence[float] | Tensor | None = None,
        experiments: Mapping[str, Mapping] | None = None,
    ) -> None:
        values = _finite("logits", logits)
        count = len(values)
        self.names = [f"kernel {k + 1}" for k in range(count)] if names is None else list(names)
        self.upstream = torch.linspace(1, -1, count).tolist() if upstream is None else _finite("upstream", upstream)
        for what, got in (("different names", len(set(self.names))), ("numbers upstream", len(self.upstream))):
            if got != count:
                raise ValueError(f"needs {count} {what}, one a logit, got {got}")
        super().__init__(
            data=json.dumps({"names": self.names, "upstream": self.upstream}),
            experiments=json.dumps(experiments or {}),
            logits=values,
            temperature=temperature,
            scale=scale,
        )

    @traitlets.validate("logits")
    def _check_logits(self, proposal):
        value = proposal["value"]
        if len(value) != len(self.names):
            raise traitlets.TraitError(f"logits must be {len(self.names)} numbers, got {value}")
        return value

    def still(self) -> figures.Picture:
        temperatures = torch.logspace(-1, 2, 61)
        logits = torch.tensor(self.logits)
        weights = torch.stack([softmax_temperature(logits * self.scale, T.item()) for T in temperatures], 1)  # (K, 61)
        series = {name: row.tolist() for name, row in zip(self.names, weights, strict=True)}
        shown = ", ".join(f"{z:g}" for z in self.logits)
        return figures.curves(
            series,
            alt=f"Softmax of {self.scale:g} times the logits {shown} over the temperature from 0.1 to 100: the weights go from "
            f"{_listed(weights[:, 0])} to {_listed(weights[:, -1])}.",
            x=temperatures.tolist(),
            xlabel="temperature T",
            ylabel="weight",
            log_x=True,
        )


def _listed(weights: Tensor) -> str:
    return ", ".join(f"{weight:.0%}" for weight in weights.tolist())

"""What every instrument is made of: an anywidget whose output also carries a still picture."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import anywidget
import traitlets
from torch import Tensor

from ..figures import Picture
from ..functional import check_temperature

__all__: list[str] = []

HERE = Path(__file__).parent


def bundle(name: str) -> str:
    """One ES module out of ``name``.js and the modules it imports: a widget's code cannot import relative paths."""
    parts: list[str] = []
    seen: set[str] = set()

    def add(module: str, main: bool) -> None:
        if module in seen:
            return
        seen.add(module)
        text = (HERE / f"{module}.js").read_text(encoding="utf-8")
        imports = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)
        for found in imports.finditer(text):
            add(found[1], False)
        text = imports.sub("", text)
        parts.append(text if main else re.sub(r"^export (?=const|function)", "", text, flags=re.MULTILINE))

    add(name, True)
    return "\n".join(parts)


def styles(name: str = "") -> str:
    """The instruments' shared style sheet, and after it ``name``.css if an instrument needs rules of its own."""
    return "\n".join((HERE / f"{part}.css").read_text(encoding="utf-8") for part in ("style", name) if part)


def encode(array: Tensor) -> str:
    """Base64 of little-endian float32: text survives Colab, which drops binary buffers."""
    return base64.b64encode(array.detach().cpu().contiguous().float().numpy().astype("<f4").tobytes()).decode()


class Instrument(anywidget.AnyWidget):
    """Base of the instruments: subclasses give ``_esm``, fill ``data`` and draw ``still()``."""

    _css = styles()
    data = traitlets.Unicode("{}").tag(sync=True)
    experiments = traitlets.Unicode("{}").tag(sync=True)

    # ipywidgets 7 (Colab) would display through this and leave out the still picture
    _ipython_display_ = None

    def still(self) -> Picture | None:
        """The picture for readers without a running widget; None while there is nothing to see."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        still = self.still()
        if still is not None:
            picture, words = still._repr_mimebundle_()
            data, metadata = data | picture, metadata | words
        return data, metadata


class Temperature(traitlets.Float):
    """A trait that takes any finite number above zero and says so otherwise."""

    def validate(self, obj, value):
        value = super().validate(obj, value)
        try:
            check_temperature(value)
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from None
        return value


class KernelInstrument(Instrument):
    """An instrument with a temperature and a number of kernels; subclasses set ``most_kernels`` before the traits."""

    most_kernels: int
    temperature = Temperature(1.0).tag(sync=True)
    num_kernels = traitlets.Int(1).tag(sync=True)

    @traitlets.validate("num_kernels")
    def _check_num_kernels(self, proposal):
        if not 1 <= proposal["value"] <= self.most_kernels:
            raise traitlets.TraitError(f"num_kernels must be 1 to {self.most_kernels}, got {proposal['value']}")
        return proposal["value"]

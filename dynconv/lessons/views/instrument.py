"""What every instrument is made of: an anywidget whose output also carries a still picture."""

from __future__ import annotations

import base64
import re

import anywidget
import traitlets
from torch import Tensor

from ...functional import check_temperature
from ..figures import Picture
from .javascript import styles
from .reruns import others, shown

__all__: list[str] = []

KIND = re.compile(r"[A-Za-z0-9_-]+")


def encode(array: Tensor) -> str:
    """Base64 of little-endian float32: text survives Colab, which drops binary buffers."""
    return base64.b64encode(array.detach().cpu().contiguous().float().numpy().astype("<f4").tobytes()).decode()


class Instrument(anywidget.AnyWidget):
    """Base of the instruments: subclasses give ``_esm``, fill ``data`` and draw ``still()``.

    Links to a state name the instrument by its ``kind``, which is its class. Give one of two of a class in a page another
    kind, and each follows its own links.
    """

    _css = styles()
    data = traitlets.Unicode("{}").tag(sync=True)
    experiments = traitlets.Unicode("{}").tag(sync=True)
    kind = traitlets.Unicode().tag(sync=True)  # what links to a state call it
    begun = traitlets.Unicode().tag(sync=True)  # the state that Reset returns to: the first view writes it
    alt = traitlets.Unicode().tag(sync=True)  # the still picture's words, for a page that cannot draw

    # ipywidgets 7 (Colab) would display through this and leave out the still picture
    _ipython_display_ = None

    @traitlets.default("kind")
    def _own_name(self):
        return type(self).__name__

    @traitlets.validate("kind")
    def _check_kind(self, proposal):
        if not KIND.fullmatch(proposal["value"]):  # it stands in addresses
            raise traitlets.TraitError(f"kind must be letters, digits, - and _, got {proposal['value']!r}")
        return proposal["value"]

    def __init__(self, **state) -> None:
        self.cells: dict[str | None, str | None] = {}  # that show it → their run that did
        super().__init__(**state)

    def close(self) -> None:
        """Leave the page, with the widget that holds the layout; displayed again, it comes back as it is."""
        layout = None if self.comm is None else self.layout
        super().close()
        self.__dict__.pop("_repr_mimebundle_", None)  # ipywidgets 8 takes it from what is closed
        if layout is not None and not any(getattr(widget, "layout", None) is layout for widget in others(self)):
            layout.close()

    def still(self) -> Picture | None:
        """The picture for readers without a running widget; None while there is nothing to see."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs):
        for widget in (self.layout, self):  # closed ones
            widget.open()
        shown(self)
        data, metadata = super()._repr_mimebundle_(**kwargs)
        still = self.still()
        if still is not None:
            self.alt = still.alt
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

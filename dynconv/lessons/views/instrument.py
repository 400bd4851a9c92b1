"""What every instrument is made of: an anywidget whose output also carries a still picture."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import numbers
import re

import anywidget
import traitlets
from torch import Tensor

from ..figures import Picture
from .javascript import styles
from .reruns import others, shown

__all__: list[str] = []

KIND = re.compile(r"[A-Za-z0-9_-]+")


def encode(array: Tensor) -> str:
    """Base64 of little-endian float32: text survives Colab, which drops binary buffers."""
    return base64.b64encode(array.detach().cpu().contiguous().float().numpy().astype("<f4").tobytes()).decode()


def encode_bytes(pixels: Tensor) -> str:
    """Base64 of one byte a pixel, a quarter of what floats are; ``pixels`` are 0 … 255."""
    return base64.b64encode(pixels.round().byte().cpu().contiguous().numpy().tobytes()).decode()


def _number(name: str, value, what: str = "a finite number") -> float:
    """Any number but NaN and infinity, and True is none; the error names the trait and the value."""
    with contextlib.suppress(OverflowError):  # a whole number may be larger than any float
        if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(number := float(value)):
            return number
    raise traitlets.TraitError(f"{name} must be {what}, got {_said(value)}")


def _said(value) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python writes no more than 4,300 digits
        return "a number of thousands of digits"


class Finite(traitlets.Float):
    """A trait that takes any finite number from ``min`` to ``max``."""

    def validate(self, obj, value):
        number = _number(self.name, value)
        if not self.min <= number <= self.max:
            raise traitlets.TraitError(f"{self.name} must be {self.min:g} to {self.max:g}, got {value}")
        return number


class Whole(traitlets.Int):
    """A trait that takes whole numbers from ``min`` to ``max``, if these are given, and none that JavaScript cannot count to."""

    def validate(self, obj, value):
        number = _number(self.name, value, "a whole number")
        if number != int(number) or abs(number) >= 2**53:
            raise traitlets.TraitError(f"{self.name} must be a whole number, got {_said(value)}")
        if not (self.min is None or self.min <= number <= self.max):
            raise traitlets.TraitError(f"{self.name} must be {self.min} to {self.max}, got {value}")
        return int(number)


class Numbers(traitlets.List):
    """A trait that takes a list of numbers, each at most 1e6 in size: then no float32 overflows on the way to a softmax."""

    most = 1e6

    def validate(self, obj, value):
        if not isinstance(value, (list, tuple)):
            raise traitlets.TraitError(f"{self.name} must be a list of numbers, got {_said(value)}")
        found = [_number(f"{self.name}[{i}]", number) for i, number in enumerate(value)]
        if found and max(map(abs, found)) > self.most:
            raise traitlets.TraitError(f"{self.name} must be at most {self.most:g} in size, got {_said(value)}")
        return found


class Temperature(Finite):
    """A trait that takes any number above zero that float32 can divide by, and says so otherwise."""

    def __init__(self, *arguments, largest: float = 1e30, **options) -> None:
        super().__init__(*arguments, min=1 / largest, max=largest, **options)

    def validate(self, obj, value):
        if _number(self.name, value, "a finite number above 0") <= 0:
            raise traitlets.TraitError(f"{self.name} must be a finite number above 0, got {value}")
        return super().validate(obj, value)


class Instrument(anywidget.AnyWidget):
    """Base of the instruments: subclasses give ``_esm``, fill ``data`` and draw ``still()``.

    Links to a state name the instrument by its ``kind``, which is its class. Give one of two of a class in a page another
    kind, and each follows its own links.
    """

    _css = styles()
    data = traitlets.Unicode("{}").tag(sync=True)
    experiments = traitlets.Unicode("{}").tag(sync=True)  # button's label → the traits it sets, which must fit
    kind = traitlets.Unicode().tag(sync=True)  # what links to a state call it
    begun = traitlets.Unicode().tag(sync=True)  # the state that Reset returns to: the first view writes it
    alt = traitlets.Unicode().tag(sync=True)  # the still picture's words, for a page that cannot draw

    personal: tuple[str, ...] = ()  # traits that are the reader's own: a page made from here begins without them

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

    @traitlets.validate("experiments")
    def _check_experiments(self, proposal):
        try:
            settings = {label: {**values} for label, values in json.loads(proposal["value"]).items()}
        except (ValueError, TypeError, AttributeError):
            said = f"experiments must be labels with the traits they set, in JSON, got {_said(proposal['value'])}"
            raise traitlets.TraitError(said) from None
        for label, values in settings.items():
            for name, value in values.items():
                self._check_setting(f"experiment {label!r}", name, value)
        return proposal["value"]

    def _check_setting(self, where: str, name: str, value) -> None:
        """Whether a trait that a reader can set would take this."""
        own = self.traits(sync=True, control=lambda tag: tag is not False)
        controls = {n: own[n] for n in own.keys() - Instrument.class_traits(sync=True).keys() if n[0] != "_"}
        if name not in controls:
            there = ", ".join(sorted(controls)) or "no controls"
            raise traitlets.TraitError(f"{where} sets {name!r}; there are: {there}")
        try:
            controls[name]._cross_validate(self, controls[name]._validate(self, value))
        except traitlets.TraitError as error:
            raise traitlets.TraitError(f"{where}: {error}") from None

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

    def in_words(self) -> str:
        """HTML for readers without a running widget, where there is no picture."""
        return ""

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


class KernelInstrument(Instrument):
    """An instrument with a temperature and a number of kernels; subclasses set ``most_kernels`` before the traits."""

    most_kernels: int
    temperature = Temperature(1.0).tag(sync=True)
    num_kernels = Whole(1).tag(sync=True)

    @traitlets.validate("num_kernels")
    def _check_num_kernels(self, proposal):
        if not 1 <= proposal["value"] <= self.most_kernels:
            raise traitlets.TraitError(f"num_kernels must be 1 to {self.most_kernels}, got {proposal['value']}")
        return proposal["value"]

"""The instruments: pure state, a front end that draws it, and a thin widget that joins the two."""

from .dynamic import DynamicView
from .mixer import Mixer
from .training import TrainingView

__all__ = ["DynamicView", "Mixer", "TrainingView"]

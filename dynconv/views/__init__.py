"""The instruments: pure state, a front end that draws it, and a thin widget that joins the two."""

from .cam import CAMView
from .dynamic import DynamicView
from .feature_attention import FeatureAttentionView
from .gates import GatesView
from .interventions import InterventionsView
from .mixer import Mixer
from .page import page
from .simplex import SimplexMap
from .temperature import TemperatureBench
from .trace import Trace
from .training import TrainingView

__all__ = [
    "CAMView",
    "DynamicView",
    "FeatureAttentionView",
    "GatesView",
    "InterventionsView",
    "Mixer",
    "SimplexMap",
    "TemperatureBench",
    "Trace",
    "TrainingView",
    "page",
]

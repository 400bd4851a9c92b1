"""The instruments: pure state, a front end that draws it, and a thin widget that joins the two."""

from .cam import CAMView
from .dynamic import DynamicView
from .feature_attention import FeatureAttentionView
from .gates import GatesView
from .mixer import Mixer
from .page import page
from .training import TrainingView

__all__ = ["CAMView", "DynamicView", "FeatureAttentionView", "GatesView", "Mixer", "TrainingView", "page"]

"""The instruments: pure state, a front end that draws it, and a thin widget that joins the two."""

from .bet import Bet
from .branches import BranchesView
from .cam import CAMView
from .cost import CostView
from .dynamic import DynamicView
from .explanation import explain
from .feature_attention import FeatureAttentionView
from .gates import GatesView
from .hero import Hero
from .interventions import InterventionsView
from .mixer import Mixer
from .pages import page
from .playground import Playground
from .progress import Progress
from .rescale import RescaleView
from .simplex import SimplexMap
from .temperature import TemperatureBench
from .time_machine import TimeMachine
from .trace import Trace
from .training import TrainingView
from .training_maps import TrainingMapsView

__all__ = [
    "Bet",
    "BranchesView",
    "CAMView",
    "CostView",
    "DynamicView",
    "FeatureAttentionView",
    "GatesView",
    "Hero",
    "InterventionsView",
    "Mixer",
    "Playground",
    "Progress",
    "RescaleView",
    "SimplexMap",
    "TemperatureBench",
    "TimeMachine",
    "Trace",
    "TrainingMapsView",
    "TrainingView",
    "explain",
    "page",
]

"""Look inside: record the weights a model uses, put others in their place, and measure what that says.

`record` and `intervene` are context managers: their hooks are gone when the ``with`` block is left, whatever happened.
"""

from .fit import best_convolution
from .intervention import MODES, intervene
from .recording import Record, Recording, record
from .verdicts import Verdict, verdict

__all__ = ["MODES", "Record", "Recording", "Verdict", "best_convolution", "intervene", "record", "verdict"]

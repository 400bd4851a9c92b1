"""The exercises of the lessons: solutions, checkers, and plausible wrong answers that are recognised; and the first cell's `ready`."""

from .exercise import Exercise, Mistake, Result
from .lessons import EXERCISES, check
from .ready import ready

__all__ = ["EXERCISES", "Exercise", "Mistake", "Result", "check", "ready"]

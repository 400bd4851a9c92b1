"""The exercises of the lessons: solutions, checkers, and plausible wrong answers that are recognised."""

from .exercise import Exercise, Mistake, Result
from .registry import EXERCISES, check

__all__ = ["EXERCISES", "Exercise", "Mistake", "Result", "check"]

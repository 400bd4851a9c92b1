"""The bets of the lessons: what is asked before a cell runs, and the file that keeps what a learner bet and solved."""

from .asking import Question
from .ledger import FILE, Ledger, here
from .registry import QUESTIONS, question

__all__ = ["FILE", "QUESTIONS", "Ledger", "Question", "here", "question"]

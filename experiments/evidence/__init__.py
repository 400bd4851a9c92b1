"""Evidence: every system on every task, five seeds each, as rows of a CSV, and the tables and figures made of them."""

from .recording import record_training
from .rows import Row, rows
from .runs import run

__all__ = ["Row", "record_training", "rows", "run"]

"""Training: one loop for the lessons and for real runs, checkpoints, and what to watch."""

from .checkpoint import load_checkpoint, save_checkpoint
from .loop import fit
from .watch import attention_by_class

__all__ = ["attention_by_class", "fit", "load_checkpoint", "save_checkpoint"]

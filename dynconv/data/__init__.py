"""What the lessons look at: the shipped images, and the tasks made of them."""

from .restoration import DEGRADATIONS, best_filter, restoration
from .shipped import digits, photo, photo_names

__all__ = ["DEGRADATIONS", "best_filter", "digits", "photo", "photo_names", "restoration"]

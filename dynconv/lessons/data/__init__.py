"""What the lessons look at: the shipped images, the tasks made of them, and what can be fetched or brought along."""

from .clutter import digits_in_clutter, digits_split
from .cues import cue, edge_filters
from .degradations import DEGRADATIONS, SHIFTS, best_filter, damaged_window, restoration
from .downloads import cifar10, data_folder, fashion_mnist
from .folder import image_folder, open_image
from .layers import restorer
from .recordings import recording, recording_names
from .shipped import digits, photo, photo_names
from .upload import uploaded_image

__all__ = [
    "DEGRADATIONS",
    "SHIFTS",
    "best_filter",
    "cifar10",
    "cue",
    "damaged_window",
    "data_folder",
    "digits",
    "digits_in_clutter",
    "digits_split",
    "edge_filters",
    "fashion_mnist",
    "image_folder",
    "open_image",
    "photo",
    "photo_names",
    "recording",
    "recording_names",
    "restoration",
    "restorer",
    "uploaded_image",
]

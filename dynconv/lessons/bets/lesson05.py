"""The bets of lesson 05."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "05.four-filters": Question(
        "Least squares finds the best single filter for all patches, and the best filter for each kind of "
        "damage. How much lower is the error with four filters, each used where it belongs?",
        {
            "By a third or more": "Each undoes its own damage: a filter that sharpens sideways makes noise worse.",
        },
        {
            "Hardly: a good filter is a good filter": "A filter that sharpens sideways makes noise worse. See the numbers.",
            "To zero": "Noise cannot be filtered away completely; something stays.",
        },
    ),
    "05.squeeze": Question(
        "Attach this attention directly to the grey photos, one channel. Can it tell the cat blurred sideways"
        " from the cat blurred up and down?",
        {
            "No: all get the same weights, or nearly": "Blur does not change the mean brightness, and that mean is all it gets.",
        },
        {
            "Yes, they look different": "To you. The squeeze keeps one number a channel: the mean brightness.",
            "Yes, if T is low enough": "A low T sharpens a difference in the logits. Here there is none to sharpen.",
        },
    ),
    "05.why-hot": Question(
        "The paper starts at T = 30 and cools to 1. Why not start at 1?",
        {
            "Even weights let every kernel learn before any wins": "That is the idea: a kernel's gradient is multiplied by its weight.",
        },
        {
            "High T makes the loss smoother near the end": "It is about the beginning: think of who gets a gradient.",
            "At T = 1 the softmax would overflow": "It holds far below that. It is about the beginning: think of who gets a gradient.",
        },
    ),
    "05.which-T": Question(
        "Three networks, the same start, 15 epochs: T = 30 throughout, T = 1 throughout, 30 → 1. What will "
        "you see, whatever the seed?",
        {
            "All three beat every single filter; who leads depends on the seed": "Do not trust one seed, and do not expect a paper's setting to hold everywhere.",
        },
        {
            "30 → 1 leads, as in the paper": "With some seeds it does. Five seeds with a stronger optimiser say otherwise; see below.",
            "T = 30 stays at the best single filter: its weights are even": "They start even. Training makes the logits so large that z / 30 tells images apart.",
        },
    ),
}

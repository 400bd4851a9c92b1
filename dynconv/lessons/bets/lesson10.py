"""The bets of lesson 10."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "10.fewest": Question(
        "Which method does the fewest multiply-adds? Torch will count while it runs.",
        {
            "Mixing first: one convolution an image, whatever K is": "What mixing adds is little. How little depends on one thing only; see below.",
        },
        {
            "K convolutions: no kernels have to be mixed": "They save the mixing and pay with K convolutions.",
            "All the same: they compute the same": "(a + b) · c is a · c + b · c, with one multiplication less.",
        },
    ),
    "10.clock": Question(
        "An early layer, 64 channels at 28 × 28, and a late one, 256 at 7 × 7. The count says × 1.01 and × "
        "1.08 for mixing first. The clock?",
        {
            "The late layer is much further from its static twin than the early one": "Think of the lowest bar of the instrument: kernels have to be written and read.",
        },
        {
            "As the count says: arithmetic is what takes time": "Look at the late layer.",
            "Both about K times as long": "That holds for one of the methods, in both.",
        },
    ),
    "10.free": Question(
        "After training, which of these can run at the price of *one* static convolution, with the same outputs?",
        {
            "The softmax mix of lesson 02": "What is the same for every image folds, to rounding.",
        },
        {
            "A dynamic layer, once its attention is frozen": "At that price, yes. But frozen it is another function: see by how much.",
            "Any dynamic layer": "Its kernel is another for each image; there is no one kernel to fold to.",
        },
    ),
}

"""The bets of lesson 03."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "03.in-use": Question(
        "At T = 1 the weights are 0.64, 0.24, 0.09, 0.03. If you had to say: how many kernels are in use?",
        {
            "Between two and three": "2.58, if we count as below.",
        },
        {
            "Four, none is zero": "Formally. But the fourth hardly counts.",
            "One, the largest": "A third of the mix comes from the others.",
        },
    ),
    "03.absorb": Question(
        "Such a layer was trained at T = 30. You set T to 1 and want exactly the same weights for every "
        "input. Possible?",
        {
            "Yes: divide what makes the logits by 30": "The last layer's weights and biases: only the quotient z / T reaches the softmax.",
        },
        {
            "No, T is part of what it learned": "Only the quotient z / T reaches the softmax.",
            "Yes, but it has to be trained again": "Nothing has to be learned: only the quotient z / T reaches the softmax.",
        },
    ),
    "03.overflow": Question(
        "T = 0.001. Our first cell computed exp(z / T) and divided by the sum. What does it give now?",
        {
            "Not a number": "exp(2000) is far beyond the largest float.",
        },
        {
            "1, 0, 0, 0": "That is what it should give.",
            "An error message": "Worse: no message at all.",
        },
    ),
    "03.gradient": Question(
        "Logits 2, 1, 0, −1 and T = 1: kernel 4 has 3 % of the mix, kernel 1 has 64 %. Before the first step,"
        " how large is the gradient of kernel 4, compared with kernel 1's?",
        {
            "A twentieth": "3 % to 64 %: the gradient is multiplied by the weight.",
        },
        {
            "The same: all see the same images": "All see the same error, but through their weights.",
            "Larger: it has more to learn": "It sees the same error as all others, but through its weight, and that is small.",
        },
    ),
    "03.checkpoint": Question(
        "You stop in the middle, at T = 15.5, and save the model's `state_dict`. Later you build the layer "
        "anew (its T is 30) and load it. At which T does it go on?",
        {
            "15.5": "T is a *buffer* here, saved with the weights.",
        },
        {
            "30, what the constructor says": "So it is where T is a plain Python attribute: the reloaded model silently computes something else.",
            "1, where annealing ends": "Nothing in the layer knows where its annealing would have ended.",
        },
    ),
}

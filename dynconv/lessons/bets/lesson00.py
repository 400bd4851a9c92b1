"""The bets of lesson 00."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "00.first-guess": Question(
        "What is this layer? Your first guess; lesson 11 comes back to it.",
        {},
        {
            "A dynamic convolution: the weights are learned, and softmax is what attention uses": "Hold on to this. Lesson 02 has a proof about it, and lesson 06 a measurement.",
            "Attention over feature maps, as in Squeeze-and-Excitation": "Lesson 04 builds that. Look then at where *its* weights come from.",
            "Neither: one ordinary convolution in disguise": "Then you should be able to write that one convolution down. Lesson 02 tries.",
        },
    ),
}

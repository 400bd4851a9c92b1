"""The bets of lesson 11."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "11.table": Question(
        "The weights of how many of these ten depend on the image? And how many systems fold into one plain "
        "convolution?",
        {
            "Five depend on the image, three fold": "Which ones? Say it aloud, then run.",
        },
        {
            "Six depend on the image, U-GAT-IT's attention among them; three fold": "Lesson 08 put that one to the test.",
            "Five depend on the image; the other five fold": (
                "Not every static system is a convolution: a classifier ends in a mean, an attention may end in a ReLU."
            ),
        },
    ),
    "11.first-guess": Question(
        "What is the layer of the question?",
        {
            "Neither: one ordinary convolution in disguise": (
                "Its weights are K parameters, and the weighted sum of K outputs is one convolution with the "
                "weighted sum of the kernels: lesson 02."
            ),
        },
        {
            "A dynamic convolution: the weights are learned, and softmax is what attention uses": "Learned is not computed from the image: it has the same weights for every one (lessons 02 and 06).",
            "Attention over feature maps, as in Squeeze-and-Excitation": (
                "Attention means weights computed from the input. Lesson 04's come from the image, these from "
                "parameters."
            ),
        },
        earlier="00.first-guess",
    ),
    "11.suspect-a": Question(
        "What is A?",
        {
            "Its weights vary with the image, and it folds all the same": "Four *equal* kernels behind a real attention: lesson 06's twin. Shuffling changes nothing but rounding.",
        },
        {
            "Dynamic: what it does depends on the image": "Its weights do. But read what changes when they are shuffled, and whether it folds.",
            "Static weights, and it does not fold": "Read both lines again: the weights vary, and one convolution explains all.",
        },
    ),
    "11.suspect-b": Question(
        "What is B?",
        {
            "Static weights, and it does not fold": "DARTS: a softmax over parameters, and a ReLU in each branch.",
        },
        {
            "Dynamic: what it does depends on the image": "Shuffled, nothing changes: every image has the same weights.",
            "Its weights vary with the image, and it folds all the same": "They vary by 0, and the best convolution is far off.",
        },
    ),
    "11.suspect-c": Question(
        "And C?",
        {
            "Dynamic: what it does depends on the image": "One kernel, times the image's own strength: no softmax, no attention layer, and yet weights from the image.",
        },
        {
            "Static weights, and it does not fold": "It does not fold. But another image's factor changes the output.",
            "Its weights vary with the image, and it folds all the same": "One convolution fits *each* image, none fits all.",
        },
    ),
}

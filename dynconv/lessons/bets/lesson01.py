"""The bets of lesson 01."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "01.parameters": Question(
        "A colour photo has 3 channels. A layer turns it into 5 channels with 3 × 3 kernels and a bias. How "
        "many learned numbers has it?",
        {
            "5 · 3 · 9 + 5 = 140": "Each output channel has a kernel for every input channel, and one bias.",
        },
        {
            "5 · 9 + 5 = 50": "That would be one kernel for each output channel. But there are three input channels to look at.",
            "It depends on the photo's size": "The same kernels are used at every position, so size plays no part.",
        },
    ),
    "01.padding": Question(
        "With `padding=2` two rows and columns of zeros surround the photo, so that the map is as large as "
        "the photo. The kernel is at the very corner, row 0 and column 0. How many of its 25 elements (in one "
        "channel) lie on the photo?",
        {
            "9": "3 × 3 are on the photo, 16 on zeros.",
        },
        {
            "All 25": "The kernel's *middle* is on the corner pixel; the rest hangs over.",
            "4": "Count again: the corner pixel and two to the right, in three rows.",
        },
    ),
    "01.stride": Question(
        "96 pixels, a kernel of 7, padding 3, stride 2. How many pixels has the map?",
        {
            "48": (
                "The padding makes up for the kernel, and every other position is skipped; the formula is the next "
                "exercise."
            ),
        },
        {
            "96": "With stride 1 it would. Stride 2 skips every other position.",
            "45": "That is without padding.",
        },
    ),
    "01.linear": Question(
        "For which of these does conv(a + b) = conv(a) + conv(b) hold: no bias, a bias, a ReLU after it?",
        {
            "Only without bias and ReLU": (
                "A bias is added once on the left and twice on the right; a ReLU cuts off other pixels on each side."
            ),
        },
        {
            "All three": "The bias would be added once on the left and twice on the right.",
            "All but the ReLU": "Write it out with a bias: on the right it stands twice.",
        },
    ),
}

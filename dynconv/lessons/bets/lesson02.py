"""The bets of lesson 02."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "02.how-many": Question(
        "You have trained this layer and want to run it a million times. With K = 4 kernels of 7 × 7, how "
        "many convolutions must you compute for `mixed`?",
        {
            "One": "The weights can go into the kernel: the next cell shows it.",
        },
        {
            "Four, one for each kernel": "That is how we wrote it, but not what it *must* cost.",
            "It depends on the image": "Nothing in `pi` looks at the image.",
        },
    ),
    "02.parameters": Question(
        "For 16 → 32 channels, 3 × 3, K = 4: how many parameters does the folded layer have, compared with the mix?",
        {
            "About a quarter, for exactly the same function": "One kernel and one bias remain of four; the four logits go, too.",
        },
        {
            "As many": "The mix keeps four kernels, the fold only one.",
            "About a quarter, for roughly the same function": "A quarter, yes; but the function is the same, up to rounding.",
        },
    ),
    "02.max": Question(
        "T → 0 keeps only the winner. Is that the same as taking, at every pixel, the largest of the K outputs?",
        {
            "No, and the largest at every pixel is no convolution at all": "The cells show both pictures, and measure how far from a convolution the second is.",
        },
        {
            "Yes, softmax at T → 0 is max": "It is the *argmax of the logits*: one kernel for the whole image.",
            "No, but both are a convolution": "At every pixel another kernel may win. Which single kernel would do that?",
        },
    ),
    "02.lower-loss": Question(
        "But four kernels train instead of one. Does the mix reach a lower loss?",
        {
            "No, the best it can do is the best single kernel": "And that one can be computed exactly, by least squares.",
        },
        {
            "Yes, more parameters fit better": "More parameters, but the same set of functions.",
            "Yes, if T is low enough": "T → 0 leaves one of the four kernels: that is a single kernel, too.",
        },
    ),
    "02.darts": Question(
        "With a ReLU in each branch: still static? Does it still fold?",
        {
            "Static, and does not fold": "*Static* speaks of the weights, *folds* of the whole.",
        },
        {
            "Static, and folds": "The weights are as constant as before. But is a ReLU linear?",
            "Dynamic: a ReLU looks at the image": "It does, but no weight depends on what it sees.",
        },
    ),
}

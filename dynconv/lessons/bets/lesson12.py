"""The bets of lesson 12."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "12.darts": Question(
        "With convolutions for operations this *is* the question's layer. Real DARTS puts a ReLU before each "
        "convolution. What does that change?",
        {
            "It stays static, but no longer folds": "One property is about the weights, the other about all that happens.",
        },
        {
            "The weights become dynamic": "They are parameters still: no image has a part in them.",
            "Nothing: static, and it folds": "Static, yes. But is a ReLU linear?",
        },
    ),
    "12.branches": Question(
        "Does it fold while it trains?",
        {
            "No: in training the scale depends on the other images": "A batch norm in training divides by the spread of the whole batch.",
        },
        {
            "Yes: a batch norm only scales and shifts": "By which numbers, in training?",
            "Only with one branch": "How many there are is no matter: sums of convolutions are convolutions.",
        },
    ),
    "12.selective": Question(
        "The verdict on it?",
        {
            "Dynamic and convex; does not fold": "A softmax over the branches is convex; seven photos have seven sets of weights.",
        },
        {
            "Dynamic, not convex": "A softmax over the branches: positive, and the sum is 1.",
            "Convex, so it folds": "Which single kernel would serve seven photos with seven sets of weights?",
        },
    ),
    "12.importance": Question(
        "By chance the largest weight would hit the most important map in 5 of 20 layers. How often does it?",
        {
            "More often than by chance, but by far not always": "A weight is a hint: what counts is weight *times* map.",
        },
        {
            "20 of 20: that is what a weight is": "A map is weight *times* kernel. How large is the kernel?",
            "About 5: it says nothing at all": "A kernel with more weight also learns faster: something remains.",
        },
    ),
}

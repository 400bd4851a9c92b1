"""The bets of lesson 04."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "04.sum": Question(
        "A *sigmoid* turns each score into a gate between 0 and 1. Do the four gates of an image sum to one, "
        "like the softmax weights of lesson 02?",
        {
            "No: each channel is judged by itself": "All four may be open, or all closed.",
        },
        {
            "Yes: they share out one whole": "That is what softmax does: its weights compete.",
            "Yes, once they are trained": "Nothing in a sigmoid knows of the other channels, trained or not.",
        },
    ),
    "04.kernel": Question(
        "The gates multiply the *output* of convolution and ReLU. For one image: can they move into the "
        "convolution's kernel and bias?",
        {
            "Yes: kernel c and bias c are scaled by gate c": "A gate is positive, so it may even pass through the ReLU: relu(g · a) = g · relu(a).",
        },
        {
            "Only without the ReLU between them": "relu(g · a) = g · relu(a) as long as g is positive. A sigmoid always is.",
            "No, the gates are known only afterwards": "To *find* them you need the maps. But once they are known, nothing is in the way.",
        },
    ),
    "04.shape": Question(
        "Photos are damaged in four ways; the best single 9 × 9 kernel has to restore them all. Add the best "
        "gate for each kind. How close does that come to a kernel *of its own* for each?",
        {
            "Hardly closer than no gate": "A gate changes how strong this kernel is, never its shape.",
        },
        {
            "All the way": "A gate is one number: it cannot turn a sideways sharpener into an upright one.",
            "About half": "Much less: a gate is one number, and cannot turn a sideways sharpener into an upright one.",
        },
    ),
    "04.digits": Question(
        "A small network for handwritten digits, with the gate and without. What does the gate add?",
        {
            "Nothing that one could tell from the seeds' scatter": "Look at the numbers; then ask the network what its gates do.",
        },
        {
            "Several percent, as gates see the whole image": "Look at the numbers, and at the gates.",
            "It takes away several percent, as channels are thrown away": "Look at the numbers, and at the gates: hardly any is closed.",
        },
    ),
    "04.mark": Question(
        "The paper squeezes with the *mean*. Here a mark covers 4 of 576 pixels. Three networks: no gate, a "
        "gate from the mean, a gate from half mean, half *maximum*. Which of them solve it?",
        {
            "Only the one that sees the maximum": "A mark hardly moves a mean.",
        },
        {
            "Both with gates": "What the squeeze does not see, the gate cannot use.",
            "All three": "Without a gate a place knows what is within 5 × 5 pixels of it; the mark may be far away.",
        },
    ),
}

"""The bets of lesson 08."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "08.weights": Question(
        "The four images have different heat maps. How different are the weights that made them?",
        {
            "Not at all": "And it can be proved.",
        },
        {
            "Very: attention means that each image is weighed in its own way": "That is what one expects of the word. Run the next cells.",
            "A little, through the maximum": "The maximum goes into the logit. It does not come back to multiply anything.",
        },
    ),
    "08.norm": Question(
        "Make channel 0 ten times as strong. After which norm can you still tell?",
        {
            "After layer norm": "All channels are divided by one number, so the strong one stays the strong one.",
        },
        {
            "After instance norm": "It divides each channel by that channel's own spread.",
            "After neither: that is what norms are for": "True for one of them.",
        },
    ),
    "08.losses": Question(
        "The two weight vectors are the classifier's. Which of the four losses moves them?",
        {
            "All four": "But only one of them tells source from target.",
        },
        {
            "The attention loss only": "They also multiply the features, on the way to the image.",
            "The attention loss and the adversarial one": (
                "Every loss that sees a translated image reaches back through the attention: cycle and identity "
                "do, too."
            ),
        },
    ),
    "08.bright": Question(
        "Nobody marks the disc. Where will the heat map be bright after training?",
        {
            "In the disc": "There the two kinds differ. Compare with the control after it.",
        },
        {
            "Everywhere: the generator needs the whole image": "What multiplies the features is to tell source from target; most of the image tells nothing.",
            "At the photo's strongest edges": "Edges of the photo are in both kinds: no help to the classifier.",
        },
    ),
}

"""The bets of lesson 07."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "07.mean": Question(
        "What is the mean of this map, plus the bias of class 0?",
        {
            "Exactly the logit of class 0": "A mean of sums is a sum of means.",
        },
        {
            "Roughly the logit of class 0": "It is no approximation.",
            "Nothing in particular": "Compare it with the logit above.",
        },
    ),
    "07.absent": Question(
        "What does the map of *espresso* look like on the cat?",
        {
            "Weak, some places for, some against, and a mean near 0": "But it depends on how you draw it.",
        },
        {
            "0 everywhere: there is no espresso": "The sum of 1280 channels is hardly ever just 0.",
            "There is no such map": "Every class has a map on every photo.",
        },
    ),
    "07.weights": Question(
        "Three photos, three different maps. How do the *weights* of “espresso” differ between the photos?",
        {
            "They do not differ": "They are parameters of the classifier.",
        },
        {
            "Each photo gets its own: the map follows the photo": "The map does. Ask the layer about its weights.",
            "They grow with the logit": "The logit grows with the features. Ask the layer about its weights.",
        },
    ),
    "07.covered": Question(
        "We cover a 96 × 96 square with grey: once at the map's brightest place, once at its darkest. What "
        "happens to the logit?",
        {
            "The brightest place costs more": "By how much depends on the photo: look at each.",
        },
        {
            "Both cost about the same": "Both hide the same share of the photo, 18 %. But only one of them holds the evidence.",
            "The darkest place costs more": "There the map speaks against the class: to cover it can only help.",
        },
    ),
    "07.rivals": Question(
        "A number needs rivals: a random place, always the centre, the brightest spot of the image. Which "
        "comes closest to the trained net's CAM?",
        {
            "Simply the brightest spot of the image": "A whole digit has more ink than a scrap.",
        },
        {
            "A random place": "The box covers 16 % of the image, and so often it is hit.",
            "Always the centre": (
                "Better than random: a digit of 16 pixels at any place in 40 often covers the middle. But ink "
                "says more."
            ),
        },
    ),
    "07.company": Question(
        "Where will this digit's map be brightest on marked images?",
        {
            "On the mark, mostly": "And the map is right: the mark is evidence now.",
        },
        {
            "Still on the digit: that is what its name means": "The net was never told what the name *means*.",
            "On both alike": "Which of the two is in every such image, at the same place, and easier to find?",
        },
    ),
}

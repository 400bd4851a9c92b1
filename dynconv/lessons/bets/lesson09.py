"""The bets of lesson 09."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "09.gradient": Question(
        "Multiply something by `mask` and call `backward()`. What gradient do the gate's kernels `v` get?",
        {
            "None": "A step is flat, and a comparison is where autograd's path ends.",
        },
        {
            "A small one": "Move z a little: the mask stays the same nearly everywhere.",
            "That of the scores, where the gate is open": "That is what one would like. But a comparison is where autograd's path ends.",
        },
    ),
    "09.opens": Question(
        "A score of 1, T = 1, and 100,000 draws. How often does the gate open?",
        {
            "In 73 % of the draws": "That is sigmoid(1). The noise turns a score into a probability.",
        },
        {
            "Always: 1 is above the threshold": "Without noise, yes. The noise may pull it below.",
            "It depends on T": "Dividing by T does not change on which side of 0 the sum lies.",
        },
    ),
    "09.needed": Question(
        "One position is open. At how many positions must the *first* convolution be computed?",
        {
            "9": "The 3 × 3 that the second convolution looks at.",
        },
        {
            "1": "The second convolution looks at more than one position of the first one's result.",
            "25": "So many positions of x are read. But the first convolution is computed at fewer.",
        },
    ),
    "09.price": Question(
        "Two equal blocks, t = 25 %. The first uses 50 %, the second nothing. What does that cost, at the "
        "start and at the end?",
        {
            "Something at the start, nothing at the end": "At first each has to keep to the target, later only both together.",
        },
        {
            "The same: they use too much and too little": "Together they use exactly a quarter.",
            "Nothing at the start, something at the end": "It is the other way round: the bounds begin tight.",
        },
    ),
    "09.where": Question(
        "One net may use all multiply-adds, the other a quarter. Nobody says where the digit is. Where will "
        "the second net's gates be open?",
        {
            "One block on everything bright, the other mainly on the digit": "The first has to look before anything can be told apart.",
        },
        {
            "On a quarter of the positions, evenly spread": "Then it would miss most of the digit.",
            "Both blocks on the digit alone": "Before a piece can be told from a digit somebody has to look at it.",
        },
    ),
    "09.faster": Question(
        "Our gated net does about a fifth of the multiply-adds in its blocks. On this machine, one thread, "
        "one picture: is it faster?",
        {
            "A little, if at all": "The gates and the gathering cost, too. Look for the size where it pays.",
        },
        {
            "Nearly five times": "That counts multiplications only. Gathering costs, too.",
            "About twice": "That allows for gathering. With 16 channels the gate and the bookkeeping cost about as much as the branch does.",
        },
    ),
}

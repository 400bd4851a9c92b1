"""The bets of lesson 06."""

from __future__ import annotations

from .asking import Question

__all__ = ["QUESTIONS"]

QUESTIONS = {
    "06.what-it-does": Question(
        "What does the attention do?",
        {
            "It looks at the mark and picks a kernel": "Each kind of mark gets a kernel of its own.",
        },
        {
            "It is half and half, with small differences": "Then both kinds would get nearly the same kernel. Could the error be this low?",
            "It gives one kernel to all images": "Then half of the images would get edges along the wrong axis. Could the error be this low?",
        },
    ),
    "06.twin": Question(
        "Copy the layer and set both of its kernels to their mean. The attention is untouched. How much does "
        "its attention vary between images now, and how much does it matter?",
        {
            "Varies as before, does not matter at all": "Any convex mix of equal kernels is that kernel.",
        },
        {
            "Varies as before, matters as before": "Attention chooses between kernels. What is there to choose?",
            "Varies less, matters less": "What computes the attention is untouched: it sees the same images, and says the same.",
        },
    ),
    "06.hurts": Question(
        "Which hurts most?",
        {
            "shuffled: half of the images get the other kind's kernel": "A wrong answer is worse than a blurred one.",
        },
        {
            "uniform: nothing is left": "It blurs the answer. Something else gives *wrong* answers.",
            "argmax: the fine mix is lost": "Is there a fine mix here? The weights are nearly 0 and 1.",
        },
    ),
    "06.twin-verdict": Question(
        "The same verdict on the twin of section 2, whose kernels are equal. What changes?",
        {
            "“folds into one plain conv?” becomes yes, and no intervention changes anything": "With equal kernels it does not matter what weighs them.",
        },
        {
            "“the same for every image?” becomes yes": "Its attention is untouched, and still depends on the image.",
            "Nothing: its attention is the same": "The verdict asks the output, too: there, one convolution explains everything.",
        },
    ),
    "06.which-fold": Question(
        "All of the course so far, a line each: plain convolution, softmax mix, the same at T = 30, Squeeze-"
        "and-Excitation, dynamic convolution, its twin. Which fold?",
        {
            "All but Squeeze-and-Excitation and the dynamic layer": "What is the same for every image, and equal kernels.",
        },
        {
            "The plain convolution only": "Lesson 02 folded another one by hand.",
            "All without a temperature": "Lesson 03: at inference T is a scale of the logits.",
        },
    ),
}

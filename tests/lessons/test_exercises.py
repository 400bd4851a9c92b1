"""Every solution passes, every known wrong answer is told its own mistake."""

import re

import pytest

from dynconv.lessons.exercises import EXERCISES, check


@pytest.mark.parametrize("name", EXERCISES)
def test_solution_passes_and_mistakes_are_recognised(name):
    exercise = EXERCISES[name]
    assert exercise.check(exercise.solution).passed
    assert len(exercise.mistakes) >= 4
    assert len({m.says for m in exercise.mistakes.values()}) == len(exercise.mistakes)
    for label, mistake in exercise.mistakes.items():
        result = exercise.check(mistake.answer)
        assert not result.passed, label
        assert result.message == mistake.says, label
        assert re.match(r"Case \d: .*(should|raises)", result.difference), label  # expected and got, beside the message
        assert result.difference in repr(result)


@pytest.mark.parametrize("name", EXERCISES)
def test_anything_else_is_answered_kindly(name):
    assert check(name, lambda *a: None).message.startswith("Not solved yet")
    assert "it raises ZeroDivisionError" in check(name, lambda *a: 1 / 0).message
    assert "should" in check(name, lambda *a: "text").message


def test_shape_and_first_difference_are_reported():
    solution = EXERCISES["05.attention"].solution
    assert "the shape should be (3, 3) but is (3, 2)" in check("05.attention", lambda *a: solution(*a)[:, :2]).message

    def off_by_one_place(*arguments):
        pi = solution(*arguments).clone()
        pi[1, 2] += 1
        return pi

    assert "element [1, 2] should be" in check("05.attention", off_by_one_place).message


def test_numbers_are_shown_in_the_digits_that_differ():
    slightly_off = check("08.adalin", lambda *a: EXERCISES["08.adalin"].solution(*a) * 1.0002)
    should, but = re.search(r"should be (\S+) but is (\S+)\.$", slightly_off.message).groups()
    assert should != but
    assert "should be 12960 but is 12961" in check("10.macs", lambda *a: EXERCISES["10.macs"].solution(*a) + 1).message


def test_of_an_error_the_first_line_is_shown():
    message = check("11.deviation", lambda function, x: function(0)).message  # torch lists signatures, a line each
    assert message.startswith("Case 1: it raises TypeError: conv2d()")
    assert "\n" not in message


def test_unknown_exercise_and_no_function():
    with pytest.raises(ValueError, match=r"no exercise '02.unfold'; there are: 00.softmax, 01.convolve"):
        check("02.unfold", abs)
    with pytest.raises(TypeError, match="pass the function itself"):
        check("02.fold", 3)

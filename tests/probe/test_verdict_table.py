"""The verdict on modules and functions whose answers theory gives: never a wrong yes or no, and hardly an open one."""

import pytest

from dynconv.probe import verdict
from tests.probe.verdict_zoo import ZOO, build

LETTER = {True: "y", False: "n", None: "o"}
OPEN = {  # question by question, what stays open although theory knows: and why
    "locally connected and ReLU": (
        1,
        "not linear, and no weights are to be seen: what is not the same where is hidden",
    ),
    "Squeeze-and-Excitation, bfloat16": (2, "gates about 1/2 bend it by less than this format rounds"),
}


@pytest.mark.parametrize("name", ZOO)
def test_never_a_wrong_yes_or_no(name):
    function, batch = build(name)
    v = verdict(function, batch)
    print(v)
    got = "".join(LETTER[a] for a in (v.same_for_every_image, v.same_at_every_position, v.folds))
    expected = ZOO[name][1]
    if name in OPEN:
        question = OPEN[name][0]
        assert got[question] == "o"
        expected = expected[:question] + "o" + expected[question + 1 :]
    assert got == expected
    assert all(a.reason for a in (v.image, v.position, v.fold))


def test_there_are_enough_of_them():
    assert len(ZOO) >= 60
    assert set(OPEN) <= set(ZOO)

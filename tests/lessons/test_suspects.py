"""Three modules to judge blind: the bets' answers are what the verdict measures."""

import torch

from dynconv.lessons.suspects import suspects
from dynconv.probe import verdict


def test_each_is_what_its_bet_says():
    x = (
        torch.randn(6, 4, 12, 12, generator=torch.Generator().manual_seed(1))
        + torch.arange(6.0)[:, None, None, None] / 4
    )
    found = {name: verdict(module, x) for name, module in suspects().items()}
    assert [v.folds for v in found.values()] == [True, False, False]
    assert [v.same_for_every_image for v in found.values()] == [False, True, False]
    assert found["A"].image_variation > 0.001
    assert found["A"].interventions["shuffled"] < 1e-5 < 0.1 < found["C"].interventions["shuffled"]
    assert "Dynamic" not in repr(found["A"])
    assert "Mixed" not in repr(found["B"])


def test_the_seed_decides_and_nobody_elses_numbers_change():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one, again, other = (suspects(seed=seed)["A"].inside.weight for seed in (0, 0, 1))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)

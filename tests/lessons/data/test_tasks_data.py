"""Cue, clutter, downloads and folders: what they promise, and what they say when something is wrong."""

import gzip
import hashlib
import http.server
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.datasets import ImageFolder

from dynconv.lessons.data import (
    best_filter,
    cue,
    digits_in_clutter,
    digits_split,
    edge_filters,
    fashion_mnist,
    image_folder,
    uploaded_image,
)
from dynconv.lessons.data.folder import MOST_PIXELS, open_image


def test_one_filter_for_each_cue_is_exact_and_one_for_all_is_not():
    train, test = cue("train", per_photo=20), cue("test", per_photo=10)
    for kind in (0, 1):
        mine = test.kind == kind
        torch.testing.assert_close(3 * F.conv2d(test.images[mine], edge_filters()[kind][None]), test.edges[mine])
    both = best_filter(train.images, F.pad(train.edges, (2, 2, 2, 2)), 5)
    error = F.mse_loss(F.conv2d(test.images, both), test.edges) / test.edges.var()
    assert 0.4 < error < 0.6


def test_the_cue_is_all_that_tells_the_kinds_apart():
    data = cue("train", per_photo=4)
    marks = data.images.flatten(1)
    assert torch.equal((marks == 5).sum(1) == 4, data.kind == 0)
    assert torch.equal((marks == -5).sum(1) == 4, data.kind == 1)


def test_clutter_holds_the_digit_where_it_says():
    data = digits_in_clutter("test", count=20, seed=1)
    again = digits_in_clutter("test", count=20, seed=1)
    assert torch.equal(data.images, again.images)
    assert not torch.equal(data.images, digits_in_clutter("test", count=20, seed=2).images)
    large = F.interpolate(digits_split("test")[0], scale_factor=2, mode="bilinear")
    labels = digits_split("test")[1]
    for image, label, (top, left, bottom, right) in zip(data.images, data.labels, data.boxes.tolist(), strict=True):
        digit = image[:, top:bottom, left:right]
        assert (large[labels == label] == digit).flatten(1).all(1).any()
    outside = data.images.clone()
    for image, (top, left, bottom, right) in zip(outside, data.boxes.tolist(), strict=True):
        image[:, top:bottom, left:right] = 0
    assert (outside.flatten(1) > 0).any(1).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cue("valid"), "split must be 'train' or 'test', got 'valid'"),
        (lambda: cue(size=4), "size must be at least 5 and per_photo at least 1, got 4 and 40"),
        (lambda: digits_in_clutter(size=15), "size must be at least 16, got 15"),
        (lambda: digits_in_clutter(count=0), "count must be at least 1, got 0"),
        (lambda: digits_split("all"), "got 'all'"),
        (lambda: fashion_mnist("valid"), "split must be 'train' or 'test', got 'valid'"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def idx(array):
    return gzip.compress(
        struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


@pytest.fixture
def publisher(tmp_path, monkeypatch):
    """FashionMNIST's files in small, served on loopback in the place of its mirrors."""
    from torchvision.datasets import FashionMNIST

    folder = tmp_path / "served"
    folder.mkdir()
    rng, names = np.random.default_rng(0), [name for name, _ in FashionMNIST.resources]
    resources = []
    for name in names:
        shape = (6, 28, 28) if "images" in name else (6,)
        content = idx(rng.integers(0, 10, shape, dtype=np.uint8))
        (folder / name).write_bytes(content)
        resources.append((name, hashlib.md5(content).hexdigest()))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    yield folder
    server.shutdown()
    server.server_close()


def test_a_download_and_its_copy(publisher, tmp_path, monkeypatch):
    from torchvision.datasets import FashionMNIST

    images, labels = fashion_mnist("test", tmp_path / "kept")
    assert images.shape == (6, 1, 28, 28)
    assert images.dtype == torch.uint8
    assert labels.shape == (6,)
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    assert torch.equal(fashion_mnist("test", tmp_path / "kept")[0], images)  # no network is needed any more


def test_offline_it_says_so(tmp_path, monkeypatch):
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(
        OSError, match=r"FashionMNIST is not in .* and cannot be downloaded \(.*Connect to the network once"
    ):
        fashion_mnist("train", tmp_path)


def test_a_wrong_checksum_is_named(publisher, tmp_path):
    for file in publisher.iterdir():
        file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(
        OSError, match=r"a file of FashionMNIST in .* is not what its checksum says .* Delete .* and try again"
    ):
        fashion_mnist("train", tmp_path / "kept")


@pytest.fixture
def photos(tmp_path):
    for name, colour in (("cats/a.png", "red"), ("cats/deep/b.jpg", "blue"), ("dogs/c.gif", "green")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), colour).save(path)
    (tmp_path / "cats" / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_of_images(photos):
    found = image_folder(photos, size=8)
    assert found.images.shape == (3, 3, 8, 8)
    assert found.images.dtype == torch.uint8
    assert found.labels.tolist() == [0, 0, 1]
    assert found.classes == ["cats", "dogs"]
    assert found.images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert image_folder(photos / "dogs", size=8, grey=True).images.shape == (1, 1, 8, 8)


def a_picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


@pytest.fixture
def links(tmp_path):
    try:
        (tmp_path / "link").symlink_to(tmp_path)
    except OSError:
        pytest.skip("this system makes no links")
    (tmp_path / "link").unlink()


def test_links_are_followed_as_torchvision_does(photos, tmp_path_factory, links):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    a_picture(elsewhere / "birds" / "d.png")
    a_picture(elsewhere / "e.png")
    (photos / "birds").symlink_to(elsewhere / "birds")  # a class
    (photos / "dogs" / "more").symlink_to(elsewhere / "birds")  # a folder in one
    (photos / "dogs" / "e.png").symlink_to(elsewhere / "e.png")  # an image
    found, theirs = image_folder(photos, size=8), ImageFolder(photos)
    assert found.classes == theirs.classes == ["birds", "cats", "dogs"]
    ours = zip(map(str, found.files), found.labels.tolist(), strict=True)
    assert [one for one in ours if not one[0].endswith(".gif")] == sorted(theirs.samples)  # it knows no GIF
    assert found.skipped == []


def test_what_is_hidden_is_no_class_and_no_image(photos):
    expected = image_folder(photos, size=8).files
    hidden = [a_picture(photos / name) for name in (".ipynb_checkpoints/1.png", ".x.png", "cats/.thumbs/2.png")]
    hidden.append(photos / "cats" / "._a.png")  # of another system: no image at all
    hidden[-1].write_bytes(b"\0\5\26\7")
    found = image_folder(photos, size=8)
    assert found.files == expected
    assert found.classes == ["cats", "dogs"]
    assert found.skipped == sorted([hidden[0].parent, hidden[1], hidden[2].parent, hidden[3]])
    inside = photos / ".data"
    a_picture(inside / "fish" / "a.png")
    assert image_folder(inside, size=8).classes == ["fish"]  # the folder itself may be hidden


def test_links_to_nowhere_and_in_circles_are_said(photos, links):
    (photos / "cats" / "lost.png").symlink_to("nowhere.png")
    (photos / "cats" / "up").symlink_to(photos)
    (photos / "dogs" / "me").symlink_to("me")
    (photos / "fish").symlink_to("nowhere")
    (photos / "cats" / "round").symlink_to(photos / "dogs")  # through each other: dogs are cats too, and there it ends
    (photos / "dogs" / "round").symlink_to(photos / "cats")
    with pytest.warns(UserWarning, match=r"lead nowhere or in a circle, or hold no image: .*lost.png.* and \d+ more$"):
        found = image_folder(photos, size=8)
    skipped = {path.relative_to(photos).as_posix() for path in found.skipped}
    assert {"cats/lost.png", "cats/up", "dogs/me", "fish", "cats/round/round", "dogs/round/round"} <= skipped
    assert found.classes == ["cats", "dogs"]
    assert len(found.files) == 2 * 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_class_without_images_and_what_is_no_file_are_said(photos):
    (photos / "fish").mkdir()
    (photos / "fish" / "one.heic").write_bytes(b"of a kind that is not known")
    os.mkfifo(photos / "cats" / "pipe.png")  # to open it would wait for ever
    with pytest.warns(UserWarning, match=r"or hold no image: .*pipe.png, .*fish$"):
        found = image_folder(photos, size=8)
    assert found.classes == ["cats", "dogs"]
    assert [path.name for path in found.skipped] == ["pipe.png", "fish"]


def test_what_cannot_be_opened_is_named(photos, monkeypatch):
    def no_permission(folder):
        if Path(folder).name == "dogs":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    listed = os.listdir
    monkeypatch.setattr(os, "listdir", no_permission)  # whoever runs the tests may be allowed everything
    with pytest.raises(PermissionError, match="dogs"):
        image_folder(photos)
    monkeypatch.undo()

    def closed(path, **options):
        if path.name == "a.png":
            raise PermissionError(13, "Permission denied", str(path))
        return looked(path, **options)

    looked = Path.stat
    monkeypatch.setattr(Path, "stat", closed)  # what is in a folder that may be listed and not entered
    with pytest.raises(PermissionError, match=r"a\.png"):
        image_folder(photos)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may read everything, or has no such modes")
@pytest.mark.parametrize(("name", "mode"), [("cats", 0), ("cats", 0o400), ("cats/a.png", 0)])
def test_what_may_not_be_read_is_named(photos, name, mode):
    (photos / name).chmod(mode)
    try:
        with pytest.raises(PermissionError, match="cats"):
            image_folder(photos)
    finally:
        (photos / name).chmod(0o700)


def test_folders_that_do_not_do(photos, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        image_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no images in .*empty: no file below it ends in .bmp, .gif"):
        image_folder(tmp_path / "empty")
    (tmp_path / "empty").rmdir()
    (photos / "dogs" / "d.png").write_bytes(b"<svg/>")
    with pytest.raises(
        ValueError, match=r"d.png is not an image of a known format \(BMP, GIF, JPEG, PNG, TIFF, WEBP\)"
    ):
        image_folder(photos)
    whole = (photos / "cats" / "a.png").read_bytes()
    (photos / "dogs" / "d.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"d.png is damaged"):
        image_folder(photos)
    with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
        image_folder(photos, size=0)


def test_an_image_that_would_fill_the_memory_is_refused_before_it_is_decoded(tmp_path):
    side = int(MOST_PIXELS**0.5) + 1
    path = tmp_path / "bomb.png"
    Image.new("1", (side, side)).save(path)
    assert path.stat().st_size < 1e6
    with pytest.raises(ValueError, match=r"bomb is too large: \d+ × \d+ pixels, more than 50,000,000"):
        open_image(path, "bomb")


def test_an_upload_of_both_generations(photos):
    content = (photos / "cats" / "a.png").read_bytes()
    new = uploaded_image(({"name": "a.png", "content": memoryview(content)},), size=8)
    old = uploaded_image({"a.png": {"metadata": {}, "content": content}}, size=8)
    assert torch.equal(new, old)
    assert new[:, 0, 0].tolist() == [1, 0, 0]
    assert uploaded_image({}) is None
    with pytest.raises(ValueError, match=r"b.txt is not an image"):
        uploaded_image(({"name": "b.txt", "content": b"hello"},))
    with pytest.raises(ValueError, match=r"big.png is too large: 20,000,001 bytes, more than 20,000,000"):
        uploaded_image(({"name": "big.png", "content": bytes(20_000_001)},))

"""What comes from outside, broken in every way chance finds: images, recordings and checkpoints.

Each is read, or refused by the error its docstring names; nothing else may happen, and no code in it runs. Seeded; the
counts are printed with -s. Links to a state are tried in tests/browser/test_links.py.
"""

import copy
import io
import random
import zlib

import pytest
import torch
from PIL import Image

from dynconv.data import recording, uploaded_image
from dynconv.data.recordings import check_runs
from dynconv.train.checkpoint import load_checkpoint, save_checkpoint

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MODES = ("RGB", "L", "P", "RGBA", "1")


def an_image(form, mode, size=(40, 30)):
    file = io.BytesIO()
    image = Image.effect_noise(size, 80).convert("RGB").convert(mode)
    image.convert("RGB" if form == "JPEG" and mode in ("P", "RGBA") else mode).save(file, form)
    return file.getvalue()


def broken(content: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, most of them in the header; or cut off, or lengthened, or with a part repeated."""
    content = bytearray(content)
    where = chance.randrange(len(content))
    for _ in range(chance.choice((0, 1, 3, 30))):
        content[chance.randrange(min(len(content), chance.choice((64, len(content)))))] = chance.randrange(256)
    kind = chance.randrange(5)
    if kind == 0:
        del content[where:]
    elif kind == 1:
        content[where:where] = chance.randbytes(chance.randrange(1, 50))
    elif kind == 2:
        content[where:where] = content[: chance.randrange(1, 200)]
    return bytes(content)


@pytest.mark.parametrize("form", FORMATS)
def test_broken_images(form):
    chance, said, read = random.Random(0), [], 0
    originals = [an_image(form, mode) for mode in MODES if (form, mode) != ("JPEG", "1")]
    for i in range(500):
        content = broken(originals[i % len(originals)], chance)
        try:
            image = uploaded_image(({"name": "one.bin", "content": content},), size=16)
        except ValueError as error:
            said.append(str(error))
        else:
            assert image.shape == (3, 16, 16)
            assert 0 <= image.min() <= image.max() <= 1
            read += 1
    print(f"{form}: {read} read, {len(said)} refused")
    assert all(words.startswith("one.bin is ") for words in said)
    assert min(read, len(said)) > 10


def test_an_image_that_claims_to_be_huge():
    """A PNG of 45 bytes that says 100,000 × 100,000 pixels: refused by its header, nothing is decoded."""
    content = bytearray(an_image("PNG", "L", (1, 1)))
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    with pytest.raises(ValueError, match=r"one.png is too large"):
        uploaded_image(({"name": "one.png", "content": bytes(content)},))
    with pytest.raises(ValueError, match=r"one.png is too large: 20,000,001 bytes"):
        uploaded_image(({"name": "one.png", "content": bytes(20_000_001)},))


ODD = (
    None,
    True,
    -1,
    0,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "text",
    [],
    [[]],
    [[None]],
    {},
    {"a": 1},
    2**70,
    [1, [2]],
)


def with_something_odd(value, chance):
    """The same JSON with one value, anywhere in it, replaced or left out."""
    value = copy.deepcopy(value)
    at = value
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = chance.choice(list(keys))
        below = at[key]
        if not isinstance(below, dict | list) or not below or chance.random() < 0.2:
            break
        at = below
    if chance.random() < 0.2:
        del at[key]
    else:
        at[key] = chance.choice(ODD)
    return value


def test_odd_recordings():
    kept = recording("restoration")
    small = {name: records[:2] for name, records in kept["runs"].items()}
    chance, refused = random.Random(0), 0
    for _ in range(1000):
        runs = with_something_odd(small, chance)
        try:
            check_runs(runs, kept["classes"])
        except ValueError:
            refused += 1
    print(f"recordings: {1000 - refused} taken, {refused} refused")
    assert refused > 500


def test_broken_checkpoints(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"epoch": 3, "model": {"weight": torch.rand(4, 4)}})
    original = path.read_bytes()
    chance, said, read = random.Random(0), [], 0
    for _ in range(300):
        path.write_bytes(broken(original, chance))
        try:
            load_checkpoint(path)
        except ValueError as error:
            said.append(str(error))
        else:
            read += 1
    print(f"checkpoints: {read} read, {len(said)} refused")
    assert all("last.pt" in words for words in said)
    assert len(said) > 50

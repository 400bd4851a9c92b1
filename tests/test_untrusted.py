"""What comes from outside, odd, or broken in every way chance finds: images, data files, settings and checkpoints.

Each is read, or refused by the error its docstring names; nothing else may happen, and no code in it runs. Seeded; the
counts are printed with -s. Links to a state are tried in tests/browser/test_links.py.
"""

import copy
import hashlib
import io
import random
import shutil
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dynconv.lessons.data import digits, recording, shipped, uploaded_image
from dynconv.lessons.data.recordings import check_runs
from dynconv.lessons.ready import ready
from dynconv.lessons.train.checkpoint import load_checkpoint, save_checkpoint
from dynconv.lessons.train.config import read_config

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


def saved(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


RAMP = np.linspace(0, 1, 64).repeat(64).reshape(64, 64)  # dark above, light below
GREY = Image.fromarray((255 * RAMP).round().astype(np.uint8))
LAYERS = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6  # the camera was held upright: turn it by 90 degrees


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_look_as_eight_do(form):
    expected = uploaded_image(({"name": "8", "content": saved(GREY)},), size=16)
    deep = saved(Image.fromarray((65535 * RAMP).round().astype(np.uint16)), form)
    torch.testing.assert_close(
        uploaded_image(({"name": "16", "content": deep},), size=16), expected, atol=1 / 255, rtol=0
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_photo_is_turned_as_its_camera_says(form):
    turned = uploaded_image(({"name": "a", "content": saved(GREY.convert("RGB"), form, exif=SIDEWAYS)},), size=16)
    assert turned[..., :4].mean() > 0.8  # what was below is now on the left
    assert turned[..., -4:].mean() < 0.2


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_photo_of_sixteen_bits_is_turned_too(form):
    deep = Image.fromarray((65535 * RAMP).round().astype(np.uint16))
    turned = uploaded_image(({"name": "a", "content": saved(deep, form, exif=SIDEWAYS)},), size=16)
    assert turned[..., :4].mean() > 0.8 > 0.2 > turned[..., -4:].mean()


LARGE = """
import io, sys
from PIL import Image
from dynconv.lessons.data import uploaded_image
mode, form = sys.argv[1:]
file = io.BytesIO()
Image.new(mode, (10_000, 4_900)).save(file, form, **({"compression": "tiff_deflate"} if form == "TIFF" else {}))
with open("/proc/self/clear_refs", "w") as reset:
    reset.write("5")  # the peak is counted from here
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) // 1000
start = status("VmRSS")
uploaded_image(({"name": "a", "content": file.getvalue()},), size=96)
print(len(file.getvalue()), status("VmHWM") - start)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory")
@pytest.mark.parametrize(
    ("mode", "form", "most"), [("I;16", "PNG", 300), ("I;16", "TIFF", 420), ("P", "PNG", 400), ("RGB", "PNG", 320)]
)
def test_what_a_large_picture_takes(mode, form, most):
    """49 million pixels; 8 bytes a pixel on the way would be 400 MB."""
    done = subprocess.run([sys.executable, "-c", LARGE, mode, form], capture_output=True, text=True, check=True)
    size, taken = map(int, done.stdout.split())
    print(f"{form} {mode}: {size:,} bytes, {taken} MB")
    assert taken < most


@pytest.mark.parametrize("form", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_a_moving_picture_the_first_frame_counts(form):
    content = saved(LAYERS[0], form, save_all=True, append_images=LAYERS[1:])
    image = uploaded_image(({"name": "a", "content": content},), size=4)
    torch.testing.assert_close(image.mean((1, 2)), torch.tensor([1.0, 0.0, 0.0]), atol=0.01, rtol=0)


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr", "P", "PA", "LA", "1"])
def test_every_colour_space_is_read(mode):
    form = {"CMYK": "JPEG", "LAB": "TIFF", "YCbCr": "JPEG", "PA": "TIFF"}.get(mode, "PNG")
    picture = GREY.convert("RGBA" if mode in ("PA", "LA") else "RGB").convert(mode.replace("PA", "P"))
    image = uploaded_image(({"name": "a", "content": saved(picture, form)},), size=16)
    assert image[:, :4].mean() < 0.2 < 0.8 < image[:, -4:].mean()


def chunk(kind, content):
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def a_png(width, height, *chunks):
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in ((b"IHDR", header), *chunks, (b"IEND", b"")))


BOMB = zlib.compress(bytes(100_000_000))  # 97 kB that unpack to 100 MB
REFUSED = {
    "nothing": (b"", "not an image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not an image"),
    "html": (b"<!doctype html><script>alert(1)</script>", "not an image"),
    "html after a PNG's signature": (b"\x89PNG\r\n\x1a\n<script>alert(1)</script>", "not an image"),
    "pdf": (b"%PDF-1.7\n", "not an image"),
    "a program": (b"MZ" + bytes(100), "not an image"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "32-bit numbers": (saved(Image.fromarray((RAMP * 1e9).astype(np.int32)), "TIFF"), "of 32 bits a pixel"),
    "32-bit fractions": (saved(Image.fromarray((RAMP * np.nan).astype(np.float32)), "TIFF"), "of 32 bits a pixel"),
    "no width": (a_png(0, 9, (b"IDAT", BOMB)), ""),
    "a long line": (a_png(2**31 - 1, 1, (b"IDAT", b"")), "too large"),
    "a bomb of text": (a_png(9, 9, (b"zTXt", b"k\0\0" + BOMB), (b"IDAT", b"")), "damaged"),
    "a bomb of a colour profile": (a_png(9, 9, (b"iCCP", b"k\0\0" + BOMB), (b"IDAT", b"")), "damaged"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_only_looks_like_an_image(what):
    content, why = REFUSED[what]
    with pytest.raises(ValueError, match=f"^one.bin is .*{why}"):
        uploaded_image(({"name": "one.bin", "content": content},))


def test_no_more_pixels_are_unpacked_than_the_header_says():
    assert uploaded_image(({"name": "one.png", "content": a_png(9, 9, (b"IDAT", BOMB))},), size=4).shape == (3, 4, 4)


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


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """A copy of the shipped data, which may be changed."""
    folder = tmp_path / "data"
    shutil.copytree(shipped.FOLDER, folder)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    return folder


def sealed(path, content):
    """Write a data file, and its checksum with it, as someone would who may change both."""
    path.write_bytes(content)
    lists = path.parent / "SHA256SUMS"
    lines = [line.split() for line in lists.read_text(encoding="utf-8").splitlines()]
    digests = {name: hashlib.sha256(content).hexdigest() if name == path.name else digest for digest, name in lines}
    lists.write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()), encoding="utf-8")


@pytest.mark.parametrize("name", ["SHA256SUMS", "recordings/SHA256SUMS", "digits.npz", "recordings/restoration.json"])
def test_broken_data_files(data_folder, name):
    """The first cell says that a file is damaged or missing, and how to restore it; a list cut between lines is shorter."""
    path, chance, said, fine = data_folder / name, random.Random(0), [], 0
    original = path.read_bytes()
    for _ in range(60):
        content = broken(original, chance)
        path.write_bytes(content)
        try:
            ready()
        except OSError as error:
            said.append(str(error))
        else:
            assert content == original or "SHA256SUMS" in name
            fine += 1
    print(f"{name}: {fine} fine, {len(said)} refused")
    assert all("Restore it with: git checkout" in words for words in said)
    assert len(said) > 40


def test_data_files_with_code_in_them(data_folder):
    mark = data_folder.parent / "ran"

    class Evil:
        def __reduce__(self):
            return Path.touch, (mark,)

    packed = io.BytesIO()
    np.savez(packed, images=np.array([Evil()], dtype=object), labels=np.zeros(1))
    sealed(data_folder / "digits.npz", packed.getvalue())
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        digits()
    assert not mark.exists()


@pytest.mark.parametrize(
    "text", ["", "[", "[" * 100_000, "[1]", '{"runs": 1e999}', "\xff", '{"runs": {}, "classes": []}']
)
def test_recordings_that_are_none(data_folder, text):
    sealed(data_folder / "recordings" / "restoration.json", text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"restoration|needs at least one run"):
        recording("restoration")


SETTINGS = {"task": '"digits"', "system": '"dynamic"', "num_kernels": "4", "temperature": "30.0", "seed": "0"}
SETTINGS |= {"folder": '"runs"', "anneal": "[30, 1, 0.5]", "precision": '"no"', "recipe": "{epochs = 2, lr = 0.1}"}
TOML = (
    "nan",
    "inf",
    "-1",
    "0",
    "7",
    "true",
    "1e300",
    '""',
    '"text"',
    "[]",
    "[[1]]",
    "{}",
    "{lr = nan}",
    "1979-05-27",
    "x",
)


def test_odd_settings(tmp_path):
    chance, path, taken = random.Random(0), tmp_path / "run.toml", 0
    for _ in range(500):
        entries = SETTINGS | {chance.choice([*SETTINGS, "data", "x"]): chance.choice((*TOML, *SETTINGS.values()))}
        path.write_text("\n".join(f"{name} = {value}" for name, value in entries.items()), encoding="utf-8")
        with suppress(ValueError):
            taken += read_config(path).num_kernels >= 1
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="is not TOML"):
        read_config(path)
    print(f"settings: {taken} taken, {500 - taken} refused")
    assert 30 < taken < 470


def test_odd_recordings():
    kept = recording("restoration")
    small = {name: records[:2] for name, records in kept["runs"].items()}
    chance, refused = random.Random(0), 0
    for _ in range(1000):
        runs = with_something_odd(small, chance)
        try:
            check_runs(runs, kept["classes"], len(kept["pictures"]["images"]))
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

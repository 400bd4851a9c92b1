"""Rendered lines of text, and pages of them, whose truth is known: words, direction, places."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

__all__ = ["FONTS", "Lines", "Pages", "lines", "pages"]

FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmr10", "cmss10", "cmtt10", "cmb10"),
)  # all that matplotlib brings and that hold letters and digits
HARD_BLUR, HARD_CONTRAST = 1.0, 0.35  # beyond these a line counts as hard


@dataclass(eq=False)
class Lines:
    """Lines as the networks take them, and what is true of them.

    Attributes:
        images: (N, 3, 48, W), −1 to 1; beyond a line's end 0, as RapidOCR fills it up.
        texts: what each says; flipped: (N,) whether it stands on its head; hard: (N,) whether it is blurred or faint.
    """

    images: Tensor
    texts: list[str]
    flipped: Tensor
    hard: Tensor


@dataclass(eq=False)
class Pages:
    """Pages with a few lines each. images: (N, 3, H, W), −1 to 1; boxes: for each page (n, 4) left, top, right, bottom;
    hard: (N,) whether the page is blurred or faint."""

    images: Tensor
    boxes: list[np.ndarray]
    hard: Tensor


def lines(number: int, seed: int, width: int = 192, flips: bool = True, loose: bool = False) -> Lines:
    """Lines in many fonts, sizes, blurs and contrasts, upright and (``flips``) half of them upside down.

    Reference: RapidOCR's preprocessing, https://github.com/RapidAI/RapidOCR: 48 pixels high, the width follows up to ``width``

    Example:
        >>> made = lines(4, seed=0)
        >>> made.images.shape, len(made.texts), made.flipped.dtype
        (torch.Size([4, 3, 48, 192]), 4, torch.bool)

    Args:
        number: how many; seed: of all choices, the same lines for the same seed; width: of the images.
        loose: somewhere on a strip of paper that is larger than they are, not cut out as a detector does.
    """
    random = np.random.default_rng(seed)
    images, texts, flipped, hard = torch.zeros(number, 3, 48, width), [], [], []
    for image in images:
        text = _text(random, longest=16 if width < 300 else 24)
        look = _Look.chosen(random)
        line = look.finished((_loose if loose else _cut_out)(text, look, random), random)
        flipped.append(flips and bool(random.random() < 0.5))
        pixels = line.rotate(180) if flipped[-1] else line
        w = min(width, max(1, round(48 * pixels.width / pixels.height)))
        image[:, :, :w] = _tensor(pixels.resize((w, 48), Image.Resampling.BILINEAR))
        texts.append(text)
        hard.append(look.hard)
    return Lines(images, texts, torch.tensor(flipped), torch.tensor(hard))


def pages(number: int, seed: int, size: int = 320) -> Pages:
    """Square pages with three to seven lines that do not touch.

    Example:
        >>> made = pages(2, seed=0)
        >>> made.images.shape, made.boxes[0].shape[1]
        (torch.Size([2, 3, 320, 320]), 4)

    Args:
        number: how many; seed: of all choices; size: height and width in pixels, which 32 has to divide.
    """
    random = np.random.default_rng(seed)
    made = [_page(random, size) for _ in range(number)]
    images, boxes, hard = zip(*made, strict=True)
    return Pages(torch.stack(images), list(boxes), torch.tensor(hard))


@dataclass(frozen=True)
class _Look:
    font: str
    size: int
    ink: int
    paper: int
    blur: float
    noise: float

    @classmethod
    def chosen(cls, random: np.random.Generator, smallest: int = 14, largest: int = 40) -> _Look:
        contrast = random.uniform(0.15, 1.0)
        low = random.uniform(0, 255 * (1 - contrast))
        ink, paper = (round(low), round(low + 255 * contrast))
        if random.random() < 0.3:  # light on dark
            ink, paper = paper, ink
        size = int(random.integers(smallest, largest))
        return cls(str(random.choice(FONTS)), size, ink, paper, random.uniform(0, 0.06) * size, random.uniform(0, 12))

    @property
    def hard(self) -> bool:
        return self.blur > HARD_BLUR or abs(self.ink - self.paper) < 255 * HARD_CONTRAST

    def finished(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Blurred, then with the noise of a sensor."""
        pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(self.blur)), dtype=np.float32)
        noisy = pixels + random.normal(0, self.noise, pixels.shape)
        return Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8))


def _page(random: np.random.Generator, size: int) -> tuple[Tensor, np.ndarray, bool]:
    look = _Look.chosen(random, 12, 28)
    page, boxes, top = Image.new("L", (size, size), look.paper), [], int(random.integers(8, 24))
    for _ in range(int(random.integers(3, 8))):
        each = _Look(str(random.choice(FONTS)), int(random.integers(12, 28)), look.ink, look.paper, 0.0, 0.0)
        font, text = _font(each.font, each.size), _text(random, longest=24)
        left, _, right, _ = font.getbbox(text)
        width, height = right - left, sum(font.getmetrics())  # from the ascender to the descender
        if width > size - 16 or top + height > size - 8:
            continue
        x = int(random.integers(8, size - width - 7))
        ImageDraw.Draw(page).text((x - left, top), text, font=font, fill=each.ink)
        boxes.append((x, top, x + width, top + height))
        top += height + int(random.integers(6, 24))
    return (
        _tensor(look.finished(page, random)).expand(3, -1, -1),
        np.array(boxes, dtype=float).reshape(-1, 4),
        look.hard,
    )


def _cut_out(text: str, look: _Look, random: np.random.Generator) -> Image.Image:
    """The line alone, with a margin as a detector leaves it."""
    font = _font(look.font, look.size)
    left, above, right, below = font.getbbox(text)
    margin = [round(look.size * random.uniform(0.05, 0.25)) for _ in range(4)]
    size = (right - left + margin[0] + margin[2], below - above + margin[1] + margin[3])
    image = Image.new("L", size, look.paper)
    ImageDraw.Draw(image).text((margin[0] - left, margin[1] - above), text, font=font, fill=look.ink)
    return image


def _loose(text: str, look: _Look, random: np.random.Generator) -> Image.Image:
    """The line on a strip of 48 pixels' height and at least 192 pixels' width, at most two thirds as high."""
    font = _font(look.font, max(18, round(0.8 * look.size)))
    left, above, right, below = font.getbbox(text)
    width, height = max(192, right - left + 8), 48
    x, y = random.uniform(2, min(16, width - (right - left) - 2)), random.uniform(4, height - (below - above) - 4)
    image = Image.new("L", (width, height), look.paper)
    ImageDraw.Draw(image).text((round(x) - left, round(y) - above), text, font=font, fill=look.ink)
    return image


def _text(random: np.random.Generator, longest: int) -> str:
    """A few words as they stand on labels, or a number."""
    if random.random() < 0.2:
        return str(random.integers(10, 10**8)) if random.random() < 0.5 else f"{random.uniform(0, 1000):.2f}"
    text = str(random.choice(_words()))
    while len(text) < longest - 8 and random.random() < 0.5:
        text += " " + str(random.choice(_words()))
    written = (str.lower, str.title, str.upper)[int(random.integers(3))](text)
    return written[:longest].strip()


@cache
def _words() -> tuple[str, ...]:
    """Those in the names of ImageNet's classes: a list of plain English words that torchvision brings."""
    from torchvision.models import ResNet18_Weights

    names = " ".join(ResNet18_Weights.DEFAULT.meta["categories"]).split()
    return tuple(sorted({word.lower() for word in names if word.isascii() and word.isalpha() and len(word) > 2}))


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"), size)


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1)

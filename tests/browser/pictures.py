"""README's pictures, taken from the lessons' pages in a real browser: python -m tests.browser.pictures [LESSON ...]

For each lesson its instrument, small; and one moving picture: the temperature of lesson 05's dynamic convolution, from one
end to the other. They go to notebooks/images/.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from dynconv.lessons.site.build import lesson_page
from dynconv.lessons.site.execute import NOTEBOOKS, execute
from tests.browser.lab import CHROMIUM_FLAGS, MOVING, find_chromium

OUT = NOTEBOOKS / "images"
SMALL, WIDE, ANIMATED = 300, 720, "05"  # pixels wide, of the small and the moving pictures; the lesson that moves
WHICH = {"05": 2}  # the instrument that shows most; elsewhere the first
FRAMES = 36


def main(names: list[str]) -> int:
    """Take the pictures; the exit status."""
    wanted = tuple(names) or ("",)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=CHROMIUM_FLAGS, chromium_sandbox=False
        )
        tab = browser.new_page(viewport={"width": 900, "height": 900}, device_scale_factor=1)
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            if path.stem.startswith(wanted):
                done = execute(path, live=True)
                page = Path(folder) / f"{path.stem}.html"
                page.write_text(lesson_page(done.notebook, done.fragments, NOTEBOOKS), encoding="utf-8")
                tab.goto(page.as_uri())
                _take(tab, path.stem[:2])
        browser.close()
    return 0


def _take(tab, number: str) -> None:
    tab.evaluate("document.querySelectorAll('details.after-bet').forEach((after) => { after.open = true; })")
    tab.add_style_tag(content="header { display: none }")  # it sticks to the window's top, over whatever is there
    instruments = tab.locator(MOVING)
    instrument = instruments.nth(min(WHICH.get(number, 0), instruments.count() - 1))
    instrument.scroll_into_view_if_needed()
    still = Image.open(io.BytesIO(instrument.screenshot())).convert("RGB")
    height = min(still.height, still.width * 2 // 3)  # the upper part, as wide as high
    still = still.crop((0, 0, still.width, height)).resize(
        (SMALL, SMALL * height // still.width), Image.Resampling.LANCZOS
    )
    _save(still.quantize(128), f"{number}.png", optimize=True)
    if number == ANIMATED:
        _move(instrument)


def _move(instrument) -> None:
    """The temperature from low to high and back, as one animated picture; what needs a kernel or an address is left out."""
    instrument.evaluate("e => e.querySelectorAll('.dc-upload, .dc-link').forEach((part) => part.remove())")
    slider, frames = instrument.get_by_label("temperature T"), []
    low, high = (float(slider.get_attribute(end)) for end in ("min", "max"))
    for i in range(FRAMES):
        share = 1 - abs(2 * i / FRAMES - 1)  # there and back
        slider.evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })); }",
            low + share * (high - low),
        )
        frame = Image.open(io.BytesIO(instrument.screenshot())).convert("RGB")
        frames.append(frame.resize((WIDE, round(frame.height * WIDE / frame.width)), Image.Resampling.LANCZOS))
    frames[0].save(OUT / "moving.webp", save_all=True, append_images=frames[1:], duration=120, loop=0, quality=70)
    print(f"moving.webp: {(OUT / 'moving.webp').stat().st_size / 1e3:.0f} kB")


def _save(image: Image.Image, name: str, **options) -> None:
    image.save(OUT / name, **options)
    print(f"{name}: {image.width} × {image.height}, {(OUT / name).stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

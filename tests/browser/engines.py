"""The lessons' pages in Firefox and WebKit: python -m tests.browser.engines FOLDER [ENGINE ...] [--width 1200] [--dark]

FOLDER holds the pages, as `python run.py site --out FOLDER` writes them. In each page every slider is pressed to both ends: the
picture must change, and the sentence must be the one that Chromium writes there, so its numbers, too. In the playground the
three networks train for three seconds. What a script throws is told, and each instrument's picture kept in artifacts/.

Firefox is driven by the package marionette-driver, WebKit (the engine of Safari; here WebKitGTK) by selenium and the program
WebKitWebDriver. On Debian and Ubuntu: `apt-get install firefox-esr webkit2gtk-driver xvfb`, `pip install -e ".[engines]"`,
and `xvfb-run` in front of the command, for WebKit opens a window.
"""

from __future__ import annotations

import argparse
import base64
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.browser.lab import CHROMIUM_FLAGS, FINGERPRINT, MOVING, ROOT, find_chromium

HOME, END, ENTER = "\ue011", "\ue010", "\ue007"  # as WebDriver names keys
# what is thrown stands in the page: a script of WebDriver's may not see the page's own variables
WATCH = """<script>{ const tell = (text) => { document.documentElement.dataset.thrown = text; };
addEventListener("error", (e) => e.message && tell(e.message));
addEventListener("unhandledrejection", (e) => tell(String(e.reason))); }</script>"""
OPEN = "document.querySelectorAll('main details').forEach((one) => { one.open = true; })"
RESET = "[...arguments[0].querySelectorAll('button')].find((one) => one.innerText === 'Reset')?.click()"


class Browser(NamedTuple):
    """What is asked of a browser: ``run`` gives what a script returns, ``press`` sends a key to an element."""

    open: Callable[[str], Any]
    run: Callable[..., Any]
    press: Callable[[Any, str], None]
    shoot: Callable[[Any], bytes]


@contextmanager
def firefox(width: int, dark: bool) -> Iterator[Browser]:
    from marionette_driver.marionette import Marionette

    preferences = {"ui.prefersReducedMotion": 1, "layout.css.prefers-color-scheme.content-override": 1 - dark}
    # the driver deletes the file that the log is to go to, and does not stop at the null device
    log = Path(tempfile.mkdtemp()) / "gecko.log"
    m = Marionette(
        bin=shutil.which("firefox-esr") or shutil.which("firefox"),
        headless=True,
        prefs=preferences,
        gecko_log=str(log),
    )
    m.start_session()
    m.set_window_rect(width=width, height=1200)
    m.timeout.script = 60

    def shoot(element: Any) -> bytes:
        return base64.b64decode(m.screenshot(element=element))

    try:
        yield Browser(m.navigate, lambda s, *a: m.execute_script(s, list(a)), lambda e, key: e.send_keys(key), shoot)
    finally:
        m.delete_session(send_request=True)
        m.cleanup()


@contextmanager
def webkit(width: int, dark: bool) -> Iterator[Browser]:
    from selenium import webdriver
    from selenium.webdriver.webkitgtk.options import Options
    from selenium.webdriver.webkitgtk.service import Service

    if dark:
        raise SystemExit("WebKitGTK takes its theme from the desktop: without --dark only")
    options = Options()
    options.binary_location = str(next(Path("/usr/lib").glob("*/webkit2gtk-4*/MiniBrowser")))
    options.add_argument("--automation")
    driver = webdriver.WebKitGTK(options=options, service=Service(shutil.which("WebKitWebDriver")))
    driver.set_window_size(width, 1200)
    driver.set_script_timeout(60)
    try:
        yield Browser(driver.get, driver.execute_script, lambda e, key: e.send_keys(key), lambda e: e.screenshot_as_png)
    finally:
        driver.quit()


@contextmanager
def chromium(width: int, dark: bool) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    names = {HOME: "Home", END: "End", ENTER: "Enter"}
    with sync_playwright() as playwright:
        own = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS, chromium_sandbox=False)
        size = {"width": width, "height": 1200}
        theme = "dark" if dark else "light"
        tab = own.new_context(viewport=size, reduced_motion="reduce", color_scheme=theme).new_page()

        def run(script: str, *given: Any) -> Any:
            got = tab.evaluate_handle(f"(given) => (function () {{ {script} }}).apply(null, given)", list(given))
            element = got.as_element()
            if element:
                return element
            listed = got.evaluate("v => Array.isArray(v) && v.length > 0 && v.every((one) => one instanceof Element)")
            return [one.as_element() for one in got.get_properties().values()] if listed else got.json_value()

        yield Browser(tab.goto, run, lambda e, key: e.press(names[key]), lambda e: e.screenshot())
        own.close()


ENGINES = {"chromium": chromium, "firefox": firefox, "webkit": webkit}


class Slider(NamedTuple):
    """What a page showed at one end of one slider."""

    place: str  # page, instrument, slider, end
    value: str
    picture: int
    sentence: str


def sliders(browser: Browser, page: str, pictures: Path) -> Iterator[Slider]:
    """Each slider of each instrument at its two ends, in the order of the page."""
    roots = browser.run(f"{OPEN}; return [...document.querySelectorAll('{MOVING}')]")
    for number, root in enumerate(roots):
        kind = browser.run("arguments[0].scrollIntoView(); return arguments[0].dataset.kind", root)
        rest(browser, root)
        (pictures / f"{page}-{number}-{kind}.png").write_bytes(browser.shoot(root))
        inside = "return [...arguments[0].querySelectorAll('input[type=range]:not(:disabled)')]"
        for i, slider in enumerate(browser.run(inside, root)):
            browser.run(RESET, root)
            for key, end in ((HOME, "left"), (END, "right")):
                browser.press(slider, key)
                rest(browser, root)
                said = "return arguments[0].querySelector('.dc-summary').innerText"
                value, picture = (
                    browser.run("return arguments[0].value", slider),
                    f"return ({FINGERPRINT})(arguments[0])",
                )
                place = f"{page}, {kind} {number}, slider {i + 1}, {end}"
                yield Slider(place, value, browser.run(picture, root), browser.run(said, root))


def rest(browser: Browser, root: Any) -> None:
    """Wait until all is drawn, and what the playground computes beside the page has arrived."""
    time.sleep(0.1)  # a few frames; WebKitGTK's driver gives no promise's value
    for _ in range(600):
        if browser.run("return arguments[0].getAttribute('aria-busy')", root) != "true":
            return
        time.sleep(0.05)


def train(browser: Browser) -> int:
    """The largest step that the playground says within three seconds; a run that has ended says none."""
    wanted = "[...document.querySelectorAll('button')].find((one) => one.innerText === 'Play')"
    said = "return document.querySelector('.dc-status').innerText"
    rest(browser, browser.run("return document.querySelector('.dynconv')"))
    browser.press(browser.run(f"return {wanted}"), ENTER)
    steps, end = [0], time.monotonic() + 3
    while time.monotonic() < end:
        steps += [int(step) for step in re.findall(r"step (\d+)", browser.run(said))]
        time.sleep(0.05)
    return max(steps)


def look(engine: str, folder: Path, width: int, dark: bool) -> tuple[list[Slider], list[str]]:
    """All sliders of all pages in one engine, and what went wrong."""
    seen, wrong = [], []
    pictures = ROOT / "artifacts" / f"{engine}-{width}{'-dark' * dark}"
    pictures.mkdir(parents=True, exist_ok=True)
    with ENGINES[engine](width, dark) as browser:
        for path in sorted(folder.glob("*.html")):
            browser.open(path.as_uri())
            if path.stem == "playground":
                steps = train(browser)
                print(f"{engine:9} playground: {steps} steps", flush=True)
                wrong += [] if steps > 50 else [f"playground: {steps} steps"]
            elif browser.run(f"return document.querySelectorAll('{MOVING}').length"):
                here = list(sliders(browser, path.stem[:5], pictures))
                seen += here
                print(f"{engine:9} {path.stem:28} {len(here) // 2} sliders", flush=True)
            wide = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
            wrong += [f"{path.stem}: {wide} px too wide"] if wide > 0 else []
            thrown = browser.run("return document.documentElement.dataset.thrown ?? ''")
            wrong += [f"{path.stem}: {thrown}"] if thrown else []
    return seen, wrong


def faults(reference: list[Slider], seen: list[Slider]) -> list[str]:
    """Sliders that change nothing, and sentences that are other ones than the reference's."""
    ends = zip(seen[::2], seen[1::2], strict=True)
    still = [f"{a.place}: nothing changes" for a, b in ends if a.picture == b.picture or a.sentence == b.sentence]
    known = {one.place: one for one in reference}
    here = {one.place for one in seen}
    lost = [f"{place}: not there" for place in known if place not in here]
    return still + lost + [told for one in seen for told in _other(known.get(one.place), one)]


def _other(expected: Slider | None, got: Slider) -> list[str]:
    if expected is None:
        return [f"{got.place}: Chromium has none"]
    if (expected.value, expected.sentence) == (got.value, got.sentence):
        return []
    return [f"{got.place}: {got.value}: {got.sentence!r} and not {expected.value}: {expected.sentence!r}"]


def main(arguments: list[str] | None = None) -> int:
    """Print what moved and what is wrong; 0 when nothing is."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.engines", description=__doc__)
    parser.add_argument("folder", type=Path, help="the pages")
    parser.add_argument("engines", nargs="*", default=["firefox", "webkit"], help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--width", type=int, default=1200, help="of the window, pixels")
    parser.add_argument("--dark", action="store_true", help="the dark theme")
    given = parser.parse_args(arguments)
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "site"
        shutil.copytree(given.folder, folder)
        for path in folder.glob("*.html"):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("<head>", f"<head>{WATCH}", 1), encoding="utf-8")
        reference, own = look("chromium", folder, given.width, given.dark)
        print(f"chromium: {len(own)} faults", *own, sep="\n  ", flush=True)
        bad += len(own)
        for engine in given.engines:
            seen, wrong = look(engine, folder, given.width, given.dark)
            wrong += faults(reference, seen)
            print(f"{engine}: {len(seen) // 2} sliders, {len(wrong)} faults", *wrong, sep="\n  ", flush=True)
            bad += len(wrong)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())

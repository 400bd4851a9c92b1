"""Instruments as the browser tests use them: opened from a file, looked at, and driven by keyboard."""

import json
from contextlib import contextmanager

from dynconv.lessons.views.javascript import bundle
from dynconv.lessons.views.pages import page

LOAD = """async ([code, body, data]) => {
  const module = await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
  const decode = (t) => new Float32Array(Uint8Array.from(atob(t), (c) => c.charCodeAt(0)).buffer);
  return new Function('m', 'd', 'decode', body)(module, JSON.parse(data), decode);
}"""
# all one sees: pixels of the canvases, lengths of the bars, words; not the sliders' thumbs, nor copies of what is out of sight
SEEN = """root => [...root.querySelectorAll('canvas:not(.dc-glance *)')].map((c) => c.toDataURL())
  .concat([...root.querySelectorAll('span[style]')].map((e) => e.style.cssText), root.innerText).join('|')"""
PIXELS = "root => [...root.querySelectorAll('canvas:not(.dc-glance *)')].map((c) => c.toDataURL())"
# where everything stands in the page, and how high all is: nothing may jump. From the page's top: controls that stick to the
# window's edge stand elsewhere once it is scrolled
PLACES = """root => {
  const scrolled = [scrollX, scrollY];
  scrollTo(0, 0);
  const places = [root, ...root.querySelectorAll('input, select, button, canvas, figcaption')]
    .map((e) => e.getBoundingClientRect()).map((r) => [r.x, r.y, r.width, r.height].map((v) => v.toFixed(2)));
  scrollTo(...scrolled);
  return JSON.stringify(places);
}"""


def in_page(chromium, module, body, data):
    context = chromium.new_context()
    got = context.new_page().evaluate(LOAD, [bundle(module), body, json.dumps(data)])
    context.close()
    return got


# a figure draws its wires once the page has found out how large everything is: in the first frame, which a busy machine paints late
PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def opened(chromium, tmp_path, view, **options):
    """The instrument's page, as `opened_page` opens it."""
    return opened_page(chromium, tmp_path, page(view, "An instrument"), **options)


@contextmanager
def opened_page(chromium, tmp_path, text, **options):
    """An instrument's page from a file, offline; it must not say anything on the console."""
    path, errors = tmp_path / "page.html", []
    path.write_text(text, encoding="utf-8")
    # what eases is there at once: a test looks at where it arrives
    context = chromium.new_context(**{"offline": True, "reduced_motion": "reduce", **options})
    tab = context.new_page()
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
    tab.goto(path.as_uri())
    tab.evaluate(PAINTED)
    yield tab, tab.locator(".dynconv")
    assert not errors
    context.close()


# numbers stand in rooms of their own, which do not grow with them; between two of them there are 8 pixels
CROWDED = """root => [...root.querySelectorAll('output, .dc-bar-cell b, .dc-bar-text')]
  .filter((e) => e.scrollWidth > e.clientWidth + 6 && getComputedStyle(e).clipPath === 'none').map((e) => e.textContent)"""


# A control's value goes to the kernel once it is painted; what comes from there before that counts as an echo of an older one.
SENT = "new Promise((done) => requestAnimationFrame(() => setTimeout(() => setTimeout(done))))"


def from_kernel(tab, code):
    """What the kernel does, in the page's words: after what was done in the page has reached it."""
    tab.evaluate(SENT)
    tab.evaluate(code)


def seen(root):
    return root.evaluate(SEEN)


def check_everyday_use(tab, root):
    """Every control has a label and is reached by Tab, every slider's ends differ in picture and words, Reset resets."""
    first, places, controls = seen(root), root.evaluate(PLACES), root.locator("input, select, button")
    assert controls.evaluate_all(
        "all => all.every((e) => e.tagName === 'BUTTON' ? e.innerText : e.labels[0]?.innerText)"
    )
    for slider in root.locator("input[type=range]").all():
        shown = []
        for key in ("Home", "ArrowRight", "End", "ArrowLeft"):
            slider.press(key)
            shown.append((seen(root), root.locator(".dc-summary").inner_text(), root.evaluate(PIXELS)))
            crowded = root.evaluate(CROWDED)
            assert not crowded, crowded
            assert root.evaluate(PLACES) == places
        assert len({all_of_it for all_of_it, _, _ in shown}) == 4
        assert shown[0][1] != shown[2][1]
        assert shown[0][2] != shown[2][2]
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first
    inputs = root.locator("input, select").all()
    for key, some in (("End", inputs), ("Home", inputs[::-1]), ("ArrowRight", inputs), ("End", inputs[::-1])):
        for control in some:
            control.press(key)
    assert root.evaluate(PLACES) == places
    assert "NaN" not in seen(root)
    root.get_by_role("button", name="Reset").press("Enter")
    assert seen(root) == first
    check_tab_order(tab, root)


def check_tab_order(tab, root):
    tab.evaluate("document.activeElement.blur()")
    stops = root.locator(
        "button, select, input:not([type=radio]):not(:disabled), input[type=radio]:checked, [tabindex='0']"
    ).locator("visible=true")
    reached = set()
    for _ in range(stops.count() + 2):  # Tab goes on from where the focus was, and once round past the page's end
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    assert reached >= set(stops.evaluate_all("all => all.map((e) => [...document.querySelectorAll('*')].indexOf(e))"))

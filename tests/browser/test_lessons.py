"""Each lesson in JupyterLab: run all, move every control by keyboard and mouse, see the picture change, look at both themes;
and as a page without a kernel: the same pictures and words."""

import json

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe

from dynconv.lessons.site.build import lesson_page
from dynconv.lessons.site.execute import NOTEBOOKS
from tests.browser.instruments import SEEN
from tests.browser.lab import MOVING, Lesson

pytestmark = pytest.mark.browser
LESSONS = sorted(p.name for p in NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(scope="module", params=LESSONS)
def lesson(request, chromium, lab, tmp_path_factory):
    opened = Lesson(chromium, lab, request.param)
    opened.kernel("import dynconv.lessons.site.live; dynconv.lessons.site.live.remember()")
    opened.run_all()
    kept = tmp_path_factory.mktemp("site") / request.param.replace(".ipynb", ".json")
    opened.kernel(f"open({str(kept)!r}, 'w').write(dynconv.lessons.site.live.fragments())")
    opened.fragments = json.loads(kept.read_text(encoding="utf-8"))
    yield opened
    opened.close()


def value(slider):
    return float(slider.input_value())


def try_keyboard(lesson, instrument, slider, name):
    """Arrow keys reach the slider, and the picture at its two ends differs."""
    slider.focus()
    before = value(slider)
    key = "ArrowLeft" if before == float(slider.get_attribute("max")) else "ArrowRight"
    slider.press(key)
    assert value(slider) != before, f"{name}: {key} did not reach it"
    slider.press("Home")
    assert value(slider) == float(slider.get_attribute("min"))
    low, said = lesson.fingerprint(instrument), instrument.locator(".dc-summary").inner_text()
    slider.press("End")
    assert value(slider) == float(slider.get_attribute("max"))
    assert lesson.fingerprint(instrument) != low, f"{name}: Home and End show the same picture"
    assert instrument.locator(".dc-summary").inner_text() != said, f"{name}: the sentence stayed the same"


def try_mouse(lesson, instrument, slider, name):
    """Dragging from a fifth to the end of the track changes the picture; the track of a photo that is pulled runs to the left."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    first, last = (0.8, 0.05) if slider.evaluate("e => getComputedStyle(e).direction === 'rtl'") else (0.2, 0.95)
    lesson.page.mouse.move(box["x"] + first * box["width"], middle)
    lesson.page.mouse.down()
    left, low = lesson.fingerprint(instrument), value(slider)
    lesson.page.mouse.move(box["x"] + last * box["width"], middle, steps=5)
    right = lesson.fingerprint(instrument)
    lesson.page.mouse.up()
    assert value(slider) > low
    assert right != left, f"{name}: dragging changed nothing"


def reset(instrument):
    button = instrument.get_by_role("button", name="Reset")
    if button.count():
        button.click()


def try_choices(lesson, instrument):
    """Every list's last entry shows something else than its first."""
    lists = instrument.locator("select:not(:disabled)")
    for i in range(lists.count()):
        lists.nth(i).select_option(index=0)
        low = lesson.fingerprint(instrument)
        lists.nth(i).select_option(index=lists.nth(i).locator("option").count() - 1)
        assert lesson.fingerprint(instrument) != low, f"{lesson.name}: list {i + 1} changed nothing"
        reset(instrument)
    return lists.count() + thumbnails_that_tell(lesson, instrument)


def thumbnails_that_tell(lesson, instrument):
    """How many rows of pictures to choose from show something else for their last than for their first."""
    moved = 0
    for row in instrument.locator(".dc-thumbs:visible").all():
        seen = []
        for chosen in (row.get_by_role("radio").first, row.get_by_role("radio").last):
            chosen.check()
            seen.append(lesson.fingerprint(instrument))
        moved += seen[0] != seen[1]
        reset(instrument)
    return moved


def test_every_control_moves_the_picture(lesson):
    moved = 0
    for instrument in lesson.instruments():
        instrument.scroll_into_view_if_needed()
        first = lesson.fingerprint(instrument)
        sliders = instrument.locator("input[type=range]:not(:disabled)")
        for i in range(sliders.count()):
            slider = sliders.nth(i)
            name = f"{lesson.name}: {slider.evaluate('e => e.labels[0].textContent')}"
            try_keyboard(lesson, instrument, slider, name)
            reset(instrument)
            try_mouse(lesson, instrument, slider, name)
            reset(instrument)
            moved += 1
        moved += try_choices(lesson, instrument)
        if instrument.get_by_role("button", name="Reset").count():
            assert lesson.fingerprint(instrument) == first, "Reset does not bring the first picture back"
    assert moved >= (5 if lesson.name[:2] in ("02", "05") else 2)
    assert not lesson.errors


def move_away(instrument, key):
    slider = instrument.locator("input[type=range]:not(:disabled)")
    if slider.count():
        slider.first.press(key)
    else:
        lists = instrument.locator("select")
        last = lists.first.locator("option").count() - 1
        lists.first.select_option(index=last if key == "End" else 0)


def test_every_experiment_does_something(lesson):
    pressed = 0
    for instrument in lesson.instruments():
        buttons = instrument.locator(".dc-buttons .dc-button, .dc-controls .dc-button")
        for i in range(buttons.count()):
            button, label = buttons.nth(i), buttons.nth(i).inner_text()
            if label == "Reset":
                continue
            for key in ("End", "Home"):  # an experiment may be what one of the ends shows anyway
                reset(instrument)
                move_away(instrument, key)
                before = lesson.fingerprint(instrument)
                button.click()
                lesson.page.wait_for_timeout(
                    1200 if label == "Play" else 50
                )  # Play moves once a second: reduced motion
                after = lesson.fingerprint(instrument)
                if label == "Play":
                    if button.inner_text() == "Play":  # all has been played: once more, for there is something to pause
                        button.press("Enter")
                    button.press("Enter")
                    assert button.inner_text() == "Play", "Enter does not pause"
                else:
                    reset(instrument)
                    button.press("Enter")
                    assert lesson.fingerprint(instrument) == after, f"{lesson.name}: {label} by keyboard"
                if after != before:
                    break
            assert after != before, f"{lesson.name}: {label} changes nothing"
            pressed += 1
    assert pressed >= 2
    assert not lesson.errors


# Two hundred moves of an instrument's sliders, lists and buttons to choose: ends, middles and odd values, in no order at all.
WANDER = """async (root, moves) => {
  let state = 7;
  const random = (n) => { state = (Math.imul(state, 1103515245) + 12345) >>> 0; return (state >>> 16) % n; };
  const said = new Set();
  for (let i = 0; i < moves; i++) {
    const controls = root.querySelectorAll('input:not(:disabled, [type=file]), select:not(:disabled)');
    const control = controls[random(controls.length)];
    if (control.tagName === 'SELECT') control.selectedIndex = random(control.options.length);
    else if (control.type !== 'range') control.checked = control.type === 'radio' || !control.checked;
    else {
      const share = [0, 1, random(101) / 100][random(3)];
      control.value = +control.min + share * (control.max - control.min);
    }
    for (const name of ['input', 'change']) control.dispatchEvent(new Event(name, { bubbles: true }));
    if (i % 5 === 0) await new Promise((r) => requestAnimationFrame(r));
    said.add(root.querySelector('.dc-summary').textContent);
    if (/NaN|undefined|Infinity|\\[object/.test(root.textContent)) throw new Error(`${i}: ${root.textContent}`);
  }
  return said.size;
}"""
# What could pile up in a lesson's kernel. Asking a weak proxy for its class would warn: the type is enough.
LEFT = """
import gc, json, sys, torch
own = [m for m in gc.get_objects() if issubclass(type(m), torch.nn.Module)]
plt = sys.modules.get("matplotlib.pyplot")
print(json.dumps({
    "modules": len(own), "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in own),
    "figures": len(plt.get_fignums()) if plt else 0, "comms": len(get_ipython().kernel.comm_manager.comms),
}))
del own, plt
"""


def test_two_hundred_moves_leave_nothing_behind(lesson):
    for instrument in lesson.instruments():
        reset(instrument)
        first, left = lesson.fingerprint(instrument), json.loads(lesson.kernel(LEFT))
        nodes = instrument.evaluate("e => e.querySelectorAll('*').length")
        assert instrument.evaluate(WANDER, 200) > 5
        lesson.page.wait_for_timeout(300)  # what the kernel was told last has arrived
        assert json.loads(lesson.kernel(LEFT)) == left
        if instrument.get_by_role("button", name="Reset").count():
            reset(instrument)
            assert lesson.fingerprint(instrument) == first
            assert instrument.evaluate("e => e.querySelectorAll('*').length") == nodes
    assert not lesson.errors


@pytest.mark.parametrize("lesson", LESSONS[2:3], indirect=True)
def test_the_kernel_hears_where_a_slider_stopped(lesson):
    instrument = next(iter(lesson.instruments()))
    reset(instrument)
    instrument.get_by_label("temperature T").press("End")
    instrument.get_by_label("logit 2").press("Home")
    lesson.page.wait_for_timeout(500)
    heard = json.loads(
        lesson.kernel("import json; print(json.dumps([mixer.temperature, mixer.logits, mixer.num_kernels]))")
    )
    assert heard == [pytest.approx(100), [2, -5, 0, -1], 4]
    before = lesson.fingerprint(instrument)
    lesson.kernel("mixer.temperature = 0.5; mixer.num_kernels = 2")
    lesson.page.wait_for_timeout(500)
    assert lesson.fingerprint(instrument) != before
    assert float(instrument.get_by_label("kernels K").input_value()) == 2
    reset(instrument)


def test_screenshots_in_both_themes(lesson, artifacts):
    for theme in ("Dark", "Light"):  # and stays light: kernels have other colours in the dark
        lesson.page.evaluate(
            f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {theme}'}})"
        )
        lesson.page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(theme == 'Light').lower()}'")
        lesson.page.wait_for_timeout(500)
        for i, instrument in enumerate(lesson.instruments()):
            instrument.scroll_into_view_if_needed()
            picture = instrument.screenshot(path=artifacts / f"{lesson.name[:2]}-instrument{i}-{theme.lower()}.png")
            assert len(picture) > 10_000
    assert not lesson.errors


@pytest.fixture(scope="module")
def page(lesson, tmp_path_factory):
    """The lesson as `run.py site` writes it, from the very run that is open in JupyterLab."""
    notebook = nbformat.from_dict(lesson.page.evaluate("window.jupyterapp.shell.currentWidget.content.model.toJSON()"))
    for cell in notebook.cells:
        cell.pop("attachments", None)  # JupyterLab says null
    path = tmp_path_factory.mktemp("site") / lesson.name.replace(".ipynb", ".html")
    path.write_text(lesson_page(notebook, lesson.fragments, NOTEBOOKS), encoding="utf-8")
    assert path.stat().st_size <= 5e6
    return path


# All one sees of an instrument with each of its sliders at either end.
WALK = f"""async (root) => {{
  const frame = () => new Promise(requestAnimationFrame);
  const seen = {SEEN}, shown = [], resets = [...root.querySelectorAll('button')].filter((b) => b.innerText === 'Reset');
  const upload = root.querySelector('.dc-upload')?.innerText ?? 'no upload here'; // alone, a page has no kernel to send to
  for (const slider of root.querySelectorAll('input[type=range]:not(:disabled)')) {{
    for (const end of [slider.min, slider.max]) {{
      slider.value = end;
      for (const name of ['input', 'change']) slider.dispatchEvent(new Event(name, {{ bubbles: true }}));
      do await frame(); while (root.getAttribute('aria-busy') === 'true');
      shown.push(seen(root).replace(upload, ''));
    }}
    resets.forEach((button) => button.click());
  }}
  return shown;
}}"""


def serious_violations(tab, **options):
    options = {"runOnly": ["wcag2a", "wcag2aa"], "resultTypes": ["violations"], **options}
    found = Axe().run(tab, options=options).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    return {v["id"]: [node["html"][:120] for node in v["nodes"][:3]] for v in serious}


def test_the_page_without_a_kernel_shows_the_same(lesson, page, chromium, artifacts):
    errors = []
    context = chromium.new_context(offline=True, color_scheme="light", viewport={"width": 1100, "height": 900})
    tab = context.new_page()
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
    tab.goto(page.as_uri())
    # what follows a bet is folded until somebody has bet
    tab.evaluate("document.querySelectorAll('details.after-bet').forEach((one) => { one.open = true; })")
    for same, instrument in zip(tab.locator(MOVING).all(), lesson.instruments(), strict=True):
        reset(instrument)
        assert same.evaluate(WALK) == instrument.evaluate(WALK)
    assert not serious_violations(tab)
    tab.emulate_media(color_scheme="dark")
    assert not serious_violations(tab, runOnly=["color-contrast"])
    tab.screenshot(path=artifacts / f"{lesson.name[:2]}-page-dark.png")
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.evaluate("[...document.querySelectorAll('.dc-controls')].every((e) => e.scrollWidth <= e.clientWidth)")
    tab.screenshot(path=artifacts / f"{lesson.name[:2]}-page-phone.png")
    context.close()
    assert not errors

"""The playground as a page: every control does something, training goes on in a worker or without, and nothing stays behind."""

import re

import pytest

from dynconv.lessons.views import Playground
from dynconv.lessons.views.pages import page
from tests.browser.instruments import check_tab_order, opened, opened_page
from tests.browser.test_lessons import serious_violations

pytestmark = pytest.mark.browser
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
# all that is drawn, and in words; not the controls
SHOWN = """root => [...root.querySelectorAll('canvas')].map((c) => c.toDataURL())
  .concat([...root.querySelectorAll('svg')].map((e) => e.innerHTML.replaceAll(/dc-hatch-\\w+-\\d+/g, '')),
    [...root.querySelectorAll('.dc-summary, .dc-status, b, figcaption')].map((e) => e.innerText)).join('|')"""
STEP = "() => Number(document.querySelector('.dc-status').innerText.match(/step (\\d+)/)?.[1] ?? -1)"
RESTS = "() => document.querySelector('.dynconv').getAttribute('aria-busy') === 'false'"


def rests(tab):
    """All is drawn that has been asked for."""
    tab.evaluate("() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")
    tab.wait_for_function(RESTS, timeout=60_000)


def press(root, name):
    root.get_by_role("button", name=name, exact=True).press("Enter")


def shown(tab, root):
    """Everything that is drawn, once it is."""
    rests(tab)
    return hash(root.evaluate(SHOWN))


def trains(tab, root, steps=60):
    press(root, "Play")
    tab.wait_for_function(f"({STEP})() >= {steps}", timeout=120_000)
    press(root, "Pause")
    rests(tab)
    assert root.get_by_role("button", name="Play", exact=True).count() == 1


@pytest.fixture(scope="module")
def playground():
    presets = {"One kernel": {"num_kernels": 1}, "Nothing shows which": {"task": "shifts"}}
    return Playground(trained_on=["brick"], experiments=presets)  # the patches of one photo are soon ready


@pytest.fixture(scope="module")
def endless(playground):
    """Its page, where no run comes to its end: 3000 steps take two seconds, and a busy machine may press a button later."""
    text, last = page(playground, "Playground"), "const LAST = 3000;"
    assert text.count(last) == 2  # the page's and the worker's
    return text.replace(last, "const LAST = 1e9;")


def test_every_control_moves_the_picture(chromium, tmp_path, playground):
    with opened(chromium, tmp_path, playground, reduced_motion="reduce") as (tab, root):
        first = shown(tab, root)
        for slider in root.locator("input[type=range]").all():
            ends = []
            for key in ("Home", "End"):
                slider.press(key)
                ends.append(shown(tab, root))
            assert ends[0] != ends[1], slider.evaluate("e => e.labels[0].innerText")
            press(root, "Reset")
            assert shown(tab, root) == first
        for control in root.locator("select, input[type=checkbox], input[type=radio]:not(:checked)").all():
            control.press("End" if control.evaluate("e => e.tagName === 'SELECT'") else "Space")
            assert shown(tab, root) != first, control.evaluate("e => e.labels[0].innerText")
            press(root, "Reset")
            assert shown(tab, root) == first
        assert "NaN" not in root.inner_text()
        check_tab_order(tab, root)


def test_play_step_and_start_again(chromium, tmp_path, endless):
    with opened_page(chromium, tmp_path, endless, reduced_motion="reduce") as (tab, root):
        first = shown(tab, root)
        press(root, "Step")
        one = shown(tab, root)
        assert tab.evaluate(STEP) == 1
        assert one != first
        trains(tab, root)
        press(root, "Start again")
        assert shown(tab, root) == first
        press(root, "Step")
        assert shown(tab, root) == one  # the same seed, the same step


def test_settings_change_while_it_trains(chromium, tmp_path, endless):
    with opened_page(chromium, tmp_path, endless, reduced_motion="reduce") as (tab, root):
        press(root, "Play")
        tab.wait_for_function(f"({STEP})() >= 20", timeout=120_000)
        assert "steps a second in a worker" in root.locator(".dc-status").inner_text()
        assert root.locator(".dc-summary").get_attribute("aria-live") == "off"
        root.get_by_label("temperature T").press("Home")
        assert not root.get_by_label("cool from 30 to 1").is_checked()  # whoever moves T wants it to stay
        root.get_by_label("learning rate").press("Home")
        before = tab.evaluate(STEP)
        tab.wait_for_function(f"({STEP})() > {before + 20}", timeout=120_000)  # the same run goes on
        root.get_by_label("kernels K").press("End")
        tab.wait_for_function(
            f"({STEP})() >= 0 && ({STEP})() < {before}", timeout=120_000
        )  # another one, from the start
        tab.wait_for_function(f"({STEP})() > 10", timeout=120_000)
        press(root, "Pause")
        rests(tab)
        summary = root.locator(".dc-summary").inner_text()
        assert "T = 0.10" in summary
        assert root.locator(".dc-summary").get_attribute("aria-live") == "polite"


def test_without_a_worker_it_trains_on_the_pages_thread(chromium, tmp_path, endless):
    """A page that may not start workers: as in some front ends."""
    policy = '<meta http-equiv="Content-Security-Policy" content="worker-src \'none\'">'
    path, errors, numbers = tmp_path / "page.html", [], []
    for head in (policy, ""):
        path.write_text(endless.replace("<head>", f"<head>{head}"), encoding="utf-8")
        context = chromium.new_context(offline=True)
        tab = context.new_page()
        tab.on("pageerror", lambda e: errors.append(str(e)))
        tab.goto(path.as_uri())
        root = tab.locator(".dynconv")
        rests(tab)
        press(root, "Step")
        press(root, "Step")
        rests(tab)
        numbers.append(root.locator(".dc-summary").inner_text())
        press(root, "Play")
        tab.wait_for_function(f"({STEP})() >= 10", timeout=120_000)
        assert ("on the page's thread" if head else "in a worker") in root.locator(".dc-status").inner_text()
        tab.wait_for_function(f"({STEP})() >= 60", timeout=120_000)  # what was told is seen, and more is told
        press(root, "Reset")
        rests(tab)
        assert tab.evaluate(STEP) == 0
        context.close()
    assert numbers[0] == numbers[1]
    assert not errors


def test_a_start_state_can_be_linked_to(chromium, tmp_path, playground):
    with opened(chromium, tmp_path, playground, reduced_motion="reduce") as (tab, root):
        tab.evaluate("navigator.clipboard.writeText = async (text) => { window.clip = text; }")
        press(root, "Nothing shows which")
        root.get_by_label("kernels K").press("Home")
        root.get_by_label("seed").press("End")
        root.get_by_label("camera").press("Space")
        there = shown(tab, root)
        press(root, "Copy link to this state")
        link = tab.evaluate("window.clip")
        assert re.search(r"#dc\.Playground=.*shifts", link)
        tab.goto("about:blank")
        tab.goto(link)
        assert shown(tab, root) == there


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(chromium, tmp_path, endless, scheme, artifacts):
    with opened_page(chromium, tmp_path, endless, **PHONE, color_scheme=scheme, reduced_motion="reduce") as (tab, root):
        rests(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        controls = root.locator("input, select, button").evaluate_all(
            "all => all.filter((e) => e.offsetParent).map((e) => (e.closest('label') ?? e).getBoundingClientRect().height)"
        )
        assert min(controls) >= 24  # WCAG 2.5.8
        assert not serious_violations(tab)
        trains(tab, root, 30)
        tab.evaluate("scrollTo(0, 1200)")
        assert root.get_by_role("button", name="Play").evaluate("e => e.getBoundingClientRect().top") >= 0  # in sight
        above = root.locator(".dc-controls").evaluate("e => e.getBoundingClientRect().bottom")
        assert above < 0  # too many to stay in sight, too
        assert tab.evaluate("document.getAnimations().filter((a) => a.playState === 'running').length") == 0
        tab.screenshot(path=artifacts / f"playground-phone-{scheme}.png", full_page=True)


AGAIN = """async () => {
  const text = [...document.scripts].find((s) => s.type === 'module').textContent;
  const workers = { alive: 0 };
  const { Worker: Plain } = window;
  window.Worker = class extends Plain {
    constructor(...given) { super(...given); workers.alive++; }
    terminate() { super.terminate(); workers.alive--; }
  };
  const code = text.slice(0, text.indexOf('const host')).replace('const $main =', 'export default');
  const address = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
  const { default: widget } = await import(address);
  for (let i = 0; i < 20; i++) {
    const el = document.body.appendChild(document.createElement('div'));
    const end = widget.render({ model, el });
    await new Promise((r) => setTimeout(r, 20));
    end();
    el.remove();
  }
  return workers.alive;
}"""


def test_a_view_that_is_removed_leaves_no_worker(chromium, tmp_path, playground):
    with opened(chromium, tmp_path, playground, reduced_motion="reduce") as (tab, _):
        rests(tab)
        assert tab.evaluate(AGAIN) == 0


def test_a_page_is_not_heavy(playground):
    assert len(page(playground, "Playground").encode()) < 2e6


def test_nothing_is_without_a_name_while_the_networks_are_made(chromium, tmp_path, playground):
    (tmp_path / "page.html").write_text(page(playground, "An instrument"), encoding="utf-8")
    context = chromium.new_context(offline=True)
    context.add_init_script("window.Worker = class { postMessage() {} terminate() {} }")  # it never answers
    tab = context.new_page()
    tab.goto((tmp_path / "page.html").as_uri())
    tab.get_by_text("making the patches ready").wait_for()
    assert not serious_violations(tab)
    context.close()

"""Instruments as pages of their own: opened from a file, with no kernel and no network, they answer as in JupyterLab."""

import shutil

import nbformat
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe

from dynconv.lessons.site.build import index_page, lesson_body, lesson_page, title_of
from dynconv.lessons.site.execute import NOTEBOOKS
from dynconv.lessons.site.frame import lesson_of, search_page, sections
from dynconv.lessons.views import Mixer, TrainingView
from dynconv.lessons.views.pages import fragment, page
from tests.browser.instruments import check_everyday_use, opened, seen
from tests.browser.lab import FINGERPRINT

pytestmark = pytest.mark.browser


def test_a_page_from_a_file_is_alive(chromium, tmp_path):
    mixer = Mixer(torch.rand(24, 24), {"</script>": torch.rand(3, 3), "copy": torch.eye(3)}, temperature=0.5)
    path = tmp_path / "mixer.html"
    path.write_text(page(mixer, "Mixer"), encoding="utf-8")
    context = chromium.new_context(offline=True)
    tab = context.new_page()
    errors = []
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.goto(path.as_uri())
    root = tab.locator(".dynconv")
    before = root.evaluate(FINGERPRINT)
    tab.get_by_label("logit 2").press("End")
    assert root.evaluate(FINGERPRINT) != before
    tab.get_by_role("button", name="Reset").click()
    assert root.evaluate(FINGERPRINT) == before
    assert tab.evaluate("model.get('temperature')") == 0.5
    assert not errors
    context.close()


def test_a_page_carries_each_module_once_and_every_instrument_answers(chromium, tmp_path):
    views = [Mixer(torch.rand(8, 8), {"copy": torch.eye(3), "other": torch.ones(3, 3)}) for _ in range(2)]
    views.insert(1, TrainingView(["x"], 2, num_kernels=2, kernel_size=3))
    made = [
        nbformat.v4.new_output("display_data", {"text/html": f'<div data-instrument="p{i}"></div>'}) for i in range(3)
    ]
    cells = [
        nbformat.v4.new_markdown_cell("# 42 · A lesson", id="a"),
        nbformat.v4.new_code_cell("ready()", id="s"),  # is folded
        nbformat.v4.new_code_cell("show", outputs=made, id="b"),
    ]
    fragments = {f"p{i}": fragment(view, f"p{i}") for i, view in enumerate(views)}
    text = lesson_page(nbformat.v4.new_notebook(cells=cells), fragments, tmp_path)
    assert text.count("const $make = ") == 2  # a mixer's and a training's
    (tmp_path / "lesson.html").write_text(text, encoding="utf-8")
    context = chromium.new_context(offline=True)
    tab, errors = context.new_page(), []
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.goto((tmp_path / "lesson.html").as_uri())
    first, training, second = (tab.locator(f"#p{i}") for i in range(3))
    assert training.locator(".dc-summary").inner_text() == "Waiting for the first epoch."
    before = first.evaluate(FINGERPRINT)
    second.get_by_label("logit 2").press("End")
    assert first.evaluate(FINGERPRINT) == before
    assert second.evaluate(FINGERPRINT) != before
    assert not errors
    context.close()


def test_a_finger_has_room(chromium, tmp_path):
    mixer = Mixer(torch.rand(24, 24), {"copy": torch.eye(3), "other": torch.ones(3, 3)})
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(chromium, tmp_path, mixer, **phone) as (tab, root):
        controls = root.locator("input, select, button")
        assert min(controls.evaluate_all("all => all.map((e) => e.getBoundingClientRect().height)")) >= 24  # WCAG 2.5.8
        slider = root.get_by_label("temperature T")
        before, box = seen(root), slider.bounding_box()
        tab.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + 2)  # near its upper edge
        assert seen(root) != before


def test_printed_sentences_wrap_on_a_phone_and_tables_scroll(chromium, tmp_path):
    sentence, table = "a long printed line " * 5, "\n".join(["name      one      two" + 9 * "      more"] * 3)
    cells = [nbformat.v4.new_markdown_cell("# 42 · A lesson\n\n`" + 60 * "long" + "`", id="a")]
    for number, text in enumerate((sentence, table)):
        cells.append(
            nbformat.v4.new_code_cell("print", outputs=[nbformat.v4.new_output("stream", text=text)], id=f"c{number}")
        )
    path = tmp_path / "lesson.html"
    path.write_text(lesson_page(nbformat.v4.new_notebook(cells=cells), {}, tmp_path), encoding="utf-8")
    context = chromium.new_context(offline=True, viewport={"width": 390, "height": 844})
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    scrolls = "[...document.querySelectorAll('.output pre')].map((e) => e.scrollWidth > e.clientWidth)"
    assert tab.evaluate(scrolls) == [False, True]
    context.close()


LESSON = NOTEBOOKS / "03_temperature.ipynb"


@pytest.fixture
def site(chromium, tmp_path):
    """Index, search and one lesson, offline: the page to look at, and its errors."""
    lessons = [lesson_of(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    notebook, file = nbformat.read(LESSON, as_version=4), f"{LESSON.stem}.html"
    shutil.copytree(NOTEBOOKS / "images", tmp_path / "images")
    entries = sections(file, title_of(notebook), lesson_body(notebook, NOTEBOOKS))
    written = {
        file: lesson_page(notebook, {}, NOTEBOOKS, lessons, file),
        "index.html": index_page(lessons, fragment(Mixer(torch.rand(24, 24), {"copy": torch.eye(3)}), "instrument-1")),
        "search.html": search_page(entries, lessons, ""),
    }
    for name, text in written.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    context = chromium.new_context(offline=True, viewport={"width": 390, "height": 844})
    tab, errors = context.new_page(), []
    tab.on("pageerror", lambda e: errors.append(str(e)))
    yield tab, lambda name: tab.goto(f"{tmp_path.as_uri()}/{name}")
    context.close()
    assert not errors


def test_search_finds_words_offline_and_leads_to_their_section(site):
    tab, go = site
    go("search.html")
    tab.get_by_label("Words").fill("temperature")
    assert tab.locator("#found li").count() > 5
    assert "sections" in tab.locator("#said").inner_text()
    tab.get_by_label("Words").fill("annealing zebra")
    assert tab.locator("#found li").count() == 0
    tab.get_by_label("Words").fill("logit recap")
    tab.locator("#found a").first.click()
    assert LESSON.stem in tab.url
    go("search.html#temperature")
    assert tab.locator("#found li").count() > 5


def test_the_index_shows_something_alive_first_and_remembers_what_was_read(site):
    tab, go = site
    go("index.html")
    assert tab.locator("#instrument-1.dynconv").bounding_box()["y"] < 1.5 * 844
    assert not tab.locator("#progress").is_visible()
    go(f"{LESSON.stem}.html")
    tab.evaluate("scrollTo(0, document.body.scrollHeight)")
    tab.wait_for_function("Object.keys(JSON.parse(localStorage.getItem('dynconv progress'))?.read ?? {}).length > 0")
    go("index.html")
    assert tab.locator(".cards .read").count() == 1
    assert "1 of " in tab.locator("#progress").inner_text()
    tab.get_by_role("button", name="Forget it").click()
    assert tab.locator(".cards .read").count() == 0


def test_every_page_fits_a_phone_is_accessible_and_prints_what_is_folded(site):
    tab, go = site
    for name in ("index.html", "search.html", f"{LESSON.stem}.html"):
        go(name)
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            assert not Axe().run(tab).response["violations"]
        header = tab.locator("header").bounding_box()
        tab.mouse.wheel(0, 900)
        assert tab.locator("header").bounding_box()["y"] == header["y"] == 0
    closed = "document.querySelectorAll('main details:not([open])').length"
    assert tab.evaluate(closed) > 3
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(closed) == 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate(closed) > 3


@pytest.mark.parametrize("width", [340, 390, 1000])
def test_the_list_of_lessons_lies_in_the_window(site, width):
    tab, go = site
    tab.set_viewport_size({"width": width, "height": 844})
    go(f"{LESSON.stem}.html")
    tab.locator("header summary").click()
    box = tab.locator("header ol").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert tab.locator("header ol").evaluate("e => e.scrollWidth <= e.clientWidth")
    tab.locator("header ol a").last.click(trial=True)  # nothing lies over it


def test_controls_stay_in_sight_beneath_the_header(site):
    tab, go = site
    go("index.html")
    tab.locator(".dc-mixer").evaluate("root => { root.parentElement.classList.add('output'); }")  # as in a lesson
    controls = tab.locator(".dc-mixer .dc-controls")
    controls.evaluate("e => scrollTo(0, scrollY + e.getBoundingClientRect().top + 100)")
    header = tab.locator("header").bounding_box()
    assert controls.bounding_box()["y"] == pytest.approx(header["height"], abs=1)


@pytest.mark.parametrize("width", [340, 390, 1000])
def test_nothing_in_the_mixer_jumps(chromium, tmp_path, width):
    torch.manual_seed(0)
    kernels = {f"horizontal edges {i}": torch.randn(5, 5) for i in range(4)}
    mixer = Mixer(torch.rand(24, 24), kernels, logits=[2.0, 1.0, 0.0, -1.0])
    with opened(chromium, tmp_path, mixer, viewport={"width": width, "height": 900}) as (tab, root):
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check_everyday_use(tab, root)

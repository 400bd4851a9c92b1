"""The reference: every public name, formula and cross-reference of the docstrings, readable offline on any screen."""

import ast
import re
import warnings
from importlib import import_module
from pathlib import Path

import pytest

import dynconv
from dynconv.lessons.site.build import index_page
from dynconv.lessons.site.reference import write_reference

ROOMS = ("functional", "layers", "surgery", "probe", "cost", "schedule", "native")
LESSONS = [f"lessons.{room}" for room in ("views", "exercises", "data", "train", "systems", "tasks", "figures")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site's folder with an index and the reference; Sphinx had nothing to complain about."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text(index_page([]), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the parts of Sphinx say to each other about their next versions
        status = write_reference(folder / "reference")
    assert status == 0, "markup or a cross-reference is wrong: stderr says which"
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path.stem: path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html")}


@pytest.mark.parametrize("room", [*ROOMS, *LESSONS])
def test_every_public_name_has_an_entry(pages, room):
    page = pages[room.partition(".")[0]]
    names = import_module(f"dynconv.{room}").__all__
    assert not [name for name in names if f'id="dynconv.{room}.{name}"' not in page]


def test_every_formula_of_the_docstrings_is_shown(pages):
    texts = []
    for path in Path(dynconv.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                texts.append(ast.get_docstring(node) or "")
    written = sum(len(re.findall(r"\.\. math::|:math:`", text)) for text in texts)
    shown = [formula for page in pages.values() for formula in re.findall("<math.*?</math>", page, re.DOTALL)]
    assert len(shown) == written > 40
    assert not [formula for formula in shown if "\\" in formula], "a command of LaTeX was left as it stood"


def test_nothing_is_fetched_from_elsewhere(pages):
    for page in pages.values():
        assert not re.search(r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//|<link[^>]* href="(?:https?:)?//', page)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1200, "light")])
def test_it_is_read_offline_on_any_screen(chromium, site, width, scheme):
    context = chromium.new_context(offline=True, color_scheme=scheme, viewport={"width": width, "height": 900})
    tab, errors = context.new_page(), []
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.goto((site / "index.html").as_uri())
    tab.get_by_role("link", name="Reference", exact=True).click()
    tab.get_by_role("main").get_by_role("link", name="dynconv.functional").click()
    tab.wait_for_selector("math")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    wide = tab.evaluate("[...document.querySelectorAll('math')].map((e) => e.getBoundingClientRect().width)")
    assert min(wide, default=0) > 5
    ground, ink = (
        tab.evaluate(f"getComputedStyle(document.querySelector('article')).{name}.match(/\\d+/g).map(Number)")
        for name in ("backgroundColor", "color")
    )
    assert (sum(ink[:3]) < 3 * 128) == (scheme == "light"), (ground, ink)
    tab.get_by_role("link", name="All lessons").click()
    assert tab.get_by_role("heading", name="What makes a convolution dynamic?").is_visible()
    assert not errors
    context.close()

"""What stands around a page: where its links lead, what is folded, what is told to whoever shares it."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dynconv.lessons.site.build import index_page, lesson_body, lesson_page
from dynconv.lessons.site.execute import NOTEBOOKS
from dynconv.lessons.site.frame import lesson_of, pages_of, sections

LESSONS = [lesson_of(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
ADDRESS = "https://github.com/Ada/dynconv"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def pages():
    made = {}
    for address in ("", ADDRESS):
        for path in PATHS:
            notebook = nbformat.read(path, as_version=4)
            file = f"{path.stem}.html"
            made[address, file] = lesson_page(notebook, {}, NOTEBOOKS, LESSONS, file, address)
    return made


def test_cards_say_minutes_and_goals():
    for lesson in LESSONS:
        assert 5 <= lesson.minutes <= 120
        assert len(lesson.goals) >= 2
    index = index_page(LESSONS, "<b>alive</b>", ADDRESS)
    assert index.index("What makes a convolution") < index.index("<b>alive</b>") < index.index(LESSONS[0].goals[0][:20])
    assert len(re.findall("data-lesson=", index)) == len(LESSONS)
    for lesson in LESSONS:
        assert (NOTEBOOKS / "images" / f"{lesson.number}.png").exists()


def test_every_link_leads_somewhere(pages):
    known = {lesson.file for lesson in LESSONS} | {
        "index.html",
        "playground.html",
        "search.html",
        "reference/index.html",
    }
    for (address, _), page in pages.items():
        text = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
        anchors = set(re.findall(r'id="([^"]+)"', text))
        for target in re.findall(r'href="([^"]+)"', text):
            if target.startswith("#"):
                assert target[1:] in anchors, target
            elif not target.startswith(("https://", "data:")):
                assert target in known, target
            assert ".." not in target
        assert ("/blob/main/experiments/" in text) <= bool(address)
    assert any("https://github.com/Ada/dynconv/blob/main/experiments/" in page for page in pages.values())


def test_a_page_without_an_address_shows_none(pages):
    for (address, file), page in pages.items():
        assert ("colab.research.google.com" in page) == bool(address), file
        assert ('property="og:image" content="https://ada.github.io/dynconv/images/05.png"' in page) == bool(address)
        assert '<meta name="description"' in page
    assert (NOTEBOOKS / "images" / "05.png").exists()  # what is shown with the address


def test_before_and_after_are_in_the_header(pages):
    files = [lesson.file for lesson in LESSONS]
    for i, file in enumerate(files):
        header = re.findall(r"<header>.*?</header>", pages["", file], re.DOTALL)[0]
        assert re.findall(r'rel="prev" href="([^"]+)"', header) == files[max(0, i - 1) : i]
        assert re.findall(r'rel="next" href="([^"]+)"', header) == files[i + 1 : i + 2]


def test_the_set_up_is_folded_and_nothing_else(pages):
    for (_, file), page in pages.items():
        folded = re.findall(r"<details class=setup>.*?</details>", page, re.DOTALL)
        assert len(folded) == 1, file
        assert "ready" in folded[0]
        assert page.count("<details") == page.count("</details>")


def test_the_first_instrument_is_one_jump_away():
    cells = [new_markdown_cell("# 42 · A lesson\n\n## One", id="a"), new_code_cell("1", id="b")]
    cells[1].outputs = [
        nbformat.v4.new_output("display_data", {"text/html": '<div data-instrument="instrument-1"></div>'})
    ]
    page = lesson_page(new_notebook(cells=cells), {"instrument-1": '<div id="instrument-1"></div>'}, NOTEBOOKS)
    assert page.index('href="#instrument-1"') < page.index('id="instrument-1"')
    assert '<a href="#One">One</a>' in page


def test_the_search_knows_every_section():
    notebook = nbformat.read(PATHS[3], as_version=4)
    found = sections(PATHS[3].stem + ".html", LESSONS[3].title, lesson_body(notebook, NOTEBOOKS))
    headings = [
        m for c in notebook.cells if c.cell_type == "markdown" for m in re.findall(r"(?m)^###? (.+)$", c.source)
    ]
    assert len(found) == 1 + len(headings)
    assert any("temperature" in entry["text"].lower() for entry in found)
    assert not any("<" in entry["heading"] for entry in found)


def test_the_pages_address():
    assert pages_of("https://github.com/Ada-L/more") == "https://ada-l.github.io/more/"
    assert pages_of("https://github.com/ada/ada.github.io") == "https://ada.github.io/"
    assert pages_of("https://github.com/no_owner/dynconv") == pages_of("") == ""  # none has a _ in its name

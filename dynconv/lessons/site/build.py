"""One lesson, one HTML file: text, code, outputs, and the instruments alive."""

from __future__ import annotations

import base64
import copy
import html
import mimetypes
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from ..bets import QUESTIONS
from .bets import folded, with_folds
from .frame import CLAIM, Lesson, cards, contents, document, header, pages_of
from .mathml import with_mathml

__all__ = ["index_page", "instrument_page", "lesson_body", "lesson_page", "title_of"]

QUESTION = """<p class="question">“I run K convolutions of the same input, softmax K learned numbers, and take the weighted sum of the
outputs. Is that <em>dynamic convolution</em>? Is it <em>attention</em>?”</p>
<p>Below, one of the two layers is the question's, the other a dynamic convolution; both undo damage in photos. Slide the photo, watch
the bars, and bet which is which. The lessons build both, and everything between them, and measure what it buys.</p>"""
PROGRESS = (
    f'<p id="progress" data-bets="{len(QUESTIONS)}" hidden><span></span><button type="button">Forget it</button></p>'
)
SETUP = re.compile(r'<div class="jp-Cell jp-CodeCell|<div class="cell border-box-sizing code_cell')
STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)
KEPT = r"\(globalThis\.\$dynconv \?\?= {}\)\[\"(\w+)\"\]"  # where a page keeps an instrument's module, see views/javascript.py
MODULE = re.compile(rf"const \$make = \(\) => {{\n.*?\n}};\nconst \$main = {KEPT} \?\?= \$make\(\);\n", re.DOTALL)
BADGE = re.compile(r'<p><a href="https://colab\.[^>]*><img [^>]*></a></p>')
PRINTED = re.compile(r'(?<=<pre)( tabindex="0">)([^<]*)(?=</pre>)')
CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)  # of a table
GAP = re.compile(r"\S {2,}(?=\S)")  # between the columns of a printed table


def title_of(notebook: nbformat.NotebookNode) -> str:
    """The lesson's name: its first heading."""
    return re.findall(r"\A# (.+)", notebook.cells[0].source)[0]


def lesson_page(
    notebook: nbformat.NotebookNode,
    fragments: Mapping[str, str],
    folder: Path,
    lessons: Sequence[Lesson] = (),
    file: str = "",
    address: str = "",
) -> str:
    """The HTML of one executed lesson.

    Reference: nbconvert, https://nbconvert.readthedocs.io

    Example:
        >>> from pathlib import Path
        >>> cells = [nbformat.v4.new_markdown_cell("# 42 · A lesson", id="a")]
        >>> text = lesson_page(nbformat.v4.new_notebook(cells=cells), {}, Path("."))
        >>> "<title>42 · A lesson</title>" in text, 'href="index.html"' in text
        (True, True)

    Args:
        notebook: with its outputs, as ``execute(path, live=True)`` gives it.
        fragments: place → HTML of the instrument that stands there, from the same execution.
        folder: where the images that the lesson's text shows lie.
        lessons: all of them, in order; file: this page's name.
        address: of the repository.
    """
    body = lesson_body(notebook, folder, address)
    main = contents(body) + body
    for place, fragment in fragments.items():
        main = main.replace(f'<div data-instrument="{place}"></div>', fragment)
    main = _with_modules_once(_with_styles_once(main))
    words = next((lesson.goals[0] for lesson in lessons if lesson.file == file and lesson.goals), CLAIM)
    return document(title_of(notebook), main, address=address, words=words, header=header(lessons, file), file=file)


def lesson_body(notebook: nbformat.NotebookNode, folder: Path, address: str = "") -> str:
    """Text, code and outputs; the instruments' places are empty."""
    notebook = copy.deepcopy(notebook)
    notebook.cells = with_folds(notebook.cells)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _as_page_links(with_mathml(cell.source), address)
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(notebook)
    body = folded(body)
    body = _with_images(body, folder).replace("<pre>", '<pre tabindex="0">')  # long lines scroll, by keyboard too
    body = PRINTED.sub(_without_wrapping, body)
    body = CELL.sub(lambda cell: cell[0].replace("± ", "±\u00a0"), body)  # a deviation stays with its sign
    return _with_folded_setup(BADGE.sub("", body) if not pages_of(address) else body)


def instrument_page(
    title: str, words: str, fragment: str, lessons: Sequence[Lesson] = (), address: str = "", file: str = ""
) -> str:
    """The HTML of an instrument that has a page of its own.

    Reference: :func:`dynconv.lessons.views.page`, which is the same without the site around it

    Example:
        >>> 'href="index.html"' in instrument_page("Playground", "Three networks.", "<div></div>")
        True

    Args:
        title: of the page.
        words: what is to be done there, one sentence or two.
        fragment: HTML of the instrument.
        lessons, address, file: see :func:`lesson_page`.
    """
    head = f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(words)}</p>"
    shown = f"{head}\n{fragment}"
    return document(f"{title} · dynconv", shown, address=address, words=words, header=header(lessons), file=file)


def index_page(lessons: Sequence[Lesson], opening: str = "", address: str = "") -> str:
    """The first page: the question, something that moves, and the lessons to choose from.

    Example:
        >>> 'href="02.html"' in index_page([Lesson("02.html", "02 · Softmax mixing", 25, ["mix"])])
        True

    Args:
        lessons: in order.
        opening: HTML of an instrument.
        address: of the repository.
    """
    first = (
        f'<p><a class="start" href="{lessons[0].file}">Begin with {html.escape(lessons[0].title)}</a></p>'
        if lessons
        else ""
    )
    body = f"<h1>What makes a convolution <em>dynamic</em>?</h1>\n{QUESTION}\n{opening}\n{first}\n{PLAYGROUND}\n<h2>The lessons</h2>\n"
    body += f"{PROGRESS}\n{cards(lessons)}\n{REFERENCE}"
    return document(
        "dynconv: what makes a convolution dynamic", body, address=address, header=header(lessons), file="index.html"
    )


PLAYGROUND = """<h2>Train one, here and now</h2>
<p>In the <a href="playground.html">playground</a> a plain convolution, the question's softmax mix and a dynamic convolution learn side
by side, in this browser; temperature, K and learning rate are yours to move while they do.</p>"""
REFERENCE = """<h2>The package</h2>
<p><code>dynconv</code>, the layers and tools behind the lessons, is made to be used: the <a href="reference/index.html">reference</a>
has every public name with its formula, its paper and an example.</p>"""


def _with_styles_once(body: str) -> str:
    """Of style sheets that are the same only the last, which is the one that counts."""
    left = Counter(STYLE.findall(body))

    def last(found: re.Match) -> str:
        left[found[0]] -= 1
        return "" if left[found[0]] else found[0]

    return STYLE.sub(last, body)


def _with_modules_once(body: str) -> str:
    """Of an instrument's module only the first, which runs before the others: they take what it has made."""
    made: set[str] = set()

    def first(found: re.Match) -> str:
        if found[1] not in made:
            made.add(found[1])
            return found[0]
        return f'const $main = globalThis.$dynconv["{found[1]}"];\n'

    return MODULE.sub(first, body)


def _with_folded_setup(body: str) -> str:
    """The first code cell brings packages, which a page has no use for: it is one line to be opened."""
    found = [match.start() for match in SETUP.finditer(body)]
    if len(found) < 1:
        return body
    after = re.compile(r'<div class="(?:jp-Cell |cell )').search(body, found[0] + 5)
    end = after.start() if after else len(body)
    folded = (
        f"<details class=setup><summary>Set-up, for running it yourself</summary>\n{body[found[0] : end]}</details>\n"
    )
    return body[: found[0]] + folded + body[end:]


def _with_images(body: str, folder: Path) -> str:
    # nbconvert's own embed_images closes <details> too early
    def inside(found: re.Match) -> str:
        file = folder / found[1]
        kind = mimetypes.guess_type(file.name)[0]
        return f'src="data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"'

    return re.sub(r'src="(images/[\w.-]+)"', inside, body)


def _without_wrapping(found: re.Match) -> str:
    # on a phone printed sentences wrap; a table of three columns or more would fall to pieces
    lines = html.unescape(found[2]).strip("\n").split("\n")
    table = 2 * sum(len(GAP.findall(line)) > 1 for line in lines) > len(lines)
    return (' class="table"' if table else "") + found[0]


def _as_page_links(markdown: str, address: str) -> str:
    """Links to lessons lead to their pages, those to files of the repository to where it is."""
    markdown = re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](\1.html)", markdown)
    if not pages_of(address):
        return re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", markdown)
    return re.sub(r"\]\(\.\./([^)]*)\)", rf"]({address}/blob/main/\1)", markdown)

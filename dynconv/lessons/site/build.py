"""One lesson, one HTML file: text, code, outputs, and the instruments alive."""

from __future__ import annotations

import base64
import copy
import html
import mimetypes
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from .mathml import with_mathml

__all__ = ["index_page", "instrument_page", "lesson_page", "title_of"]

REFERENCE = '<p><a href="reference/index.html">Reference</a>: every public name of the package behind the lessons.</p>'
PLAYGROUND = '<p><a href="playground.html">Playground</a>: train a dynamic convolution, and what it is compared with, here and now.</p>'
STYLE = (Path(__file__).parent / "site.css").read_text(encoding="utf-8")
PRINTED = re.compile(r'(?<=<pre)( tabindex="0">)([^<]*)(?=</pre>)')
GAP = re.compile(r"\S {2,}(?=\S)")  # between the columns of a printed table


def title_of(notebook: nbformat.NotebookNode) -> str:
    """The lesson's name: its first heading."""
    return re.findall(r"\A# (.+)", notebook.cells[0].source)[0]


def lesson_page(notebook: nbformat.NotebookNode, fragments: Mapping[str, str], folder: Path) -> str:
    """The HTML of one executed lesson.

    Reference: nbconvert, https://nbconvert.readthedocs.io

    Example:
        >>> from pathlib import Path
        >>> cells = [nbformat.v4.new_markdown_cell("# 42 · A lesson", id="a")]
        >>> text = lesson_page(nbformat.v4.new_notebook(cells=cells), {}, Path("."))
        >>> "<title>42 · A lesson</title>" in text, "<script" in text
        (True, False)

    Args:
        notebook: with its outputs, as ``execute(path, live=True)`` gives it.
        fragments: place → HTML of the instrument that stands there, from the same execution.
        folder: where the images that the lesson's text shows lie.
    """
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _as_page_links(with_mathml(cell.source))
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(notebook)
    body = _with_images(body, folder).replace("<pre>", '<pre tabindex="0">')  # long lines scroll, by keyboard too
    body = PRINTED.sub(_without_wrapping, body)
    for place, fragment in fragments.items():
        body = body.replace(f'<div data-instrument="{place}"></div>', fragment)
    return _document(title_of(notebook), f'<nav><a href="index.html">All lessons</a></nav>\n{body}')


def instrument_page(title: str, words: str, fragment: str) -> str:
    """The HTML of an instrument that has a page of its own.

    Reference: :func:`dynconv.lessons.views.page`, which is the same without the site around it

    Example:
        >>> '<a href="index.html">' in instrument_page("Playground", "Three networks.", "<div></div>")
        True

    Args:
        title: of the page.
        words: what is to be done there, one sentence or two.
        fragment: HTML of the instrument.
    """
    head = f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(words)}</p>"
    return _document(title, f'<nav><a href="index.html">All lessons</a></nav>\n{head}\n{fragment}')


def index_page(titles: Sequence[tuple[str, str]], words: str) -> str:
    """The table of contents.

    Example:
        >>> 'href="02.html"' in index_page([("02.html", "02 · Softmax mixing")], "Twelve lessons.")
        True

    Args:
        titles: (file, title), in order.
        words: what it is, one sentence.
    """
    rows = "\n".join(f'<li><a href="{html.escape(file)}">{html.escape(title)}</a></li>' for file, title in titles)
    return _document(
        "dynconv", f"<h1>dynconv</h1>\n<p>{html.escape(words)}</p>\n{PLAYGROUND}\n<ul>\n{rows}\n</ul>\n{REFERENCE}"
    )


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


def _as_page_links(markdown: str) -> str:
    return re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](\1.html)", markdown)


def _document(title: str, body: str) -> str:
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )

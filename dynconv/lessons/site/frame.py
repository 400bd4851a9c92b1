"""What stands around every page of the site: head, header, contents, footer; and the cards, and the search."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nbformat
from pygments.formatters import HtmlFormatter

from ..views.javascript import bundle

__all__: list[str] = []

HERE = Path(__file__).parent
STYLE, PAGE, SEARCH = ((HERE / f"site.{name}").read_text(encoding="utf-8") for name in ("css", "js", "search.js"))
SCRIPT = "{\n" + bundle("kept").replace("export const", "const") + PAGE + "}\n"
CLAIM = "Learn, with your hands, what makes a convolution dynamic."
# four bars of unlike height, in the colours of the first four kernels: the attention of one image
ICON = (
    "data:image/svg+xml;base64,"
    + base64.b64encode(
        b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill="#e69f00" d="M1 9h3v6H1z"/>'
        b'<path fill="#56b4e9" d="M5 2h3v13H5z"/><path fill="#009e73" d="M9 6h3v9H9z"/>'
        b'<path fill="#cc79a7" d="M13 12h2v3h-2z"/></svg>'
    ).decode()
)
HEADING = re.compile(r'<h2 id="([^"]+)">(.*?)</h2>', re.DOTALL)


class Lesson(NamedTuple):
    """What a card says: the page's ``file``, title, minutes, and what one will be able to do."""

    file: str
    title: str
    minutes: int
    goals: list[str]

    @property
    def number(self) -> str:
        return self.file[:2]


def lesson_of(path: Path) -> Lesson:
    """Read off a lesson's first cell."""
    first = nbformat.read(path, as_version=4).cells[0].source
    minutes = re.search(r"About (\d+) minutes", first)
    goals = re.findall(r"^- (.+?)[;.]?$", first, re.MULTILINE)
    title = re.findall(r"\A# (.+)", first)[0]
    return Lesson(f"{path.stem}.html", title, int(minutes[1]) if minutes else 0, goals)


def document(title: str, body: str, *, address: str = "", words: str = CLAIM, header: str = "", file: str = "") -> str:
    """A page: ``address`` is the repository's; ``file`` the page's own name, for what others show when it is shared."""
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'{_card(title, words, address, file)}<link rel="icon" href="{ICON}">\n'
        f"<style>\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{STYLE}</style></head>\n"
        f'<body><a class="skip" href="#main">To the text</a>\n{header}<main id="main">\n{body}\n</main>\n'
        f"{footer(address)}<script>\n{SCRIPT}</script></body></html>\n"
    )


def _card(title: str, words: str, address: str, file: str) -> str:
    """What search engines and messengers show. Its picture needs a whole address: none before it is published."""
    site = pages_of(address)
    told = {"og:type": "website", "og:title": title, "og:description": words, "twitter:card": "summary_large_image"}
    if site:
        told |= {"og:url": site + file, "og:image": f"{site}images/05.png"}
    lines = [f'<meta name="description" content="{html.escape(words)}">']
    lines += [f'<meta property="{name}" content="{html.escape(value)}">' for name, value in told.items()]
    return "\n".join(lines) + "\n"


def pages_of(address: str) -> str:
    """Where the code host shows the pages of a repository; "" while its address is not set."""
    owner, _, name = address.removeprefix("https://github.com/").partition("/")
    if not re.fullmatch(r"[A-Za-z0-9-]+", owner):
        return ""
    return f"https://{owner.lower()}.github.io/" + (f"{name}/" if name.lower() != f"{owner.lower()}.github.io" else "")


def header(lessons: Sequence[Lesson], file: str = "") -> str:
    """Home, the lesson before and after, all lessons, search: in sight wherever one has scrolled to."""
    here = next((i for i, lesson in enumerate(lessons) if lesson.file == file), None)
    before = lessons[here - 1] if here else None
    after = lessons[here + 1] if here is not None and here + 1 < len(lessons) else None
    items = "".join(
        f'<li><a href="{each.file}"{" aria-current=page" if each.file == file else ""}>{html.escape(each.title)}</a></li>'
        for each in lessons
    )
    links = [f'<a class="home" href="index.html"><img src="{ICON}" alt="" width="18" height="18"> dynconv</a>']
    links += (
        [f'<a rel="prev" href="{before.file}" title="{html.escape(before.title)}">← {before.number}</a>']
        if before
        else []
    )
    links += (
        [f'<a rel="next" href="{after.file}" title="{html.escape(after.title)}">{after.number} →</a>'] if after else []
    )
    return (
        f'<header><nav aria-label="Lessons">{"".join(links)}'
        f"<details><summary>All lessons</summary><ol start=0>{items}</ol></details>"
        '<a href="playground.html">Playground</a><a href="search.html">Search</a><a href="reference/index.html">Reference</a></nav></header>\n'
    )


def contents(body: str) -> str:
    """The headings of a page, folded, and the way to its first instrument."""
    found = [
        (anchor, re.sub(r"<a .*?</a>|<[^>]+>", "", text, flags=re.DOTALL)) for anchor, text in HEADING.findall(body)
    ]
    items = "".join(f'<li><a href="#{anchor}">{text}</a></li>' for anchor, text in found)
    jump = (
        '<a class="jump" href="#instrument-1">To the first instrument ↓</a>'
        if 'data-instrument="instrument-1"' in body
        else ""
    )
    listed = f"<details><summary>On this page</summary><ul>{items}</ul></details>" if items else ""
    return f'<div class="contents">{jump}{listed}</div>'


def footer(address: str) -> str:
    """Where it comes from, and under which licence."""
    source = f'<a href="{address}">Source</a> · ' if pages_of(address) else ""
    return (
        f"<footer><p>{source}MIT licence; the images' licences are named beside them. "
        "Nothing you do here is sent anywhere.</p></footer>\n"
    )


def cards(lessons: Sequence[Lesson]) -> str:
    """The lessons as pictures to choose from."""
    rows = "".join(
        f'<li data-lesson="{each.file}"><a href="{each.file}"><img src="images/{each.number}.png" alt="" loading="lazy">'
        f"<strong>{html.escape(each.title)}</strong></a><span>{each.minutes} minutes</span>"
        f"<p>{html.escape(re.sub(r'[*`$]', '', '; '.join(each.goals[:2])))}.</p></li>"
        for each in lessons
    )
    return f'<ul class="cards">{rows}</ul>'


def sections(file: str, title: str, body: str) -> list[dict[str, str]]:
    """A page's text, one entry a heading, for the search."""
    body = re.sub(r"<(script|style|noscript|svg|math)\b.*?</\1>", " ", body, flags=re.DOTALL)
    parts = re.split(r'(<h[23] id="[^"]+">.*?</h[23]>)', body, flags=re.DOTALL)
    found = [{"page": title, "link": file, "heading": title, "text": _text(parts[0])}]
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        anchor = re.findall(r'id="([^"]+)"', heading)[0]
        link = f"{file}#{anchor}"
        found.append({"page": title, "link": link, "heading": _text(heading).rstrip("¶"), "text": _text(text)})
    return found


def _text(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def search_page(entries: Sequence[dict[str, str]], lessons: Sequence[Lesson], address: str) -> str:
    """A search over all lessons in one file: no server, no network."""
    written = json.dumps(entries, ensure_ascii=False).replace("<", "\\u003c")
    body = (
        '<h1>Search</h1>\n<p><label>Words <input type="search" id="words" autocomplete="off"></label></p>\n'
        f'<p id="said" role="status"></p>\n<ol id="found"></ol>\n<script>\nconst ENTRIES = {written};\n{SEARCH}</script>'
    )
    return document("Search · dynconv", body, address=address, header=header(lessons), file="search.html")

"""No lesson gives a bet's answer away before the bet: not in a heading, a goal, the code below, or an output in sight.

What counts as giving away is mechanical. In sight of a bet are the lesson's goals, the headings down to it, its own output, and
the code cells that answer it, up to the next text. There,
- no output may be unfolded, and no ``assert`` visible;
- no heading of the bet's own section may deny anything: what is denied is an answer;
- nothing may share a word with the right option that only the right option has: not the question, not another option, and not the
  text that has led there;
- no text, number or comment may say the right option in its words.
"""

import html
import io
import re
import tokenize
from collections import Counter, defaultdict

import nbformat
import pytest

from dynconv.lessons.bets import QUESTIONS
from dynconv.lessons.site.bets import REVEAL, bet_of, with_folds
from dynconv.lessons.site.build import lesson_page
from dynconv.lessons.site.execute import NOTEBOOKS
from dynconv.lessons.views import Bet
from dynconv.lessons.views.pages import fragment

LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))
DENIALS = {"not", "no", "never", "cannot", "nothing", "neither", "hardly", "enough"}
SMALL = re.findall(
    "[a-z]+",
    """a an the and or but of to in on at by for from with without as is are was be been it its that this than then there they so
    do does get gets has have all one each every any only more most other others into up you your who what which same first""",
)


def words(text):
    """What distinguishes a text: its words, cut to what their forms share, and its numbers."""
    found = re.findall(r"[a-zà-ÿ]+|\d+(?:\.\d+)?", text.lower().replace("×", " "))
    return {w if w[0].isdigit() else w[:5] for w in found if w not in SMALL and (len(w) > 2 or w[0].isdigit())}


def headings(source):
    return re.findall(r"(?m)^#+ (.+)$", source)


def spoken(source):
    """What a code cell says in words: its comments and its strings, but not the names of columns and files."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if tokenize.tok_name[token.type] in ("COMMENT", "STRING", "FSTRING_MIDDLE"):
            yield token.string


def span(cells, at):
    """The code cells that answer the bet in cell ``at``."""
    i = at + 1
    while (
        i < len(cells)
        and cells[i].cell_type == "markdown"
        and not re.search(r"(?m)^#|^\*\*What happened", cells[i].source)
    ):
        i += 1
    while i < len(cells) and cells[i].cell_type == "code" and not bet_of(cells[i]):
        yield cells[i]
        i += 1


def given_away(cells, at, question):
    """Whatever is in sight of the bet in cell ``at`` and tells its answer, in words."""
    found, behind = [], list(span(cells, at))
    for cell in behind:
        if not cell.metadata.get("jupyter", {}).get("outputs_hidden") or REVEAL not in cell.metadata.get("tags", ()):
            found.append(f"output in sight: {cell.source!r:.60}")
    shown = [cell for cell in behind if not cell.metadata["jupyter"].get("source_hidden")]
    found += [
        f"assert in sight: {line}" for c in shown for line in c.source.splitlines() if re.match(r"\s*assert\b", line)
    ]
    above = [cell.source for cell in cells[:at] if cell.cell_type == "markdown"]
    section = re.split(r"(?m)^(?=## )", "\n".join(above))[-1]
    found += [f"a heading denies: {h}" for h in headings(section) if DENIALS & set(re.findall(r"[a-z]+", h.lower()))]
    prose = "\n".join(re.sub(r"(?m)^#+ .+$", "", text) for text in above[1:])
    own = words(question.right) - words(question.asks) - words(prose) - words(" ".join(question.others))
    sight = [*above[0].splitlines(), *(h for text in above for h in headings(text))]
    sight += [text for cell in shown for text in spoken(cell.source)]
    for text in sight:
        if told := own & words(text):
            found.append(f"{sorted(told)} of the answer in: {text}")
    return found


def spoilers(path):
    cells = nbformat.read(path, as_version=4).cells
    for at, cell in enumerate(cells):
        name = bet_of(cell)
        if name and QUESTIONS[name].right:
            for said in given_away(cells, at, QUESTIONS[name]):
                yield f"{name}: {said}"


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_nothing_in_sight_gives_an_answer_away(path):
    assert not list(spoilers(path))


def test_every_prediction_is_a_bet_and_every_bet_is_asked_once():
    asked = [bet_of(cell) for path in LESSONS for cell in nbformat.read(path, as_version=4).cells]
    assert Counter(filter(None, asked)) == Counter(dict.fromkeys(QUESTIONS, 1))
    for path in LESSONS:
        text = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
        assert "**Predict.**" not in text
        assert "<summary>A ·" not in text


def test_the_right_option_has_no_place_of_its_own():
    places = defaultdict(list)
    for name, question in QUESTIONS.items():
        assert len(question.options) >= 3, name
        if question.right:
            places[name[:2]].append(Bet(name).options.index(question.right))
    total = Counter(i for found in places.values() for i in found)
    assert all(total[i] > sum(total.values()) / 5 for i in range(3)), total
    assert all(len(set(found)) > 1 for found in places.values()), places
    longest = [max(q.options, key=len) == q.right for q in QUESTIONS.values() if q.right]
    assert sum(longest) < 0.6 * len(longest)  # the longest option is no hint


@pytest.fixture(scope="module")
def bets():
    return {name: Bet(name) for name in QUESTIONS}


def test_nothing_that_is_shown_before_the_bet_holds_an_answer(bets):
    """The stored output of a bet, the words that stand in for it, what its page shows: each option, and no reason."""
    for name, bet in bets.items():
        data, _ = bet._repr_mimebundle_()
        visible = re.sub(r"<(script|style).*?</\1>", "", fragment(bet, "here"), flags=re.DOTALL)
        told = [data["text/markdown"], data["text/plain"], html.unescape(visible), bet.alt]
        for text in told:
            for option, reason in bet.question.options.items():
                assert re.sub(r"[`*]", "", option) in re.sub(r"[`*]|<[^>]+>", "", text), (name, option)
                assert reason not in text, name
                assert reason.replace("*", "").replace("`", "") not in text, name
        written = fragment(bet, "here")  # and not even the page's source says it
        assert not [reason for reason in bet.question.options.values() if len(reason) > 20 and reason in written]


def test_a_page_folds_what_answers_a_bet():
    """Every cell that answers one is between the marks of its bet; in a page, inside of a folded part."""
    for path in LESSONS:
        cells, inside = nbformat.read(path, as_version=4).cells, ""
        for cell in with_folds(cells):
            if cell.cell_type == "raw":
                inside = cell.source.strip("\ue000\ue001")
            assert (REVEAL in cell.metadata.get("tags", ())) <= bool(inside)
        answered = [bet_of(cell) for at, cell in enumerate(cells) if bet_of(cell) and list(span(cells, at))]
        assert [c.source.strip("\ue000") for c in with_folds(cells) if c.source.startswith("\ue000")] == answered
    page = lesson_page(nbformat.read(LESSONS[1], as_version=4), {}, NOTEBOOKS)
    folded = re.findall(r'<details class="after-bet" data-bet="01[^"]+">.*?</details>', page, re.DOTALL)
    assert (
        sum(text.count("celltag_" + REVEAL) for text in folded) == page.count("celltag_" + REVEAL) >= len(folded) == 4
    )
    assert "\n140\n" in folded[0]
    assert "\n140\n" not in page.replace(folded[0], "")
    assert "\ue000" not in page

"""A bet in a page: by keyboard, kept by the browser, and what answers it stays folded until then."""

import json
import re

import nbformat
import pytest

from dynconv.lessons.bets import FILE, QUESTIONS
from dynconv.lessons.site.bets import REVEAL
from dynconv.lessons.site.build import index_page, lesson_page
from dynconv.lessons.site.execute import NOTEBOOKS
from dynconv.lessons.views import Bet, Progress
from dynconv.lessons.views.pages import fragment
from tests.browser.instruments import in_page, opened
from tests.browser.lab import Lesson

pytestmark = pytest.mark.browser
KEPT = "JSON.parse(localStorage.getItem('dynconv progress') || '{}')"


def visible(tab):
    return tab.locator("body").inner_text()


def found_in_the_store(tab, text):
    """Loads the page anew with the text in its store. Set from the old page, it could come too late for the new one."""
    tab.add_init_script(f"localStorage.setItem('dynconv progress', {json.dumps(text)})")
    tab.reload()


def holds_after_reload(tab, told):
    """Loads the page anew until it is so: what the old page wrote can reach the browser's store a moment later."""
    for _ in range(10):
        tab.reload()
        if told():
            return True
        tab.wait_for_timeout(200)
    return False


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_by_keyboard_the_answer_opens_after_the_bet_and_not_before(chromium, tmp_path, width, scheme):
    options = {"viewport": {"width": width, "height": 700}, "color_scheme": scheme}
    with opened(chromium, tmp_path, Bet("02.how-many"), **options) as (tab, root):
        before, question = visible(tab), QUESTIONS["02.how-many"]
        assert not [reason for reason in question.options.values() if re.sub(r"[`*]", "", reason) in before]
        group = root.get_by_role("group")  # a fieldset, which its legend names
        assert "how many convolutions must you compute" in group.locator("legend").inner_text()
        assert group.get_by_role("radio").count() == 3
        assert root.locator(".dc-summary").get_attribute("aria-live") == "polite"
        root.get_by_role("button", name="Bet").press("Enter")  # nothing is chosen: the focus goes there
        assert tab.evaluate("document.activeElement.type") == "radio"
        assert tab.evaluate("model.get('bet')") == ""
        tab.keyboard.press("ArrowDown")  # to choose is not to bet yet
        assert visible(tab) == before
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        chosen = Bet("02.how-many").options[1]
        assert tab.evaluate("model.get('bet')") == chosen
        said = root.locator(".dc-summary").inner_text()
        assert said.startswith(f"You bet: {chosen}.")
        assert "Right is: One. The weights can go into the kernel" in said
        assert root.locator("label.dc-right").inner_text().startswith("One")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert root.get_by_role("radio", disabled=True).count() == 3
        assert tab.evaluate(KEPT)["bets"] == {"02.how-many": {"option": chosen, "right": False}}
        assert holds_after_reload(tab, lambda: root.locator(".dc-summary").inner_text() == said)
        root.get_by_role("button", name="Bet again").press("Enter")
        assert visible(tab) == before
        assert tab.evaluate(KEPT)["bets"] == {}


@pytest.mark.parametrize("text", ["{", "null", "[]", '{"version": 2}', '{"version": 1, "read": 1, "bets": null}'])
def test_something_else_in_the_browsers_store_stops_nothing(chromium, tmp_path, text):
    with opened(chromium, tmp_path, Bet("02.how-many")) as (tab, root):
        found_in_the_store(tab, text)
        root.get_by_label("One", exact=True).check()
        root.get_by_role("button", name="Bet").press("Enter")
        assert root.locator(".dc-summary").inner_text().startswith("You bet: One. Right:")
        assert tab.evaluate(KEPT)["bets"] == {"02.how-many": {"option": "One", "right": True}}


def test_a_browser_that_keeps_nothing_takes_bets_too(chromium, tmp_path):
    with opened(chromium, tmp_path, Bet("02.how-many")) as (tab, root):
        tab.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})")
        tab.reload()
        root.get_by_label("One", exact=True).check()
        root.get_by_role("button", name="Bet").press("Enter")
        assert root.locator(".dc-summary").inner_text().startswith("You bet: One. Right:")


def test_the_first_guess_comes_back_in_lesson_11(chromium, tmp_path):
    with opened(chromium, tmp_path, Bet("11.first-guess")) as (tab, root):
        assert root.locator(".dc-summary").inner_text().startswith("In lesson 00 you made no bet.")
        guess = QUESTIONS["00.first-guess"]
        option = next(iter(guess.options))
        bets = {"00.first-guess": {"option": option, "right": None}}
        found_in_the_store(tab, json.dumps({"version": 1, "read": {}, "bets": bets}))
        assert root.locator(".dc-summary").inner_text().startswith(f"In lesson 00 you bet: {option}. And now?")
        root.get_by_label("Neither").check()
        root.get_by_role("button", name="Bet").press("Enter")
        said = root.locator(".dc-summary").inner_text()
        assert said.startswith(
            f"In lesson 00 you bet: {option}. You bet: Neither: one ordinary convolution in disguise. Right:"
        )


def test_a_lessons_page_opens_what_answers_a_bet_and_the_index_counts(chromium, tmp_path):
    path = NOTEBOOKS / "02_softmax_mixing.ipynb"
    notebook, fragments = nbformat.read(path, as_version=4), {}
    for cell in notebook.cells:
        if name := re.search(r'^Bet\("([^"]+)"', cell.source, re.MULTILINE):
            place = f"words-{len(fragments) + 1}"
            cell.outputs = [
                nbformat.v4.new_output("display_data", {"text/html": f'<div data-instrument="{place}"></div>'})
            ]
            fragments[place] = fragment(Bet(name[1]), place)
    (tmp_path / "02.html").write_text(lesson_page(notebook, fragments, NOTEBOOKS), encoding="utf-8")
    (tmp_path / "index.html").write_text(index_page([]), encoding="utf-8")
    context = chromium.new_context(offline=True)
    tab = context.new_page()
    tab.goto((tmp_path / "02.html").as_uri())
    first = tab.locator("details[data-bet='02.how-many']")
    assert not first.evaluate("e => e.open")
    assert "largest difference" not in visible(tab)
    card = tab.locator(".dynconv").first
    card.get_by_label("One", exact=True).check()
    card.get_by_role("button", name="Bet").press("Enter")
    assert first.evaluate("e => e.open")
    assert "largest difference" in visible(tab)
    assert tab.locator("details.after-bet[open]").count() == 1
    assert holds_after_reload(tab, lambda: first.evaluate("e => e.open"))
    tab.goto((tmp_path / "index.html").as_uri())
    assert f"1 of {len(QUESTIONS)} bets made, 1 of them right" in tab.locator("#progress").inner_text()
    tab.get_by_role("button", name="Forget it").press("Enter")
    assert tab.locator("#progress").is_hidden()
    tab.goto((tmp_path / "02.html").as_uri())
    assert not first.evaluate("e => e.open")
    context.close()


def test_progress_adds_what_the_file_and_the_browser_remember_and_forgets_both(chromium, tmp_path):
    rows = in_page(
        chromium,
        "progress",
        "return m.progressRows(d, {bets: {'01.a': {right: true}, '01.b': {right: true}}});",
        {
            "lessons": [{"number": "01", "bets": ["01.a", "01.b", "01.c"], "exercises": ["01.x", "01.y"]}],
            "bets": {"01.b": {"right": False}},
            "solved": ["01.x"],
        },
    )
    assert rows == [{"number": "01", "bets": 3, "made": 2, "right": 1, "exercises": 2, "solved": 1}]
    with opened(chromium, tmp_path, Progress(folder=tmp_path)) as (tab, root):
        kept = {"version": 1, "read": {}, "bets": {"02.how-many": {"option": "One", "right": True}}}
        text = json.dumps(json.dumps(kept))  # before the new page's own scripts: a reload can be sooner than the store
        tab.add_init_script(f"localStorage.setItem('dynconv progress', {text})")
        tab.reload()
        said = root.locator(".dc-summary")
        assert said.inner_text().startswith(f"You made 1 of {len(QUESTIONS)} bets, 1 of them right, and solved 0 of ")
        button = root.get_by_role("button")
        button.press("Enter")
        assert button.inner_text() == "Really? Press again"
        assert said.inner_text().startswith("You made 1 of")
        button.press("Enter")
        assert said.inner_text().startswith("You made 0 of")
        assert tab.evaluate("localStorage.getItem('dynconv progress')") is None


def test_in_jupyterlab_a_bet_is_kept_beside_the_notebook_and_its_answer_hidden_until_its_cell_runs(chromium, lab):
    answer = nbformat.v4.new_code_cell("print('the answer')")
    answer.outputs = [nbformat.v4.new_output("stream", text="the answer\n")]
    answer.metadata.update(tags=[REVEAL], jupyter={"outputs_hidden": True})
    bet = nbformat.v4.new_code_cell('from dynconv.lessons.views import Bet\n\nBet("02.how-many")')
    notebook = nbformat.v4.new_notebook(cells=[bet, answer])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    folder = lab.served / "notebooks"
    nbformat.write(notebook, folder / "a_bet.ipynb")
    lesson = Lesson(chromium, lab, "a_bet.ipynb")
    output = lesson.page.locator(".jp-OutputArea-output").get_by_text("the answer", exact=True)
    assert output.count() == 0 or not output.is_visible()
    lesson.run_all()
    assert output.is_visible()  # whoever runs it sees it
    card = lesson.page.locator(".dynconv")
    card.get_by_label("One", exact=True).focus()
    lesson.page.keyboard.press("Space")
    lesson.page.keyboard.press("Tab")
    lesson.page.keyboard.press("Enter")
    card.get_by_text("You bet: One. Right:").wait_for()
    lesson.page.wait_for_timeout(1000)  # until the kernel has written
    assert json.loads((folder / FILE).read_text(encoding="utf-8"))["bets"] == {"02.how-many": "One"}
    assert lesson.kernel("from dynconv.lessons.views import Bet; print(Bet('02.how-many').bet)") == "One\n"
    assert not lesson.errors
    lesson.close()
    (folder / FILE).unlink()

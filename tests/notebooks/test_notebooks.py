"""Every lesson: its anatomy as committed, its exercises, and a full run in a fresh kernel."""

import ast
import re
import statistics

import nbformat
import pytest

from dynconv.lessons.exercises import EXERCISES, check
from dynconv.lessons.site.bets import bet_of
from dynconv.lessons.site.execute import NOTEBOOKS, WIDGET, execute
from tests.browser.lab import find_chromium

LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))
BOOTSTRAP = """import sys
from importlib.util import find_spec
from pathlib import Path
from subprocess import run

pip = "-m pip install -q --no-deps git+{address}@v{version}"
sys.path[:0] = [str(Path("..").resolve())] if Path("../dynconv/lessons").is_dir() else []  # a clone's own comes first
said = getattr(find_spec("dynconv"), "origin", None) or run([sys.executable, *pip.split()], capture_output=True)
there = getattr(find_spec("dynconv"), "origin", None)  # a folder that is only called dynconv has none
assert there, f"pip failed (no network? address not set by run.py publish?): {{said.stderr.decode(errors='replace')}}"
assert Path(there).with_name("lessons").is_dir(), f"{{there}} is another dynconv: move it away, restart the kernel"
from dynconv.lessons.ready import ready

ready()"""


@pytest.fixture(params=LESSONS, ids=lambda p: p.stem)
def path(request):
    return request.param


@pytest.fixture
def is_lesson(path):
    """00 and 11 open and close the course: shorter, with less to predict and to solve."""
    return path.stem[:2] not in ("00", "11")


@pytest.fixture
def lesson(path):
    return nbformat.read(path, as_version=4)


def code_cells(lesson):
    return [c for c in lesson.cells if c.cell_type == "code"]


def test_lessons_are_there():
    assert [p.stem[:2] for p in LESSONS] == [f"{n:02}" for n in range(13)]


def test_cells_are_short(lesson, is_lesson):
    lengths = [len([line for line in c.source.splitlines() if line.strip()]) for c in code_cells(lesson)]
    assert (35 if is_lesson else 15) <= len(lesson.cells) <= 60
    assert max(lengths) <= 12
    assert statistics.median(lengths) <= 5


def words(prose):
    """How many a reader cannot skip: folded answers, formulas, tables, headings and addresses do not count."""
    for aside in (r"<details>.*?</details>", r"\$\$.*?\$\$", r"(?m)^[|#].*$", r"\]\([^)]*\)"):
        prose = re.sub(aside, "", prose, flags=re.DOTALL if "?" in aside else 0)
    return len([word for word in prose.split() if re.search(r"\w", word)])


def test_prose_between_code_is_short(lesson):
    prose = ""
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            prose += "\n" + cell.source
        else:
            assert words(prose) <= 80, f"{words(prose)} words before: {cell.source.splitlines()[0]}"
            prose = ""


def test_anatomy(lesson, is_lesson):
    text = "\n".join(c.source for c in lesson.cells if c.cell_type == "markdown")
    for part in ("**You will be able to**", "minutes. You need", "## Recap", "## References", "With your hands"):
        assert part in text, part
    assert sum(bool(bet_of(c)) for c in lesson.cells) >= (3 if is_lesson else 1)
    assert text.count("**What happened.**") >= (3 if is_lesson else 1)
    assert (
        text.count("### Exercise")
        == text.count("<summary>Hint 2</summary>")
        == text.count("<summary>Solution</summary>")
        >= (2 if is_lesson else 1)
    )


def test_stored_outputs_can_be_read_without_a_kernel(path, lesson, is_lesson):
    assert "widgets" not in lesson.metadata
    assert path.stat().st_size <= 1.5e6
    outputs = [o for c in code_cells(lesson) for o in c.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert not [o for o in outputs if WIDGET in o.get("data", {})]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= (3 if is_lesson else 1)
    for picture in pictures:
        assert len(picture.metadata["image/png"]["alt"]) > 20


def test_voila_inside_of_a_server_can_show_it(lesson):
    """It fails on any picture in Markdown's own form."""
    assert not [c.source for c in lesson.cells if c.cell_type == "markdown" and re.search(r"!\[[^\]]*\]\(", c.source)]


def test_every_instrument_leaves_a_still(lesson):
    for cell in code_cells(lesson):
        if re.search(
            r"^(\w+View\(|Trace\(|SimplexMap\(|TimeMachine\(|TemperatureBench\(|mixer$|view.still)",
            cell.source,
            re.MULTILINE,
        ):
            assert any("image/png" in o.get("data", {}) for o in cell.outputs), cell.source


def test_address_stands_in_one_place(lesson, project):
    address = project["project"]["urls"]["Repository"]
    assert code_cells(lesson)[0].source == BOOTSTRAP.format(address=address, version=project["project"]["version"])
    slug = address.removeprefix("https://github.com/")
    assert f"https://colab.research.google.com/github/{slug}/blob/main/notebooks/" in lesson.cells[0].source


def test_folded_solutions_pass_their_checks(lesson):
    asked = [m for c in code_cells(lesson) for m in re.findall(r'^check\("([\w.]+)", (\w+)\)', c.source, re.MULTILINE)]
    solutions = [
        s for c in lesson.cells for s in re.findall(r"Solution</summary>\s*```python\n(.*?)```", c.source, re.DOTALL)
    ]
    functions = {function: name for name, function in asked}
    assert len(asked) >= len(solutions) >= 1
    for solution in solutions:
        namespace = {}
        exec("import torch\nimport torch.nn.functional as F\n" + solution, namespace)
        (function,) = [name for name in namespace if name in functions]
        assert check(functions[function], namespace[function]).passed


def test_stubs_ask_for_the_solutions_arguments(lesson):
    for cell in code_cells(lesson):
        for name, function in re.findall(r'^check\("([\w.]+)", (\w+)\)', cell.source, re.MULTILINE):
            stub = next(
                n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.FunctionDef) and n.name == function
            )
            assert len(stub.args.args) == len(EXERCISES[name].cases()[0])


def test_links_lead_somewhere(lesson):
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+)\)", cell.source):
                assert target.startswith("https://") or (NOTEBOOKS / target).exists(), target


@pytest.mark.notebooks
def test_runs_from_a_fresh_kernel(path, request):
    in_browser = find_chromium() and "not browser" not in request.config.option.markexpr
    if in_browser and not path.stem.startswith(("00", "10")):
        pytest.skip("the browser tests run it, from a fresh kernel as well")
    notebook = execute(path).notebook
    assert all(c.execution_count for c in code_cells(notebook))

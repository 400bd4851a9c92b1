"""README: its commands, links, example and numbers are the ones of the repository."""

import re
from pathlib import Path

import torch

from dynconv.lessons.tables import mean_and_std, read
from experiments.evidence.table import summarise

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COLUMNS = (("static", "", ""), ("mix", "4", "1"), ("static-parameters", "", ""), ("dynamic", "4", "30-1"))


def test_readme_and_ci_use_the_two_commands():
    ci = (ROOT / ".ci" / "run").read_text()
    assert "\n    python run.py lab\n" in README
    assert "\n    python run.py test\n" in README
    assert ci.rstrip().endswith("python3 run.py test")


def test_readme_links_lead_somewhere():
    for page in [
        *ROOT.glob("*.md"),
        *(p for room in ("data", "experiments", "tests") for p in (ROOT / room).rglob("*.md")),
    ]:
        text = page.read_text(encoding="utf-8")
        headings = {
            re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)", text, re.M)
        }
        for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text):
            place, _, anchor = target.partition("#")
            assert place.startswith("https://") or (page.parent / place).exists(), f"{page} links to {target}"
            assert place or anchor in headings, f"{page} links to {target}"


def test_the_readmes_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names: dict = {}
    exec(code, names)
    assert type(names["plain"].layer1[0].conv1) is torch.nn.Conv2d
    assert len([line for line in code.partition("\n\n")[2].splitlines() if line.strip()]) <= 10  # beside the imports


def test_its_first_screen_has_the_command_the_badge_and_the_moving_picture():
    first = README.partition("\n## ")[0]
    places = [
        first.index(part)
        for part in ("In two sentences", "    python run.py lab\n", "open-in-colab.svg", "moving.webp")
    ]
    assert places == sorted(places)
    assert (ROOT / "notebooks" / "images" / "moving.webp").stat().st_size <= 2e6


def _table(heading, text=README):
    """The rows below a line that starts with `heading`, as lists of words without emphasis."""
    lines = text[text.index(heading) :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| ---")) + 1
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip(" *`") for cell in line.strip("|").split("|")])
    return rows


def test_its_evidence_is_the_kept_one():
    kept = summarise(read(ROOT / "experiments" / "runs.csv"))
    tasks = {"digits in clutter": "clutter"}
    for name, *cells in _table("**Does it pay?**"):
        task = tasks.get(name, name.split(":")[0])
        found = [kept[(task, *column)] for column in COLUMNS]
        assert cells == ["{:.4f} ± {:.4f}".format(*mean_and_std(seeds, "test_loss")) for seeds in found]
    page = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    closed = {row[0]: row[-1].lstrip("-") for row in _table("## restoration", page)}
    said = re.search(r"K = 4 at T = 1 goes (.*?), the\s+softmax mix (.*?)\.", README).groups()
    assert said == (closed["dynamic, K = 4, T = 1"], closed["mix, K = 4, T = 1"])


def test_its_speed_is_the_measured_one():
    page = (ROOT / "experiments" / "speed.md").read_text(encoding="utf-8")
    columns = {"`dynamic_conv`": "auto", "the grouped-convolution trick": "one grouped convolution"}
    columns |= {"timm's CondConv2d": "timm", "K convolutions, then mix": "outputs"}
    said = README[README.index("**What does it cost?**") :]
    asked = [columns[cell.strip()] for cell in said[said.index("\n| | ") :].splitlines()[1].strip("|").split("|")[1:]]
    single = []
    for direction, *cells in _table("**What does it cost?**"):
        part = page[page.index(f"**{direction}**:") :]
        names = [cell.strip() for cell in part[part.index("\n| B × C") :].splitlines()[1].strip("|").split("|")]
        (means,) = [row for row in _table(f"**{direction}**:", page) if row[0] == "geometric mean"]
        assert cells == [means[names.index(name)] for name in asked]
        single.append(means[names.index("one kernel, native")])
    assert "by the same C++ takes {} and {}".format(*single) in README
    shapes = [row[2] for way in ("forward", "forward and backward") for row in _table(f"**{way}**:", page)]
    low, high = (f"{end(map(float, shapes)):.1f}" for end in (min, max))
    assert f"from {low} to {high}." in README


def test_its_instruments_are_the_measured_ones():
    rows = _table("# How fast", (ROOT / "experiments" / "instruments.md").read_text(encoding="utf-8"))
    ours = [float(row[3]) for row in rows if row[1] != "interact + matplotlib"]
    (usual,) = [float(row[3]) for row in rows if row[1] == "interact + matplotlib"]
    said = re.search(r"(\d+) to (\d+) ms, median of 40;.*?(\d+) ms", README, re.S).groups()
    assert [f"{ms + 0.01:.0f}" for ms in (min(ours), max(ours), usual)] == list(said)

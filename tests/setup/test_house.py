"""The order of the rooms: each imports only from those above it, and no function hides the module it stands in."""

import ast
import importlib
import pkgutil
from collections import defaultdict
from pathlib import Path

import dynconv

ROOT = Path(__file__).resolve().parents[2]
# whoever stands lower may import what stands higher; of two in one line neither knows the other
CORE = [("native",), ("functional",), ("layers",), ("cost",), ("surgery", "probe"), ("schedule",)]
LESSONS = [
    ("lessons.packages", "lessons.systems", "lessons.suspects", "lessons.by_lesson"),
    ("lessons.data", "lessons.figures", "lessons.tables"),
    ("lessons.networks", "lessons.localisation", "lessons.translation"),
    ("lessons.tasks", "lessons.bets"),
    ("lessons.train", "lessons.exercises"),
    ("lessons.views",),
    ("lessons.ready", "lessons.site"),
    ("lessons.teach", "lessons.__main__"),
]
FLOORS = {room: floor for floor, rooms in enumerate(CORE + LESSONS) for room in rooms}


def room_of(module):
    """The room of a dotted name inside dynconv; "" for the package's own face."""
    parts = module.split(".")[1:]
    return ".".join(parts[: 2 if parts[:1] == ["lessons"] else 1])


def imports(path):
    """Dotted names inside this project that a file imports, relative ones resolved."""
    here = path.relative_to(ROOT).with_suffix("").parts
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if (
            isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        ):  # names for types: nothing is imported
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(here[: -node.level]) if node.level else []
            base += node.module.split(".") if node.module else []
            for name in node.names:
                whole = ROOT.joinpath(*base, name.name)
                module = whole.is_dir() or whole.with_suffix(".py").exists()
                yield ".".join([*base, name.name] if module else base)


def table():
    """room → rooms it imports from."""
    found = defaultdict(set)
    for path in sorted((ROOT / "dynconv").rglob("*.py")):
        room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if room in ("__init__", "lessons.__init__"):
            continue
        found[room] |= {room_of(name) for name in imports(path) if name.startswith("dynconv")} - {room, ""}
    return found


def test_every_room_imports_only_from_rooms_above_it():
    found = table()
    print(
        "\n"
        + "\n".join(f"{room:22} {', '.join(sorted(found[room])) or '–'}" for room in sorted(FLOORS, key=FLOORS.get))
    )
    assert set(found) == set(FLOORS), "a room has no place in the order"
    for room, others in found.items():
        for other in others:
            assert FLOORS[other] < FLOORS[room], f"{room} imports {other}"


def test_nothing_outside_the_lessons_imports_them_and_no_room_imports_the_experiments():
    for path in (ROOT / "dynconv").rglob("*.py"):
        for name in imports(path):
            assert name.split(".")[0] not in ("experiments", "tests"), f"{path} imports {name}"
            inside = path.is_relative_to(ROOT / "dynconv" / "lessons")
            assert inside or not name.startswith("dynconv.lessons"), f"{path} imports {name}"


def test_no_two_files_of_a_room_import_each_other():
    edges = {}
    for path in (ROOT / "dynconv").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        edges[name] = {other for other in imports(path) if other.startswith("dynconv") and other != name}
    done, now = set(), []

    def visit(name):
        assert name not in now, f"a circle: {' → '.join([*now[now.index(name) :], name])}"
        if name in done or name not in edges:
            return
        now.append(name)
        for other in sorted(edges[name]):
            visit(other)
        now.pop()
        done.add(name)

    for name in sorted(edges):
        visit(name)


def test_no_function_hides_the_module_it_stands_in():
    for found in pkgutil.walk_packages(dynconv.__path__, "dynconv."):
        if found.name.rpartition(".")[2] == "__main__":
            continue
        module = importlib.import_module(found.name)
        parent, _, own = found.name.rpartition(".")
        assert getattr(importlib.import_module(parent), own) is module, f"{found.name} is hidden by a name of {parent}"


def code_lines(path):
    """Lines that are neither blank nor a comment nor of a docstring."""
    text = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = (node.body[0] for node in ast.walk(ast.parse(text)) if isinstance(node, documented) and node.body)
    strings = [s for s in first if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)]
    prose = {line for s in strings for line in range(s.lineno, s.end_lineno + 1)}
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in prose for n, line in lines)


def test_the_core_stays_small():
    files = [p for p in (ROOT / "dynconv").rglob("*.py") if "lessons" not in p.parts]
    total = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    code = sum(map(code_lines, files))
    print(f"\nthe core: {total} lines, {code} of code")
    assert code < 6500
    assert code - sum(code_lines(p) for p in files if p.name.startswith("gpu")) < 6150  # without a GPU's programs

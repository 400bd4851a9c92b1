"""Every lesson as a page for any browser, the playground, and the reference: python -m dynconv.lessons.site [--out FOLDER] [LESSON ...]"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import metadata
from pathlib import Path

from ..views import Playground
from ..views.pages import fragment
from .build import index_page, instrument_page, lesson_body, lesson_page, title_of
from .execute import NOTEBOOKS, execute
from .frame import Lesson, lesson_of, search_page, sections
from .reference import write_reference

LARGEST = 5e6  # bytes a page
PRESETS: dict[str, dict[str, object]] = {
    "One kernel": {"num_kernels": 1},
    "Cooled, as in the paper": {"cooling": True},
    "Nothing shows which": {"task": "shifts"},
}


def main(argv: list[str] | None = None) -> int:
    """Execute the lessons, write one HTML file each, the playground, the reference and an index; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dynconv.lessons.site", description=__doc__)
    parser.add_argument("--out", default="site", type=Path, help="folder to write into (default: site)")
    parser.add_argument("lessons", nargs="*", help="starts of names, such as 05 (default: all)")
    args = parser.parse_args(argv)
    wanted = tuple(args.lessons) or ("",)
    paths = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.stem.startswith(wanted)]
    if not paths:
        parser.error(f"no lesson starts with {' or '.join(map(repr, wanted))}")
    args.out.mkdir(parents=True, exist_ok=True)
    lessons, address = [lesson_of(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))], repository()
    shutil.copytree(NOTEBOOKS / "images", args.out / "images", dirs_exist_ok=True)
    entries, opening = [], ""
    for path in paths:
        notebook, seconds, fragments = execute(path, live=True)
        target = args.out / f"{path.stem}.html"
        page = lesson_page(notebook, fragments, path.parent, lessons, target.name, address)
        target.write_text(page, encoding="utf-8")
        entries += sections(target.name, title_of(notebook), lesson_body(notebook, path.parent, address))
        if not opening or path.stem.startswith("00"):
            opening = fragments.get("instrument-1", "")  # of lesson 00: the question as one figure
        size = target.stat().st_size
        print(f"{target}: {len(fragments)} instruments, {size / 1e6:.2f} MB, {seconds:.0f} s", flush=True)
        if size > LARGEST:
            print(f"{target} is larger than {LARGEST / 1e6:.0f} MB", file=sys.stderr)
            return 1
    playground = args.out / "playground.html"
    playground.write_text(playground_page(lessons, address), encoding="utf-8")
    print(f"{playground}: {playground.stat().st_size / 1e6:.2f} MB", flush=True)
    (args.out / "search.html").write_text(search_page(entries, lessons, address), encoding="utf-8")
    (args.out / "index.html").write_text(index_page(lessons, opening, address), encoding="utf-8")
    status = write_reference(args.out / "reference")
    print(f"{args.out / 'reference' / 'index.html'}: every public name of dynconv", flush=True)
    print(f"Open {(args.out / 'index.html').resolve()} in a browser.", flush=True)
    return status


def repository() -> str:
    """The address that the package was published from."""
    urls = metadata("dynconv").get_all("Project-URL") or []
    return next((url.partition(", ")[2] for url in urls if url.startswith("Repository, ")), "")


def playground_page(lessons: Sequence[Lesson], address: str) -> str:
    """The playground's own page."""
    words = (
        "Photos arrive damaged in one of four ways, and nobody says which. Three networks learn to restore them: a plain "
        "convolution, a softmax mix of K, and a dynamic convolution. Press Play; then take the difference away that can be "
        "seen between the damages, and see who wins."
    )
    opened = fragment(Playground(experiments=PRESETS), "playground")
    return instrument_page("Playground", words, opened, lessons, address, "playground.html")


if __name__ == "__main__":
    sys.exit(main())

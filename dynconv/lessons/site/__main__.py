"""Every lesson as a page for any browser, and the reference: python -m dynconv.lessons.site [--out FOLDER] [LESSON ...]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .build import index_page, lesson_page, title_of
from .execute import NOTEBOOKS, execute
from .reference import write_reference

LARGEST = 5e6  # bytes a page


def main(argv: list[str] | None = None) -> int:
    """Execute the lessons, write one HTML file each, the reference and an index; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dynconv.lessons.site", description=__doc__)
    parser.add_argument("--out", default="site", type=Path, help="folder to write into (default: site)")
    parser.add_argument("lessons", nargs="*", help="starts of names, such as 05 (default: all)")
    args = parser.parse_args(argv)
    wanted = tuple(args.lessons) or ("",)
    paths = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.stem.startswith(wanted)]
    if not paths:
        parser.error(f"no lesson starts with {' or '.join(map(repr, wanted))}")
    args.out.mkdir(parents=True, exist_ok=True)
    titles, opening = [], ""
    for path in paths:
        notebook, seconds, fragments = execute(path, live=True)
        page = lesson_page(notebook, fragments, path.parent)
        target = args.out / f"{path.stem}.html"
        target.write_text(page, encoding="utf-8")
        titles.append((target.name, title_of(notebook)))
        if path.stem.startswith("00"):
            opening = next(iter(fragments.values()))  # the question as one figure
        size = target.stat().st_size
        print(f"{target}: {len(fragments)} instruments, {size / 1e6:.2f} MB, {seconds:.0f} s", flush=True)
        if size > LARGEST:
            print(f"{target} is larger than {LARGEST / 1e6:.0f} MB", file=sys.stderr)
            return 1
    words = (
        "Learn, with your hands, what makes a convolution dynamic. Open a lesson: its instruments work in this page."
    )
    (args.out / "index.html").write_text(index_page(titles, words, opening), encoding="utf-8")
    status = write_reference(args.out / "reference")
    print(f"{args.out / 'reference' / 'index.html'}: every public name of dynconv", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())

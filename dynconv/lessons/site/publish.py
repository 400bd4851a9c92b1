"""python run.py publish [owner/name]: the repository's address, wherever it is shown, and what to switch on afterwards.

Standard library only, and nothing of dynconv: it runs before anything is installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[3]
REMOTE = re.compile(r"^(?:https?://(?:[^@/]+@)?|ssh://git@|git@)github\.com[/:](.+?)(?:\.git)?/?$")
OWNED = re.compile(r"(?!-)[A-Za-z0-9-]{1,39}(?<!-)/(?!\.{1,2}$)[\w.-]{1,100}", re.ASCII)
PLACEHOLDER = "set_owner/dynconv"
KINDS = (".cff", ".ipynb", ".json", ".md", ".py", ".toml", ".yml", ".yaml")
AFTERWARDS = """
Commit that, then, on the code host:
  1. push, and push the tag that the lessons' first cells install:  git tag {tag} && git push origin HEAD {tag}
  2. Settings → Pages → Source: GitHub Actions. The lessons are then at {pages}
  3. Settings → Code security → Private vulnerability reporting: on (SECURITY.md sends people there).
The Colab badges work as soon as main is pushed. The workflows in .github/ test every push and publish every push to main;
a fork's pages lead to the fork."""


def main(arguments: list[str]) -> int:
    """Stamp the address into every file that shows it; the exit status."""
    if len(arguments) > 1:
        sys.exit(f"Give one repository as owner/name, or none for that of the git remote; got {' '.join(arguments)!r}")
    new = checked(arguments[0]) if arguments else of_remote()
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    old = one(r'Repository = "https://github.com/([^"]+)"', project)
    tag = "v" + one(r'^version = "([^"]+)"', project)
    texts = {path: path.read_text(encoding="utf-8") for path in files()}
    for path, text in texts.items():  # pyproject.toml, asked for the old address, comes last: it can be repeated
        if (stamped := stamp(text, old, new, tag)) != text:
            path.write_text(stamped, encoding="utf-8", newline="\n")
            print(f"{path.relative_to(ROOT).as_posix()}: {old} → {new}")
            texts[path] = stamped
    left = [path.relative_to(ROOT).as_posix() for path, text in texts.items() if PLACEHOLDER in text]
    if left and new != PLACEHOLDER:
        sys.exit(f"The placeholder {PLACEHOLDER} is still in {', '.join(left)}")
    owner, name = new.split("/")
    host = f"{owner.lower()}.github.io"
    pages = f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"
    print(
        f"Every link, badge and first cell leads to https://github.com/{new}.{AFTERWARDS.format(tag=tag, pages=pages)}"
    )
    return 0


def checked(address: str) -> str:
    """owner/name as GitHub admits it, also of a whole address."""
    whole = REMOTE.match(address)
    slug = (whole[1] if whole else address).removesuffix(".git")
    if not OWNED.fullmatch(slug):
        sys.exit(f"Give the repository as owner/name, for example: python run.py publish ada/dynconv (got {address!r})")
    return slug


def of_remote() -> str:
    """owner/name of the git remote: origin's if there is one, else that of the first."""
    git = ["git", "-C", str(ROOT), "remote"]
    try:
        names = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split()
        name = "origin" if "origin" in names else names[0]
        address = subprocess.run([*git, "get-url", name], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        sys.exit("There is no git remote to read the address from: python run.py publish owner/name")
    if not REMOTE.match(address):
        sys.exit(
            f"The remote {name} is {address}: Colab's badges and these workflows know repositories on github.com. "
            "For another one: python run.py publish owner/name"
        )
    return checked(address)


def files() -> list[Path]:
    """Every text file of the checkout that may show the address, pyproject.toml last; tests say what they mean."""
    folders = ("dynconv", "notebooks", "experiments", "data", ".github", ".binder", ".devcontainer")
    inside = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    found = {
        p for p in (*ROOT.glob("*"), *inside) if p.suffix in KINDS and p.is_file() and p != Path(__file__).resolve()
    }
    return sorted(found, key=lambda path: (path.name == "pyproject.toml", path))


def stamp(text: str, old: str, new: str, tag: str) -> str:
    """The text with the new address, and with the tag wherever pip fetches it; links to its pages too."""
    text = re.sub(
        rf"(github\.com/|/github/|githubusercontent\.com/){re.escape(old)}(?![\w.-]*[\w-])", rf"\g<1>{new}", text
    )
    return re.sub(rf"(git\+https://github\.com/{re.escape(new)})(?:@[\w.-]+)?(?=[\s\"'\\])", rf"\g<1>@{tag}", text)


def one(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        sys.exit(f"pyproject.toml has no line like {pattern}")
    return found[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

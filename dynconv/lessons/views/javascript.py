"""The instruments' JavaScript and CSS as one text each: a widget's code cannot import files that lie beside it.

A bundler such as esbuild would need Node, or a binary of its own, before the first lesson opens, or bundles kept in the
repository beside their sources, where an edited file would not be what is shown. The modules here need little: named
imports of files beside them, ``export const``, ``export *``, one ``export default``, and the address of a worker beside
them, ``new URL("./name.js", import.meta.url)``. That little is joined below, and whatever else is an error.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

__all__: list[str] = []

HERE = Path(__file__).parent / "js"
# lines that are nothing else, and indentation: a quarter of these files, which every page has once an instrument
COMMENT, INDENT = re.compile(r"^[ \t]*//.*\n", re.MULTILINE), re.compile(r"^[ \t]+", re.MULTILINE)
CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
EXPORT = re.compile(r"^export (?=const (\w+) =)", re.MULTILINE)
IMPORT = re.compile(r'^(?:import \{([^}]*)\}|export \*) from "\./(\w+)\.js";\n', re.MULTILINE)
WORKER = re.compile(r'\bnew URL\("\./(\w+)\.js", import\.meta\.url\)')
OTHER = re.compile(r"^(?:import|export)\b(?! const \w+ =| default ).*|\bimport(?:\(|\.meta\b).*", re.MULTILINE)


def bundle(name: str, starters: tuple[str, ...] = ()) -> str:
    """One ES module out of ``name``.js and the modules it imports, each once and after those it needs.

    Each imported module becomes a constant in a scope of its own, so that private names never meet. A worker's address
    becomes that of a blob that holds the worker's own bundle, as a classic script: a page that was opened from a file may
    start no other. ``starters`` are the modules whose worker this is.

    Raises:
        ImportError: a module imports what the other does not export, or in a circle, or in a way that is not understood.
    """
    if name in starters:
        raise ImportError(f"{name}.js starts itself as a worker: {' → '.join([*starters, name])}")
    exports: dict[str, list[str]] = {}
    parts: list[str] = []
    _add(name, (), exports, parts)

    def blob(found: re.Match[str]) -> str:
        script = re.sub(r"^export ", "", bundle(found[1], (*starters, name)), flags=re.MULTILINE)
        text = json.dumps(script).replace("<", "\\u003c")  # nothing in it can close a page's script
        return f'URL.createObjectURL(new Blob([{text}], {{ type: "text/javascript" }}))'

    return WORKER.sub(blob, "\n".join(parts))


def module(name: str) -> str:
    """What a widget's front end imports: the bundle of ``name``, which a page makes once, however often its cell runs again.

    Each widget brings its module with it, and a page keeps the code of every module it has imported for as long as it is open.
    """
    body, _, last = bundle(name).rpartition("\nexport default ")
    made = "const $make = () => {\n" + re.sub(r"^export ", "", body, flags=re.MULTILINE) + f"\nreturn {last}}};\n"
    key = hashlib.sha256(made.encode()).hexdigest()[:16]
    return f'{made}export default (globalThis.$dynconv ??= {{}})["{key}"] ??= $make();\n'


def _add(name: str, above: tuple[str, ...], exports: dict[str, list[str]], parts: list[str]) -> None:
    """Appends the module's text to ``parts`` and its names to ``exports``, after all modules that it imports.

    ``above`` are the modules that asked for it, the first of them the one that stays a module.
    """
    if name in above:
        raise ImportError(f"{name}.js imports itself: {' → '.join([*above, name])}")
    if name in exports:
        return
    text = INDENT.sub("", COMMENT.sub("", (HERE / f"{name}.js").read_text(encoding="utf-8")))
    if unknown := OTHER.search(WORKER.sub("", IMPORT.sub("", text))):
        raise ImportError(f"{name}.js: only named imports of files beside it can be joined, not {unknown[0]!r}")
    if above and re.search("^export default", text, re.MULTILINE):
        raise ImportError(f"{name}.js has a default export, so {above[-1]}.js cannot import it")
    own = EXPORT.findall(text)

    def join(found: re.Match[str]) -> str:
        wanted, other = found.groups()
        _add(other, (*above, name), exports, parts)
        if wanted is not None:
            return f"const {{ {_wanted(wanted, other, exports[other], name)} }} = ${other};\n"
        own.extend(exports[other])
        return f"{'' if above else 'export '}const {{ {', '.join(exports[other])} }} = ${other};\n"

    text = IMPORT.sub(join, text)
    if above:
        text = f"const ${name} = (() => {{\n{EXPORT.sub('', text)}return {{ {', '.join(own)} }};\n}})();\n"
    exports[name] = own
    parts.append(text)


def _wanted(names: str, other: str, there: list[str], name: str) -> str:
    """What stands between the braces of an import, as a destructuring has it."""
    pairs = [pair.split(" as ") for pair in re.split(r"[\s,]*,[\s,]*", names.strip(" \n,"))]
    if missing := [pair[0] for pair in pairs if pair[0] not in there]:
        raise ImportError(f"{name}.js imports what {other}.js does not export: {', '.join(missing)}")
    return ", ".join(": ".join(pair) for pair in pairs)


def styles(*names: str) -> str:
    """The instruments' shared style sheet, and after it NAME.css for each part that has rules of its own."""
    text = "\n".join((HERE / f"{part}.css").read_text(encoding="utf-8") for part in ("style", *names))
    return INDENT.sub("", CSS_COMMENT.sub("", text))

"""LaTeX in Markdown as MathML, which browsers show by themselves."""

from __future__ import annotations

import re

from latex2mathml.converter import convert

__all__ = ["with_mathml"]

CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$\w])\$(?P<inline>[^$\n]+?)\$(?![$\w])", re.DOTALL)


def with_mathml(markdown: str) -> str:
    r"""Markdown in which $…$ and $$…$$ are MathML elements; code stays as it is.

    Reference: https://www.w3.org/TR/mathml-core/

    Example:
        >>> with_mathml("`$x$` is $x$").startswith("`$x$` is <math"), "$" in with_mathml("$$y$$")
        (True, False)

    Args:
        markdown: a cell's source.
    """
    parts = CODE.split(markdown)  # text, code, text, …
    parts[::2] = [FORMULA.sub(_element, text) for text in parts[::2]]
    return "".join(parts)


def _element(found: re.Match) -> str:
    if found["block"] is not None:
        return f'<div class="formula" tabindex="0">{convert(found["block"].strip(), display="block")}</div>'
    return convert(found["inline"])

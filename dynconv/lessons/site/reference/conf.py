"""Sphinx's settings for the reference."""

from __future__ import annotations

import re

from docutils.nodes import Node, SkipNode, reference
from latex2mathml.converter import convert
from sphinx.util import inspect
from traitlets import HasTraits

project = html_title = "dynconv"
project_copyright = "The dynconv authors, MIT licence"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "code"

autodoc_default_options = {
    "members": True,
    "inherited-members": "Module, DOMWidget, Widget, HasTraits, HasDescriptors, Mapping, tuple, dict",
}
autodoc_inherit_docstrings = False  # torch's words about forward are not ours
autodoc_preserve_defaults = True
maximum_signature_line_length = 72
napoleon_custom_sections = ["Shape", "Returns", "Yields"]  # prose, with no type in front

html_theme = "furo"
html_theme_options = {"announcement": '<a href="../index.html">All lessons</a>'}
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"  # browsers show it by themselves, with no network

# Every name of this package must be found. Of others' packages only these have a page to go to.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(torch|collections|pathlib|numpy|ctypes|matplotlib|PIL)\..*"),
    ("py:exc", "TraitError"),
    ("py:class", r"Path|Device|Options|\w+\[str"),  # where an annotation stays text, as named tuples' do
]
TORCH = {
    "Tensor": "tensors.html#torch.Tensor",
    "nn.Module": "generated/torch.nn.Module.html",
    "torch.Tensor": "tensors.html#torch.Tensor",
    "torch.nn.Conv2d": "generated/torch.nn.Conv2d.html",
    "torch.nn.modules.conv.Conv2d": "generated/torch.nn.Conv2d.html",
    "torch.nn.modules.module.Module": "generated/torch.nn.Module.html",
}


def setup(app):
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.connect("autodoc-process-docstring", _with_stars)
    app.connect("autodoc-process-signature", _own_arguments)
    app.connect("missing-reference", _to_torch)
    app.connect("html-page-context", _by_keyboard)


def _inline(visitor, node: Node) -> None:
    visitor.body.append(convert(node.astext()))
    raise SkipNode


def _block(visitor, node: Node) -> None:
    visitor.body.append(f'<div style="overflow-x: auto" tabindex="0">{convert(node.astext(), display="block")}</div>')
    raise SkipNode


def _with_stars(app, what, name, thing, options, lines: list[str]) -> None:
    # (B, C, *S) is a shape: its star is no markup
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[number] = re.sub(r"``.*?``|(?<=[(\s])\*(?=\w+'?\))", lambda m: m[0] if m[0] != "*" else r"\*", line)


def _own_arguments(app, what, name, thing, options, signature: str, returns: str) -> tuple[str, str] | None:
    if what != "class" or not issubclass(thing, HasTraits):
        return None
    own = inspect.signature(thing.__init__, bound_method=True)  # not those of traitlets' __new__
    return inspect.stringify_signature(own, unqualified_typehints=True), returns


def _by_keyboard(app, page, template, context: dict, doctree) -> None:
    context["body"] = context.get("body", "").replace("<pre>", '<pre tabindex="0">')  # long lines scroll


def _to_torch(app, env, node: Node, content: Node) -> Node | None:
    page = TORCH.get(node["reftarget"])
    return page and reference("", "", content, refuri=f"https://docs.pytorch.org/docs/stable/{page}", internal=False)

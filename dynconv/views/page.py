"""An instrument as one self-contained HTML page: alive in any browser, with no kernel and no network."""

from __future__ import annotations

import html
import json
from pathlib import Path

from .instrument import Instrument

__all__ = ["page"]

# The page plays the kernel's part: a model that keeps the state and tells listeners, as ipywidgets' does.
HOST = (Path(__file__).parent / "host.js").read_text(encoding="utf-8")


def page(instrument: Instrument, title: str) -> str:
    """The HTML of a page that shows this instrument, in the state it is in now.

    Reference: the anywidget front-end module format, https://anywidget.dev/en/afm/

    The same module that JupyterLab and Colab run, with the state written into the page. What the instrument computes in
    the page keeps working; what it would ask Python for does not.

    Example:
        >>> import torch
        >>> from dynconv.views import Mixer
        >>> text = page(Mixer(torch.rand(8, 8), {"copy": torch.eye(3)}), "One kernel")
        >>> text.startswith("<!doctype html>"), "http://" in text or "src=" in text
        (True, False)

    Args:
        instrument: any of :mod:`dynconv.views`.
        title: of the page.
    """
    own = set(instrument.traits(sync=True)) - set(Instrument.__mro__[1].class_traits(sync=True))
    state = {name: getattr(instrument, name) for name in sorted(own)}
    written = json.dumps(state).replace("<", "\\u003c")  # text in the data cannot close the script
    module = instrument._esm.replace("export default", "const widget =")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>:root {{ color-scheme: light dark }}\n{instrument._css}</style></head>\n"
        f'<body><main id="instrument"></main>\n<script type="module">\n{module}\n'
        f"{HOST}\nhost(widget, {written}, document.getElementById('instrument'));\n</script></body></html>\n"
    )

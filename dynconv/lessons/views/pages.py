"""An instrument as one self-contained HTML page: alive in any browser, with no kernel and no network."""

from __future__ import annotations

import base64
import html
import json

from ..figures import Picture
from .instrument import Instrument
from .javascript import bundle

__all__ = ["fragment", "page"]

# The page plays the kernel's part: a model that keeps the state and tells listeners, as ipywidgets' does.
HOST = bundle("host").replace("export const", "const")


def page(instrument: Instrument, title: str) -> str:
    """The HTML of a page that shows this instrument, in the state it is in now.

    Reference: the anywidget front-end module format, https://anywidget.dev/en/afm/

    The same module that JupyterLab and Colab run, with the state written into the page. What the instrument computes in
    the page keeps working; what it would ask Python for does not.

    Example:
        >>> import re, torch
        >>> from dynconv.lessons.views import Mixer
        >>> text = page(Mixer(torch.rand(8, 8), {"copy": torch.eye(3)}), "One kernel")
        >>> text.startswith("<!doctype html>"), re.findall(r'(?:src|href)="(?!data:)', text)  # nothing to be fetched
        (True, [])

    Args:
        instrument: any of :mod:`dynconv.lessons.views`.
        title: of the page.
    """
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<style>:root { color-scheme: light dark }</style></head>\n"
        f"<body><main>{fragment(instrument, 'instrument')}</main></body></html>\n"
    )


def fragment(instrument: Instrument, place: str) -> str:
    """HTML that shows this instrument inside a larger page, in the state it is in now.

    Reference: https://anywidget.dev/en/afm/

    Example:
        >>> import torch
        >>> from dynconv.lessons.views import Mixer
        >>> '<div id="here">' in fragment(Mixer(torch.rand(8, 8), {"copy": torch.eye(3)}), "here")
        True

    Args:
        instrument: any of :mod:`dynconv.lessons.views`.
        place: id of the element it fills; one in the page.
    """
    own = set(instrument.traits(sync=True)) - set(Instrument.__mro__[1].class_traits(sync=True))
    state = {name: getattr(instrument, name) for name in sorted(own) if not name.startswith("_")}  # no second module
    still = instrument.still()
    state |= {"begun": "", "alt": still.alt if still else instrument.alt}
    state |= {name: instrument.traits()[name].default() for name in instrument.personal}
    standing_in = _standing_in(still) if still else instrument.in_words()
    written = json.dumps(state).replace("<", "\\u003c")  # text in the data cannot close the script
    module = instrument._esm.replace("export default", "const $main =")
    return (
        f'<style>{instrument._css}</style><div id="{place}">{standing_in}</div>\n<script type="module">\n{module}\n'
        f"{HOST}\nconst $place = document.getElementById({json.dumps(place)}), $still = [...$place.childNodes];\n"
        f"$place.replaceChildren();\ntry {{ host($main, {written}, $place); }}\n"
        "catch (error) { if (!$place.childElementCount) $place.append(...$still); throw error; }\n</script>\n"
    )


def _standing_in(still: Picture) -> str:
    """The still picture and its words: for a browser without scripts, for scripts that a server's policy forbids or that fail.

    The script that works takes it away. Until it has had its time nothing is to be seen of it; where styles are forbidden
    too, at once.
    """
    source, words = base64.b64encode(still.png).decode(), html.escape(still.alt)
    return (
        "<style>@keyframes dc-still { from { opacity: 0 } }</style>"
        '<figure style="margin: 0; animation: dc-still 1ms 1s backwards">'
        f'<img src="data:image/png;base64,{source}" alt="{words}" style="max-width: 100%">'
        "<figcaption>A picture for what needs scripts: they are switched off, blocked or have failed.</figcaption></figure>"
    )

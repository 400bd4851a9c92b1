"""What all instruments share: one module out of many, traits of their own, and an output that needs no widget."""

import re

import pytest
import torch
import traitlets
from IPython.core.formatters import DisplayFormatter

import dynconv.lessons.views
from dynconv.lessons.views import Mixer
from dynconv.lessons.views.instrument import Instrument
from dynconv.lessons.views.javascript import bundle
from dynconv.lessons.views.pages import fragment

OWN = {"data", "experiments", "kind", "begun", "alt"}


def a_mixer():
    return Mixer(torch.rand(8, 8), {"copy": torch.eye(3)})


def test_no_instrument_takes_a_name_that_all_of_them_need():
    views = [
        view for view in vars(dynconv.lessons.views).values() if isinstance(view, type) and issubclass(view, Instrument)
    ]
    assert len(views) > 8
    assert not [(view.__name__, name) for view in views for name in OWN & set(vars(view))]


def test_the_output_is_the_same_with_ipywidgets_7():
    """Its widgets would display themselves, and the still would be left out."""
    mixer = a_mixer()
    assert mixer._ipython_display_ is None
    data, metadata = DisplayFormatter().format(mixer)
    assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} == set(data)
    assert mixer.alt == data["text/plain"] == metadata["image/png"]["alt"] == mixer.still().alt


def test_a_kind_stands_in_addresses():
    mixer = a_mixer()
    for bad in ("", "the second", "a=b", "ü"):
        with pytest.raises(traitlets.TraitError, match=f"kind must be letters, digits, - and _, got '{bad}'"):
            mixer.kind = bad
    assert mixer.kind == "Mixer"


def test_a_page_begins_anew_wherever_its_view_was():
    mixer = a_mixer()
    mixer.begun = '{"temperature": 100}'
    assert '"begun": ""' in fragment(mixer, "here")
    assert '"kind": "Mixer"' in fragment(mixer, "here")
    assert mixer.begun == '{"temperature": 100}'


def test_private_names_of_joined_modules_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr("dynconv.lessons.views.javascript.HERE", tmp_path)
    (tmp_path / "low.js").write_text("const hidden = 1;\nexport const low = () => hidden;\n")
    (tmp_path / "both.js").write_text('export * from "./low.js";\n')
    (tmp_path / "top.js").write_text(
        'import { low } from "./both.js";\n\nconst hidden = 2;\nexport const top = () => low() + hidden;\n'
    )
    assert bundle("top") == (
        "const $low = (() => {\nconst hidden = 1;\nconst low = () => hidden;\nreturn { low };\n})();\n\n"
        "const $both = (() => {\nconst { low } = $low;\nreturn { low };\n})();\n\n"
        "const { low } = $both;\n\nconst hidden = 2;\nexport const top = () => low() + hidden;\n"
    )
    assert bundle("both").endswith("export const { low } = $low;\n")


@pytest.mark.parametrize("module", ["mathematics", "controls", "pictures", "links", "wiring"])
def test_the_toolkit_hands_on_all_its_parts(module):
    names = re.findall(r"^export const (\w+) =", bundle(module), re.MULTILINE)
    assert len(names) > 1
    assert f"export const {{ {', '.join(names)} }} = ${module};" in bundle("toolkit")

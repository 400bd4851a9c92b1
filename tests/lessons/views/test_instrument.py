"""What all instruments share: one module out of many, traits of their own, and an output that needs no widget."""

import re

import pytest
import torch
import traitlets
from IPython.core.formatters import DisplayFormatter

import dynconv.lessons.views
from dynconv.lessons.views import Mixer
from dynconv.lessons.views.instrument import Instrument
from dynconv.lessons.views.javascript import HERE, bundle
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('import { low, high } from "./low.js";\n', "top.js imports what low.js does not export: high"),
        ('import { top } from "./top.js";\n', "top.js imports itself: top → top"),
        ('import * as low from "./low.js";\n', "not 'import \\* as low from"),
        ('import "./low.js";\n', 'not \'import "./low.js"'),
        ('import d3 from "d3";\n', "not 'import d3 from"),
        ('const low = () => import("./low.js");\n', "not 'import\\("),
        ('import { end } from "./end.js";\n', "end.js has a default export, so top.js cannot import it"),
        ("export function high() {}\n", "not 'export function high"),
        ("export class High {}\n", "not 'export class High"),
        ("export let high = 1;\n", "not 'export let high"),
        ("const high = 1;\nexport { high };\n", "not 'export { high }"),
        ('export { low } from "./low.js";\n', "not 'export { low } from"),
        ("export const { high } = {};\n", "not 'export const { high }"),
    ],
)
def test_what_the_bundler_does_not_understand_is_an_error(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr("dynconv.lessons.views.javascript.HERE", tmp_path)
    (tmp_path / "low.js").write_text("export const low = 1;\n")
    (tmp_path / "end.js").write_text("export const end = 1;\nexport default end;\n")
    (tmp_path / "top.js").write_text(text)
    with pytest.raises(ImportError, match=message):
        bundle("top")


def test_an_import_under_another_name_over_many_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("dynconv.lessons.views.javascript.HERE", tmp_path)
    (tmp_path / "low.js").write_text("export const low = 1;\nexport const high = 2;\n")
    (tmp_path / "top.js").write_text(
        'import {\n  high,\n  low as deep,\n} from "./low.js";\nexport default high + deep;\n'
    )
    assert "const { high, low: deep } = $low;\nexport default" in bundle("top")


def test_an_edited_file_is_what_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr("dynconv.lessons.views.javascript.HERE", tmp_path)
    for text in ("export const low = 1;\n", "export const low = 2;\n"):
        (tmp_path / "low.js").write_text(text)
        assert bundle("low") == text


@pytest.mark.parametrize("module", sorted(path.stem for path in HERE.glob("*.js")))
def test_a_bundle_is_one_module_without_imports(module):
    code = bundle(module)
    assert not re.search(r"^import\b", code, re.MULTILINE)
    assert code.count("export default") == (HERE / f"{module}.js").read_text().count("export default")
    assert len(set(re.findall(r"^const (\$\w+) =", code, re.MULTILINE))) == len(
        re.findall(r"^const \$\w+ =", code, re.MULTILINE)
    )


HANDED_ON = re.findall(r'"\./(\w+)\.js"', (HERE / "toolkit.js").read_text())


@pytest.mark.parametrize("module", HANDED_ON)
def test_the_toolkit_hands_on_all_its_parts(module):
    names = re.findall(r"^export const (\w+) =", bundle(module), re.MULTILINE)
    assert names
    assert f"export const {{ {', '.join(names)} }} = ${module};" in bundle("toolkit")

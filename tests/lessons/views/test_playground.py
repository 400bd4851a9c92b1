"""The playground's Python side: what it sends to the page, and what it refuses."""

import base64
import json

import pytest
import torch
import traitlets

from dynconv.lessons.data import photo
from dynconv.lessons.views import Playground
from dynconv.lessons.views.javascript import bundle
from dynconv.lessons.views.playground import SIZE, square, standardised


def test_photos_travel_as_bytes_and_the_held_out_ones_are_others():
    sent = json.loads(Playground().data)
    assert sent["names"] == ["chelsea", "camera"]
    assert sent["photos"]["size"] == SIZE
    for side, names in (("train", Playground().trained_on), ("held", ["chelsea", "camera"])):
        for name, text in zip(names, sent["photos"][side], strict=True):
            pixels = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8).reshape(SIZE, SIZE)
            torch.testing.assert_close(pixels.float(), square(name))
            whole = (255 * photo(name, grey=True)[0]).round()
            assert (whole.unfold(0, SIZE, 1).unfold(1, SIZE, 1)[:, :, 0, 0] == pixels[0, 0]).any()
    assert not set(Playground().trained_on) & set(sent["names"])


def test_photos_are_standardised():
    x = standardised(square("brick"))
    assert x.shape == (1, 1, SIZE, SIZE)
    assert (x.mean().abs().item(), x.std().item()) == (pytest.approx(0, abs=1e-12), pytest.approx(1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trained_on": ["camera", "brick"]}, "trained on and held out, got on both sides: camera"),
        ({"held_out": []}, "each side needs a photo, got 5 to train on and 0 held out"),
        ({"held_out": ["nobody"]}, "there is no photo 'nobody'"),
        ({"photo": "brick"}, r"photo must be one of \['chelsea', 'camera'\], got 'brick'"),
        ({"num_kernels": 9}, "num_kernels must be 1 to 8, got 9"),
        ({"temperature": 0.0}, "temperature"),
        ({"task": "magic"}, "magic"),
        ({"batch_size": 17}, "17"),
        ({"damage": 4}, "4"),
    ],
)
def test_what_it_refuses(arguments, message):
    with pytest.raises((ValueError, traitlets.TraitError), match=message):
        Playground(**arguments)


@pytest.mark.parametrize("task", ["damages", "shifts"])
def test_its_still_says_what_it_is_about(task):
    still = Playground(task=task, photo="camera").still()
    assert "camera held out" in still.alt
    assert ("moved left" in still.alt) == (task == "shifts")


def test_a_worker_is_in_the_text_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("dynconv.lessons.views.javascript.HERE", tmp_path)
    (tmp_path / "low.js").write_text('export const low = "</script>";\n')
    (tmp_path / "work.js").write_text('import { low } from "./low.js";\n\nexport const text = low;\n')
    start = 'export const start = () => new Worker(new URL("./work.js", import.meta.url));\n'
    (tmp_path / "top.js").write_text(start)
    text = bundle("top")
    assert "import.meta" not in text
    assert "</script>" not in text
    inside = json.loads(text[text.index("new Blob([") + 10 : text.index("], { type")])
    assert (
        inside
        == 'const $low = (() => {\nconst low = "</script>";\nreturn { low };\n})();\n\nconst { low } = $low;\n\nconst text = low;\n'
    )
    (tmp_path / "work.js").write_text(start)
    with pytest.raises(ImportError, match=r"work\.js starts itself as a worker: top → work → work"):
        bundle("top")
    (tmp_path / "top.js").write_text("export const here = import.meta.url;\n")
    with pytest.raises(ImportError, match=r"only named imports .*, not 'import\.meta"):
        bundle("top")

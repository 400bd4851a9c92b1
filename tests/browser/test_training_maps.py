"""TrainingMapsView in the page: the numbers that Python recorded, by slider and by Play."""

import json

import pytest
import torch

from dynconv.lessons.views.training_maps import TrainingMapsView, moment_state
from tests.browser.instruments import check_everyday_use, in_page, opened
from tests.browser.test_time_machine import stop_the_clock

pytestmark = pytest.mark.browser
STATE = """
  const raw = d.view, rows = raw.rows.map((row) => ({...row, maps: decode(row.maps)}));
  return d.moments.map((moment) => {
    const {rows: shown, values} = m.momentState({...raw, rows}, moment);
    return {maps: shown.map((row) => row.maps.map((map) => Array.from(map))), means: shown.map((row) => row.mean), values};
  });"""


def a_view(**options):
    generator = torch.Generator().manual_seed(0)
    images = {name: torch.rand(1, 12, 16, generator=generator) for name in ("cat", "house", "cup")}
    maps = {
        "gates": torch.rand(5, 3, 6, 8, generator=generator).round(),
        "output": torch.rand(5, 3, 12, 16, generator=generator),
    }
    curves = {"share used": [1.0, 0.9, 0.5, 0.3, 0.25], "right": [0.1, 0.4, 0.7, 0.8, 0.9]}
    return TrainingMapsView(
        images, maps, curves, steps=[0, 20, 40, 80, 160], unit="step", pictures=["output"], **options
    )


def test_every_moment_is_the_recorded_one(chromium):
    view = a_view()
    got = in_page(chromium, "training_maps", STATE, {"view": json.loads(view.data), "moments": [0, 2, 4]})
    for moment, page in zip((0, 2, 4), got, strict=True):
        expected = moment_state(view.maps, view.curves, moment)
        for i, name in enumerate(view.maps):
            shown = torch.tensor(page["maps"][i]).reshape(expected[f"maps {name}"].shape)
            assert torch.equal(shown, expected[f"maps {name}"])
            assert page["means"][i] == pytest.approx(expected[f"mean {name}"].item(), abs=1e-6)
        assert page["values"] == [values[moment] for values in view.curves.values()]


@pytest.mark.parametrize("width", [1000, 380])
def test_slider_button_and_reset(chromium, tmp_path, width):
    view = a_view(experiments={"Half-way": {"moment": 2}})
    with opened(chromium, tmp_path, view, viewport={"width": width, "height": 800}) as (tab, root):
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        check_everyday_use(tab, root)
        root.get_by_role("button", name="Half-way").press("Enter")
        said = root.locator(".dc-summary").inner_text()
        assert said.startswith("Step 40 of 160: share used 0.500 (at first 1.000), right 0.700 (at first 0.100).")
        assert f"gates {view.maps['gates'][2].mean():.2f}" in said
        assert root.locator(".dc-time output").inner_text() == "40"


def test_without_means_and_shares_end_at_one(chromium, tmp_path):
    with opened(chromium, tmp_path, a_view(means=False, moment=4)) as (_, root):
        said = root.locator(".dc-summary").inner_text()
        assert said == "Step 160 of 160: share used 0.250 (at first 1.000), right 0.900 (at first 0.100)."
        ends = root.locator(".dc-chart").first.locator(".dc-guide-text").all_text_contents()
        assert ends[:2] == ["1.00", "0.17"]  # not 1.07


MAP = "root => root.querySelectorAll('.dc-moments canvas')[3].toDataURL()"


def test_play_goes_through_the_training(chromium, tmp_path):
    view = a_view()
    with opened(chromium, tmp_path, view, reduced_motion="no-preference") as (tab, root):
        stop_the_clock(tab)
        first, play = root.evaluate(MAP), root.locator(".dc-play")
        play.press("Enter")
        tab.clock.run_for(160)
        assert root.get_by_label("step").input_value() == "1"
        tab.clock.run_for(2000)
        assert (root.get_by_label("step").input_value(), play.inner_text()) == ("4", "Play")
        assert root.evaluate(MAP) != first  # the gates of the first image
        dots = root.locator(".dc-dot").evaluate_all("all => all.map((dot) => Number(dot.getAttribute('cx')))")
        assert dots == [270, 270]  # at the right end


# the canvas under an image, row by row: its name and the greys of its pixels
DRAWN = """root => [...root.querySelectorAll('canvas[aria-label*=" of "]')].map((c) => {
  const {data} = c.getContext('2d').getImageData(0, 0, c.width, c.height);
  return [c.getAttribute('aria-label'), Array.from(data).filter((_, i) => i % 4 === 0)];
})"""


def test_each_image_has_its_own_maps_beneath_it(chromium, tmp_path):
    view = a_view()
    with opened(chromium, tmp_path, view) as (_, root):
        root.get_by_label("step").press("End")
        drawn = dict(root.evaluate(DRAWN))
        assert set(drawn) == {f"{row} of {image}" for row in view.maps for image in view.names}
        for b, image in enumerate(view.names):
            greys = torch.tensor(drawn[f"output of {image}"])
            assert (greys - 255 * view.maps["output"][-1, b].flatten()).abs().max() <= 1
            bright = torch.tensor(drawn[f"gates of {image}"]) > 128  # open is yellow, closed violet
            assert torch.equal(bright, view.maps["gates"][-1, b].flatten() > 0)

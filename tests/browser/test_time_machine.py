"""TimeMachine and TrainingView in the page: the numbers are torch's, the scrubber and the button move every run in step."""

import json
import math

import pytest
import torch
from ipywidgets import DOMWidget

from dynconv.lessons.data.recordings import recording
from dynconv.lessons.views import TrainingView
from dynconv.lessons.views.pages import HOST
from dynconv.lessons.views.restored import restored
from dynconv.lessons.views.time_machine import TimeMachine, time_state
from tests.browser.instruments import PLACES, check_everyday_use, from_kernel, in_page, opened, seen

pytestmark = pytest.mark.browser
NUMBERS = """
  const runs = d.runs.map(m.unpack);
  return d.epochs.map((epoch) => {
    const { shown, best } = m.timeState(runs, epoch);
    return { best, shown: shown.map((s) => ({ ...s, record: { ...s.record, kernels: s.record.kernels.map((k) => Array.from(k)) } })) };
  });"""

# how many timers run while it plays, and how many when the page has taken it away
TIMERS = f"""{HOST.replace("export ", "")}
  const running = new Set(), {{ setInterval: begin, clearInterval: end }} = window;
  window.setInterval = (...given) => {{ const id = begin(...given); running.add(id); return id; }};
  window.clearInterval = (id) => {{ running.delete(id); end(id); }};
  const el = document.body.appendChild(document.createElement("div")), remove = host(m.default, d, el);
  el.querySelector(".dc-play").click();
  const playing = running.size;
  remove();
  return [playing, running.size];"""

# from where to where each part of a stacked bar is painted, as shares of its width
SHOWN = """all => all.map((stack) => [...stack.children].map((part) => {
  const [length, at] = [part.style.backgroundSize, part.style.backgroundPosition].map((text) => parseFloat(text) / 100);
  return [at * (1 - length), at * (1 - length) + length];
}))"""


def a_run(epochs=4, num_kernels=3, size=3, first=0, seed=0, **more):
    random = torch.Generator().manual_seed(seed)
    attention = torch.randn(epochs, 2, num_kernels, generator=random).softmax(2)
    kernels = torch.randn(epochs, num_kernels, size**2, generator=random)
    losses = (0.1 + torch.rand(epochs, generator=random)).tolist()
    rows = zip(losses, attention.tolist(), kernels.tolist(), strict=True)
    return [
        {"epoch": first + i, "temperature": 30 / (i + 1), "test_loss": v, "attention": a, "kernels": k, **more}
        for i, (v, a, k) in enumerate(rows)
    ]


def runs_of_all_sorts():
    late = a_run(6, num_kernels=8, size=5, first=2, seed=1, effective=[1.25, 7.5], loss=0.5)
    return {"plain": a_run(), "late": late, "one kernel": a_run(2, num_kernels=1, size=1, seed=2)}


def shipped(**changes):
    kept = recording("restoration")
    parts = {name: kept[name] for name in ("runs", "classes", "references")}
    return TimeMachine(**{**parts, **kept["pictures"], **changes})


def test_everything_it_shows(chromium):
    runs, epochs = runs_of_all_sorts(), list(range(9))
    packed = json.loads(TimeMachine(runs, ["x", "y"]).data)["runs"]
    got = in_page(chromium, "time_machine", NUMBERS, {"runs": packed, "epochs": epochs})
    for epoch, page in zip(epochs, got, strict=True):
        expected = list(time_state(runs, epoch).values())
        assert page["best"] == min(range(3), key=lambda i: expected[i]["test_loss"])
        for records, run, one in zip(runs.values(), expected, page["shown"], strict=True):
            assert records[one["index"]]["epoch"] == run["epoch"]
            assert (one["record"]["test_loss"], one["record"]["temperature"]) == (run["test_loss"], run["temperature"])
            assert one["leaders"] == run["leaders"].tolist()
            shown = torch.tensor(one["effective"], dtype=run["effective"].dtype)
            torch.testing.assert_close(shown, run["effective"], atol=5e-7, rtol=0)
            assert one["mean"] == pytest.approx(run["effective"].mean().item(), abs=5e-7)
            kernels = torch.tensor(records[one["index"]]["kernels"])
            torch.testing.assert_close(torch.tensor(one["record"]["kernels"]), kernels, atol=5e-7, rtol=0)


def test_the_axes_hold_all_runs_but_the_untrained(chromium):
    body = """const loss = (v, epoch) => ({test_loss: v, epoch});
      const runs = [[loss(9, 0), loss(2, 1), loss(1, 2)], [loss(5, 0), loss(3, 1)]];
      const span = m.lossRange(runs, [["floor", 0.5]]);
      return [span, m.curve([[0, 9], [1, 0.5], [2, 1.75]], 2, 0.5, 3, 200, 100), m.lossRange([[loss(2, 0)]], []),
        m.recordAt(runs[0], 1), m.recordAt([loss(1, 4), loss(1, 6)], 3), m.recordAt(runs[1], 7)];"""
    span, points, lonely, *found = in_page(chromium, "playback", body, {})
    assert span == pytest.approx([0.5 - 0.13 * 2.5, 0.5 + 1.1 * 2.5])
    assert points == "0.0,0.0 100.0,100.0 200.0,50.0"
    assert lonely[0] < lonely[1]
    assert found == [1, 0, 1]


@pytest.mark.parametrize(
    ("view", "width"), [("shipped", 1100), ("shipped", 380), ("of all sorts", 700), ("of all sorts", 380)]
)
def test_scrubbing_and_reset(chromium, tmp_path, view, width):
    machine = shipped() if view == "shipped" else TimeMachine(runs_of_all_sorts(), ["x", "y"], epoch=3)
    with opened(chromium, tmp_path, machine, viewport={"width": width, "height": 800}) as (tab, root):
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        check_everyday_use(tab, root)
        scrubber, places, pictures = root.get_by_role("slider", name="epoch"), root.evaluate(PLACES), set()
        scrubber.press("Home")
        for _ in range(machine.last):
            scrubber.press("ArrowRight")
            pictures.add(seen(root))
            assert root.evaluate(PLACES) == places
        assert len(pictures) == machine.last  # every epoch has a picture of its own


def test_every_run_says_what_was_recorded(chromium, tmp_path):
    with opened(chromium, tmp_path, shipped()) as (_, root):
        root.get_by_role("slider", name="epoch").press("End")
        said = root.locator(".dc-summary").inner_text()
        states = time_state(recording("restoration")["runs"], 25)
        assert said.startswith(
            "Epoch 25 of 25: T = 1 leads with test loss 0.0802, ahead of T = 30 → 1 with 0.0860, T = 30 with 0.0945."
        )
        for column, (name, run) in zip(root.locator(".dc-run").all(), states.items(), strict=True):
            assert column.get_attribute("aria-label") == name
            assert f"test loss {run['test_loss']:.4f} · training" in column.locator(".dc-readout").inner_text()
            counts = [f"{v:.1f}" for v in run["effective"].tolist()]
            assert column.locator(".dc-effective").all_inner_texts() == counts
            shown = column.locator(".dc-stack").evaluate_all(SHOWN)
            for parts, shares in zip(shown, recording("restoration")["runs"][name][-1]["attention"], strict=True):
                ends = torch.tensor(shares).cumsum(0)
                expected = torch.stack([ends - torch.tensor(shares), ends], 1)  # each begins where the last one ends
                torch.testing.assert_close(torch.tensor(parts), expected, atol=1e-4, rtol=0)
            now = ", now at T = 1.0," if name == "T = 30 → 1" else ""
            assert f"{name}{now} effectively uses {run['effective'].mean():.1f} of 4 kernels" in said


RESTORED = """
  const pictures = m.readPictures(d.pictures, d.size);
  return d.pictures.names.flatMap((_, b) => d.records.map((record) => {
    const { mixed, picture, error } = m.restoredBy(record, pictures, b);
    return { mixed: Array.from(mixed), picture: Array.from(picture), error };
  }));"""


@pytest.mark.parametrize(("size", "sides"), [(3, (7, 7)), (4, (9, 6)), (1, (5, 8)), (9, (72, 40))])
@pytest.mark.parametrize("biased", [True, False])
def test_a_picture_is_restored_as_torch_does_it(chromium, size, sides, biased):
    random = torch.Generator().manual_seed(size)
    images = {name: torch.randn(1, *sides, generator=random) for name in "ab"}
    wanted = {name: torch.randn([side - size + 1 for side in sides], generator=random) for name in "ab"}
    shares = torch.randn(2, 3, generator=random).softmax(1).tolist()
    more = {"shares": shares, **({"biases": [0.5, -1.0, 2.0]} if biased else {})}
    records = a_run(2, size=size, **more)
    packed = json.loads(TimeMachine({"mine": records}, ["x", "y"], images=images, wanted=wanted).data)["pictures"]
    given = {"pictures": packed, "records": records, "size": size}
    got = iter(in_page(chromium, "restored", RESTORED, given))
    for b, name in enumerate(images):
        for record in records:
            page, expected = next(got), restored(record, images)
            for entry, key in (("mixed", "mixed"), ("picture", "restored")):
                torch.testing.assert_close(torch.tensor(page[entry]), expected[key][b].flatten(), atol=2e-5, rtol=1e-5)
            error = torch.nn.functional.mse_loss(expected["restored"][b], wanted[name]).item()
            assert page["error"] == pytest.approx(error, rel=1e-5)


ERRORS = ".dc-run .dc-node:has(.dc-photo) .dc-remark"


def test_every_run_restores_the_chosen_picture(chromium, tmp_path):
    kept = recording("restoration")
    machine = shipped()
    with opened(chromium, tmp_path, machine, viewport={"width": 1100, "height": 900}) as (tab, root):
        said, scrubber = root.locator(".dc-summary"), root.get_by_role("slider", name="epoch")
        for epoch, name in ((0, "horizontal blur"), (8, "strong noise"), (25, "vertical blur")):
            scrubber.fill(str(epoch))
            root.get_by_role("radio", name=name).check()
            b, wanted, errors = list(kept["pictures"]["images"]).index(name), kept["pictures"]["wanted"][name], []
            for records in kept["runs"].values():
                picture = restored(records[epoch], kept["pictures"]["images"])["restored"][b]
                errors.append(f"{torch.nn.functional.mse_loss(picture, wanted).item():.3f}")
            assert root.locator(ERRORS).all_inner_texts() == [f"error {error}" for error in errors]
            before = torch.nn.functional.mse_loss(kept["pictures"]["images"][name][0, 4:-4, 4:-4], wanted).item()
            listed = ", ".join(f"{error} ({run})" for error, run in zip(errors, kept["runs"], strict=True))
            assert f"The error of the picture with {name} goes from {before:.3f} to {listed}." in said.inner_text()
            assert root.get_by_text(f"error {before:.3f}", exact=True).count() == 1
            assert tab.evaluate("model.get('image')") == name


def test_a_watched_training_restores_the_chosen_picture(chromium, tmp_path):
    random = torch.Generator().manual_seed(3)
    images = {name: torch.randn(1, 7, 7, generator=random) for name in "ab"}
    wanted = {name: torch.randn(5, 5, generator=random) for name in "ab"}
    view = TrainingView(["x", "y"], 6, num_kernels=3, kernel_size=3, images=images, wanted=wanted)
    records = a_run(6, shares=[[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    with opened(chromium, tmp_path, view) as (tab, root):
        said = root.locator(".dc-summary")
        assert said.inner_text() == "Waiting for the first epoch."
        send = "records => model.set('records', JSON.stringify(records))"
        tab.evaluate(send, records[:1])
        places = root.evaluate(PLACES)
        tab.evaluate(send, records)
        root.get_by_role("radio", name="b").check()
        picture = restored(records[-1], images)["restored"][1]
        error = torch.nn.functional.mse_loss(picture, wanted["b"]).item()
        assert root.get_by_text(f"error {error:.3f}", exact=True).count() == 1
        assert said.inner_text().endswith(f"to {error:.3f}.")
        assert root.evaluate(PLACES) == places


def stop_the_clock(tab):
    """From here on the page's timers run only as far as the test lets them."""
    tab.clock.install(time=0)
    tab.clock.pause_at(1000)


def test_play_pause_and_reset(chromium, tmp_path):
    machine = TimeMachine({"mine": a_run(8)}, ["x", "y"])
    with opened(chromium, tmp_path, machine, reduced_motion="no-preference") as (tab, root):
        stop_the_clock(tab)
        first, said, scrubber = seen(root), root.locator(".dc-summary"), root.get_by_role("slider", name="epoch")
        play, pause = (root.get_by_role("button", name=name) for name in ("Play", "Pause"))
        play.press("Enter")
        tab.clock.run_for(320)
        assert said.inner_text().startswith("Epoch 2 of 7")
        assert said.get_attribute("aria-live") == "off"
        pause.press("Enter")
        held = seen(root)
        assert tab.evaluate("model.get('epoch')") == 2
        assert said.get_attribute("aria-live") == "polite"
        tab.clock.run_for(1000)
        assert seen(root) == held
        play.press("Enter")  # goes on from there, to the end
        tab.clock.run_for(5000)
        assert said.inner_text().startswith("Epoch 7 of 7")
        assert (tab.evaluate("model.get('epoch')"), scrubber.input_value()) == (7, "7")
        play.press("Enter")  # at the end: once more from the beginning
        assert said.inner_text().startswith("Epoch 0 of 7")
        tab.clock.run_for(320)
        root.get_by_role("button", name="Reset").press("Enter")
        tab.clock.run_for(1000)
        assert seen(root) == first


@pytest.mark.parametrize("module", ["time_machine", "training"])
def test_taken_away_while_it_plays_it_leaves_no_timer(chromium, module):
    view = TimeMachine({"mine": a_run(8)}, ["x", "y"])
    if module == "training":
        view = TrainingView(["x", "y"], 8, num_kernels=3, kernel_size=3)
        for record in a_run(8):
            view.add(record)
    state = {name: getattr(view, name) for name in view.traits(sync=True) if name not in DOMWidget.class_traits()}
    assert in_page(chromium, module, TIMERS, state) == [1, 0]


def test_a_hand_on_the_scrubber_stops_the_player(chromium, tmp_path):
    machine = TimeMachine({"mine": a_run(20)}, ["x", "y"])
    with opened(chromium, tmp_path, machine, reduced_motion="no-preference") as (tab, root):
        stop_the_clock(tab)
        root.get_by_role("button", name="Play").press("Enter")
        tab.clock.run_for(320)
        root.get_by_role("slider", name="epoch").press("ArrowRight")
        tab.clock.run_for(1000)
        assert root.locator(".dc-summary").inner_text().startswith("Epoch 3 of 19")
        assert root.get_by_role("button", name="Play").count() == 1


def test_reduced_motion_plays_slowly(chromium, tmp_path):
    machine = TimeMachine({"mine": a_run(8)}, ["x", "y"])
    with opened(chromium, tmp_path, machine, reduced_motion="reduce") as (tab, root):
        stop_the_clock(tab)
        root.get_by_role("button", name="Play").press("Enter")
        tab.clock.run_for(2100)
        assert root.locator(".dc-summary").inner_text().startswith("Epoch 2 of 7")


def test_experiments_and_the_kernel(chromium, tmp_path):
    with opened(chromium, tmp_path, shipped(experiments={"late": {"epoch": 20}})) as (tab, root):
        first, said = seen(root), root.locator(".dc-summary")
        # the same first weights, and nearly the same mix
        assert said.inner_text().startswith(
            "Epoch 0 of 25: T = 30 and T = 30 → 1 lead with test loss 0.8063, ahead of T = 1 with 0.8144."
        )
        root.get_by_role("button", name="late").press("Enter")
        assert said.inner_text().startswith("Epoch 20 of 25")
        assert tab.evaluate("model.get('epoch')") == 20
        from_kernel(tab, "model.set('epoch', 3)")
        assert said.inner_text().startswith("Epoch 3 of 25")
        assert root.get_by_role("slider", name="epoch").input_value() == "3"
        root.get_by_role("button", name="Reset").press("Enter")
        assert seen(root) == first


def test_it_draws_fast_enough(chromium, tmp_path):
    with opened(chromium, tmp_path, shipped()) as (tab, _):
        fastest = tab.evaluate("""() => {
          const input = document.querySelector("input[type=range]"), times = [];
          for (let i = 0; i < 40; i++) {
            input.value = (7 * i) % 26;
            const start = performance.now();
            input.dispatchEvent(new Event("input", { bubbles: true }));
            document.body.getBoundingClientRect(); // layout is part of it
            times.push(performance.now() - start);
          }
          return Math.min(...times); // what else the machine does can only add to it
        }""")
        assert fastest <= 20


def test_training_is_watched_and_played_back(chromium, tmp_path):
    view, records = TrainingView(["x", "y"], 6, num_kernels=3, kernel_size=3, references={"floor": 0.1}), a_run(6)
    with opened(chromium, tmp_path, view) as (tab, root):
        said, scrubber = root.locator(".dc-summary"), root.get_by_role("slider", name="epoch")
        assert said.inner_text() == "Waiting for the first epoch."
        send = "records => model.set('records', JSON.stringify(records))"
        tab.evaluate(send, records[:1])
        places = root.evaluate(PLACES)
        tab.evaluate(send, records[:3])
        assert said.inner_text().startswith("Epoch 2 of 6")  # it follows the training
        scrubber.press("Home")
        tab.evaluate(send, records[:5])
        assert said.inner_text().startswith("Epoch 0 of 6")  # but not under the learner's hand
        scrubber.press("End")
        tab.evaluate(send, records)
        assert said.inner_text().startswith(f"Epoch 5 of 6, T = 5.0: test loss {records[5]['test_loss']:.4f}.")
        mean = time_state({"": records}, 5)[""]["effective"].mean().item()
        assert f"On average {mean:.1f} of 3 kernels are effectively in use." in said.inner_text()
        last = seen(root)
        stop_the_clock(tab)
        root.get_by_role("button", name="Play").press("Enter")
        assert said.inner_text().startswith("Epoch 0 of 6")
        tab.clock.run_for(5000)
        assert seen(root) == last
        assert root.evaluate(PLACES) == places


def test_a_watched_training_has_reset_and_a_link(chromium, tmp_path):
    view, records = TrainingView(["x", "y"], 6, num_kernels=3, kernel_size=3), a_run(6)
    with opened(chromium, tmp_path, view) as (tab, root):
        tab.evaluate("records => model.set('records', JSON.stringify(records))", records)
        said, scrubber = root.locator(".dc-summary"), root.get_by_role("slider", name="epoch")
        assert tab.evaluate("model.get('epoch')") is None
        scrubber.press("ArrowLeft")
        assert tab.evaluate("model.get('epoch')") == 4
        root.get_by_role("button", name="Reset").press("Enter")
        assert said.inner_text().startswith("Epoch 5 of 6")
        assert tab.evaluate("model.get('epoch')") is None  # and it follows again
        tab.evaluate("""location.hash = '#dc.TrainingView={"epoch":2}'""")
        said.filter(has_text="Epoch 2 of 6").wait_for()
        tab.evaluate("""location.hash = '#dc.TrainingView={"epoch":9}'""")
        root.get_by_text("Ignored in the address, because it does not fit: epoch").wait_for()
        assert said.inner_text().startswith("Epoch 2 of 6")


def test_a_lane_for_the_temperature_and_one_scale_for_all_kernels(chromium, tmp_path):
    machine = shipped()
    with opened(chromium, tmp_path, machine, viewport={"width": 1100, "height": 900}) as (_, root):
        runs = recording("restoration")["runs"].values()
        lanes = root.locator(".dc-lane-heat:not(.dc-planned)")
        for lane, records in zip(lanes.all(), runs, strict=True):
            places = [[float(v) for v in place.split(",")] for place in lane.get_attribute("points").split()][:-1]
            top = min(y for _, y in places) - 30 * (1 - math.log10(max(r["temperature"] for r in records) * 10) / 3)
            expected = [top + 30 * (1 - math.log10(10 * r["temperature"]) / 3) for r in records]
            assert [y for _, y in places] == pytest.approx(expected, abs=0.11)
        bars = root.locator(".dc-strip .dc-scale").all_inner_texts()
        assert len(bars) == 3
        assert len(set(bars)) == 1
        root.get_by_role("slider", name="epoch").press("End")
        assert root.locator(".dc-strip .dc-scale").all_inner_texts() == bars

"""How fast the instruments answer, in JupyterLab, in one run: python -m experiments.bench_views [LESSON ...] [--json FILE]

For each instrument of each lesson: arrow keys on a slider, milliseconds from the key until the frame with the changed picture is
painted; then a drag: updates a second, and milliseconds in which pictures still change after the hand let go. Beside them, the
Mixer's pictures as most notebooks make them: ipywidgets' interact around matplotlib; and the dynamic view of a layer that
takes 0.2 s longer; and a widget in which a slider changes one word, the least there can be. Then the playground trains, as a
page, with a worker and without, and in JupyterLab: steps a second of all three networks while everything is drawn, and frames;
beside torch's step on one thread. The load of the machine stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import nbformat
import torch
import torch.nn.functional as F
from playwright.sync_api import sync_playwright

from dynconv.lessons.systems import filter_network
from dynconv.lessons.views import Playground
from dynconv.lessons.views.pages import page as page_of
from tests.browser.lab import CHROMIUM_FLAGS, Lab, Lesson, find_chromium

MOVES, DRAG_SECONDS, STEPS = 40, 3.0, 40  # keys; a drag, and the steps it takes from one end to the other
USUAL = """
from ipywidgets import FloatLogSlider, interact
import matplotlib.pyplot as plt
from dynconv.lessons.views.mixer import mixer_state

@interact(T=FloatLogSlider(value=1, min=-1, max=2, step=0.01, description="temperature T"))
def usual(T):
    state = mixer_state(mixer.photo, torch.stack(list(mixer.kernels.values())), torch.tensor(mixer.logits), T)
    figure, axes = plt.subplots(1, len(state["maps"]) + 2, figsize=(9, 3.6))
    axes[0].bar(range(len(state["weights"])), state["weights"])
    for axis, picture in zip(axes[1:], [*state["maps"], state["mixed"]]):
        axis.imshow(picture)
    plt.show()
"""
SLOWED = """
import time

slow_layer = restorer("dynamic")
slow_layer.attention.register_forward_pre_hook(lambda *_: time.sleep(0.2))
slowed = DynamicView(slow_layer, damaged, wanted=wanted, pictures=damaged)
slowed.kind = "DynamicView-slowed"
slowed
"""
# the least that a widget can do: what is measured here is what the browser and JupyterLab take for any change at all
WORD = '''
import anywidget, traitlets

class Word(anywidget.AnyWidget):
    _esm = """export default { render({ el }) {
      el.className = 'dynconv';
      el.dataset.kind = 'one changed word';
      el.innerHTML = '<label>any <input type=range min=0 max=100 data-lm-suppress-shortcuts=true></label> <b></b>';
      const [input, word] = el.querySelectorAll('input, b');
      input.oninput = () => { word.textContent = input.value; };
    } }"""

Word()
'''
ADDED = {"00_start_here": WORD, "02_softmax_mixing": USUAL, "11_the_verdict": SLOWED}  # cells at the end of lessons
# Counts what a reader sees change below `root`: strokes on canvases, words, lengths, pictures; not the controls themselves.
WATCH = """root => {
  const seen = { strokes: 0, keys: [], values: 0, updates: [], frames: 0, blanks: 0, shift: 0, on: false };
  window.__seen = seen;
  const own = (node) => (node.nodeType === 1 ? node : node.parentElement)?.closest('.dc-slider, .widget-readout, .widget-slider');
  const observer = new MutationObserver((all) => { if (all.some((m) => !own(m.target))) seen.strokes++; });
  observer.observe(root, { subtree: true, childList: true, characterData: true, attributes: true });
  for (const name of ['putImageData', 'drawImage']) {
    const original = CanvasRenderingContext2D.prototype[name].__plain ?? CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...given) {
      if (root.contains(this.canvas)) seen.strokes++;
      return original.apply(this, given);
    };
    CanvasRenderingContext2D.prototype[name].__plain = original;
  }
  root.addEventListener('input', () => seen.values++, true);
  document.addEventListener('keydown', () => seen.keys.push(performance.now()), true);
  new PerformanceObserver((list) => { for (const e of list.getEntries()) if (!e.hadRecentInput) seen.shift += e.value; })
    .observe({ type: 'layout-shift', buffered: false });
  const pictures = () => [...root.querySelectorAll('canvas, img, svg')].filter((e) => e.clientWidth >= 40 && (e.complete ?? true)).length;
  const full = pictures();
  const loading = () => [...root.querySelectorAll('img')].some((e) => !e.complete);
  const { port1: end, port2: painted } = new MessageChannel(); // a message sent while a frame begins arrives once it is painted
  painted.onmessage = () => seen.updates.push(performance.now());
  let before;
  const frame = () => {
    if (!seen.on) return;
    seen.frames++;
    if (pictures() < full) seen.blanks++;
    if (seen.strokes !== before && !loading()) { before = seen.strokes; end.postMessage(0); }
    requestAnimationFrame(frame);
  };
  // frames are counted from the move on: a page at rest draws none, and a loop that never rests would delay the answer
  seen.start = () => { Object.assign(seen, { keys: [], values: 0, updates: [], on: true }); before = seen.strokes; requestAnimationFrame(frame); };
  seen.stop = () => { seen.on = false; };
}"""


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench_views", description=__doc__)
    parser.add_argument("lessons", nargs="*", help="starts of names, such as 05 (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers there")
    args = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Lab(Path(folder))) as lab,
        sync_playwright() as playwright,
    ):
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=CHROMIUM_FLAGS, chromium_sandbox=not root
        )
        for name, code in ADDED.items():
            _add(code, lab.served / "notebooks" / f"{name}.ipynb")
        names = [path.name for path in sorted((lab.served / "notebooks").glob("*.ipynb"))]
        wanted = tuple(args.lessons) or ("",)
        print(_machine(browser), end="\n\n")
        print(
            "| lesson | instrument | slider | median ms | p95 ms | moves/s | values/s | updates/s | still changing ms | blank frames | layout shift |"
        )
        print("| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |")
        rows = [row for name in names if name.startswith(wanted) for row in _lesson(browser, lab, name)]
        rows += _playground(browser, lab, Path(folder)) if "05".startswith(wanted) else []
        browser.close()
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


# steps and the times of frames while the playground trains
FRAMES = """async ([root, seconds]) => {
  const step = () => Number(root.querySelector('.dc-status').innerText.match(/step (\\d+)/)[1]);
  const frame = () => new Promise(requestAnimationFrame);
  const [first, began] = [step(), performance.now()], times = [began];
  while (times.at(-1) < began + 1000 * seconds) times.push(await frame());
  return { steps: (1000 * (step() - first)) / (performance.now() - began), frames: times.slice(2).map((t, i) => t - times[i + 1]) };
}"""
NO_WORKERS = '<head><meta http-equiv="Content-Security-Policy" content="worker-src \'none\'">'
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
TRAIN_SECONDS = 1.2  # a run has an end: fast machines reach it soon


def _playground(browser, lab: Lab, folder: Path) -> list[dict]:
    """Rows of the playground, printed: as a page with a worker and without, on a phone's screen, in JupyterLab; and torch's step."""
    print("\n| playground | batch | steps/s | frame median ms | frame 90 % ms | load |")
    print("| --- | --: | --: | --: | --: | --: |")
    rows, path = [], folder / "playground.html"
    html = page_of(Playground(), "Playground")
    for name, text, options in (
        ("page, worker", html, {}),
        ("page, no worker", html.replace("<head>", NO_WORKERS), {}),
        ("page on a phone, worker", html, PHONE),
    ):
        path.write_text(text, encoding="utf-8")
        context = browser.new_context(**options)
        tab = context.new_page()
        tab.goto(path.as_uri())
        rows += [_trained(tab, tab.locator(".dynconv"), name, batch) for batch in (16, 32)]
        context.close()
    lesson = Lesson(browser, lab, "05_dynamic_convolution.ipynb")
    lesson.run_all()
    root = next(one for one in lesson.instruments() if one.get_attribute("data-kind") == "Playground")
    rows += [_trained(lesson.page, root, "JupyterLab, worker", batch) for batch in (16, 32)]
    lesson.close()
    return rows + [_torch_step(batch) for batch in (16, 32)]


def _trained(page, root, name: str, batch: int) -> dict:
    root.get_by_role("button", name="Reset").press("Enter")
    root.get_by_label("patches a step").select_option(str(batch))
    page.wait_for_function("root => root.getAttribute('aria-busy') === 'false'", arg=root.element_handle())
    root.get_by_role("button", name="Play", exact=True).press("Enter")
    page.wait_for_timeout(200)
    seen = page.evaluate(FRAMES, [root.element_handle(), TRAIN_SECONDS])
    root.get_by_role("button", name="Reset").press("Enter")
    frames = sorted(seen["frames"])
    return _told(name, batch, seen["steps"], statistics.median(frames), frames[int(0.9 * (len(frames) - 1))])


def _torch_step(batch: int) -> dict:
    """The same three networks and batch in torch, on one thread, in float64 as the page has it."""
    torch.set_num_threads(1)
    nets = [filter_network(name).double().train() for name in ("static", "mix", "dynamic")]
    optimizers = [torch.optim.Adam(net.parameters()) for net in nets]
    x, y = torch.randn(batch, 1, 24, 24).double(), torch.randn(batch, 1, 16, 16).double()
    took = []
    for _ in range(100):
        began = time.perf_counter()
        for net, optimizer in zip(nets, optimizers, strict=True):
            optimizer.zero_grad()
            F.mse_loss(net(x), y).backward()
            optimizer.step()
        took.append(time.perf_counter() - began)
    return _told("torch, one thread, nothing drawn", batch, 1 / statistics.median(took))


def _told(name: str, batch: int, steps: float, *frames: float) -> dict:
    medians = [round(value, 1) for value in frames] or ["", ""]
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else ""
    speed = {"playground": name, "batch": batch, "steps_per_s": round(steps)}
    row = speed | {"frame": medians[0], "frame_90": medians[1], "load": load}
    print("| " + " | ".join(str(value) for value in row.values()) + " |", flush=True)
    return row


def _machine(browser) -> str:
    packages = ("jupyterlab", "ipywidgets", "anywidget", "torch")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{platform.machine()}, {os.cpu_count()} cores, Chromium {browser.version} without GPU, {versions}"


def _add(code: str, path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(code))
    nbformat.write(notebook, path)


def _lesson(browser, lab: Lab, name: str) -> list[dict]:
    lesson = Lesson(browser, lab, name)
    lesson.run_all()
    rows = []
    for kind, root in _instruments(lesson):
        for slider in root.locator("input[type=range]:visible, .noUi-handle").all()[:2]:
            row = {"lesson": name[:2], "instrument": kind, **_measure(lesson.page, root, slider)}
            rows.append(row)
            print("| " + " | ".join(str(value) for value in row.values()) + " |", flush=True)
    lesson.close()
    return rows


def _instruments(lesson: Lesson):
    for instrument in lesson.instruments():
        yield instrument.get_attribute("data-kind"), instrument
    usual = lesson.page.locator(".jp-Cell:has(.widget-interact)")
    if lesson.name.startswith("02"):
        count = lesson.page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length")
        lesson.page.evaluate("(i) => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start')", count - 1)
        lesson.page.wait_for_timeout(1000)
        yield "interact + matplotlib", usual.locator(".jp-OutputArea").first


def _measure(page, root, slider) -> dict:
    slider.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    root.evaluate(WATCH)
    slider.focus()
    took = _keys(page, slider)
    drag = _drag(page, slider)
    seen = page.evaluate("window.__seen")
    label = slider.evaluate(
        "e => (e.labels?.[0] ?? e.closest('.widget-slider')?.querySelector('label'))?.innerText ?? ''"
    )
    ordered = sorted(took)
    return {
        "slider": label,
        "median": round(statistics.median(took), 1),
        "p95": round(ordered[int(0.95 * len(ordered))], 1),
        "moves_per_s": round(drag[0], 1),
        "values_per_s": round(drag[1], 1) or "",  # ipywidgets' slider is not a native one
        "updates_per_s": round(drag[2], 1),
        "tail": round(drag[3]),
        "blank_frames": seen["blanks"],
        "layout_shift": round(seen["shift"], 3),
    }


def _keys(page, slider) -> list[float]:
    """Milliseconds from each of MOVES arrow keys until the change is painted; back again at the ends of the slider."""
    took, key = [], "ArrowLeft"
    for i in range(MOVES):
        end = slider.evaluate(
            "e => e.tagName !== 'INPUT' ? '' : e.value === e.min ? 'min' : e.value === e.max ? 'max' : ''"
        )
        if end or i % 10 == 9:
            turned = {"ArrowLeft": "ArrowRight", "ArrowRight": "ArrowLeft"}[key]
            key = {"min": "ArrowRight", "max": "ArrowLeft"}.get(end, turned)
        page.evaluate("window.__seen.start()")
        page.keyboard.press(key)
        page.wait_for_function("window.__seen.updates.length > 0", timeout=20_000, polling="raf")
        page.wait_for_timeout(120)
        pressed, updates = page.evaluate("[window.__seen.keys[0], window.__seen.updates]")
        page.evaluate("window.__seen.stop()")
        took.append(updates[0] - pressed)
    return took


def _drag(page, slider) -> tuple[float, float, float, float]:
    """Moves, new values and updates a second while the hand drags to and fro; milliseconds until all is still after it."""
    left, right, middle, value = (
        slider.evaluate("""e => { const b = (e.closest('.noUi-base') ?? e).getBoundingClientRect();
        const v = e.tagName === 'INPUT' ? (e.value - e.min) / (e.max - e.min) : 0.5;
        return [b.left + 8, b.right - 8, b.top + b.height / 2, v]; }""")
    )
    page.mouse.move(left + value * (right - left), middle)
    page.mouse.down()
    page.evaluate("window.__seen.start()")
    moves, started = 0, time.monotonic()
    while (
        passed := time.monotonic() - started
    ) < DRAG_SECONDS:  # each step waits until the page has taken the one before
        page.mouse.move(left if (moves // STEPS) % 2 else right, middle, steps=STEPS)
        moves += STEPS
    page.mouse.up()
    released, values = page.evaluate("[performance.now(), window.__seen.values]")
    page.wait_for_timeout(1500)
    updates = page.evaluate("window.__seen.updates")
    page.evaluate("window.__seen.stop()")
    during = [moment for moment in updates if moment <= released]
    return moves / passed, values / passed, len(during) / passed, max([0.0, *(moment - released for moment in updates)])


if __name__ == "__main__":
    sys.exit(main())

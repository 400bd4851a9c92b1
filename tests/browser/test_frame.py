"""What instrument() does for all of them: it wires whatever controls it is given, and leaves nothing behind."""

import json

import pytest
import torch

from dynconv import DynamicConv2d
from dynconv.lessons.views import DynamicView, Mixer, TrainingView
from dynconv.lessons.views.instrument import Instrument
from dynconv.lessons.views.javascript import bundle
from tests.browser.instruments import opened

pytestmark = pytest.mark.browser
# an instrument of one held number and one slider, whose drawing moves the number; and what its kernel hears
TOY = """async ([code, state]) => {
  const m = await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
  const counts = {}, saved = [], traits = {kind: 'Toy', begun: '', experiments: '{}', alt: 'a toy', data: '{"most": 3}', ...state};
  const count = (name, by) => { counts[name] = (counts[name] ?? 0) + by; };
  const listeners = {};
  const model = {
    get: (name) => traits[name],
    set: (name, value) => { traits[name] = value; },
    save_changes: () => saved.push({...traits}),
    on: (event, listener) => { listeners[event] = listener; count(event, 1); },
    off: (event) => count(event, -1),
  };
  const el = document.body.appendChild(document.createElement('div')), drawn = [];
  const spot = m.element('button', {}, 'spot');
  const toy = m.instrument({
    className: 'dc-toy',
    controls: ({most}) => ({kernels: m.kernelsSlider(most), spot: m.held((v) => v >= 0)}),
    state: (data, values) => ({product: values.kernels * values.spot, ...data}),
    view: (data, {kernels, spot: at}) => {
      spot.addEventListener('click', () => { at.set(at.get() + 1); m.emit(spot, 'input'); });
      spot.addEventListener('blur', () => m.emit(spot, 'change'));
      return {body: [kernels.node, spot], draw: (shown) => drawn.push(shown.product), load: ({most}) => drawn.push(`of ${most}`),
        remove: () => count('view', -1)};
    },
    words: (data, shown, values) => `${values.kernels} times ${values.spot} is ${shown.product}.`,
  });
  const remove = toy.render({model, el}), said = () => el.querySelector('.dc-summary').textContent;
  const frame = () => new Promise((then) => requestAnimationFrame(() => setTimeout(then))); // after it the kernel hears
  await frame();
  const seen = [said()];
  spot.click();
  seen.push(said(), saved.length);
  m.emit(spot, 'change');
  await frame();
  seen.push(saved.length, saved.at(-1).spot);
  const slider = el.querySelector('input');
  slider.value = 3; m.emit(slider, 'input');
  seen.push(said());
  traits.data = '{"most": 4}'; listeners['change:data']();
  traits.spot = 10; listeners['change:spot']();
  seen.push(said());
  remove();
  m.emit(spot, 'input');
  m.emit(spot, 'change');
  seen.push(saved.length);
  return {seen, counts, drawn, className: el.className};
}"""
LEFT = """async ([code, state]) => {
  const module = await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
  const heard = new Set(), on = (place) => (name, listener) => heard.add(place + name + id(listener)), ids = new Map();
  const id = (listener) => { if (!ids.has(listener)) ids.set(listener, ids.size); return ids.get(listener); };
  const off = (place) => (name, listener) => heard.delete(place + name + id(listener));
  window.addEventListener = on('window ');
  window.removeEventListener = off('window ');
  const model = {get: (name) => state[name], set: (name, value) => { state[name] = value; }, save_changes: () => {},
    on: on('model '), off: off('model ')};
  const el = document.body.appendChild(document.createElement('div'));
  const remove = module.default.render({model, el}), while_shown = heard.size;
  remove();
  return [while_shown, [...heard]];
}"""


def evaluated(chromium, script, code, state):
    context = chromium.new_context()
    got = context.new_page().evaluate(script, [code, state])
    context.close()
    return got


def test_controls_are_wired_by_their_events(chromium):
    got = evaluated(chromium, TOY, bundle("toolkit"), {"kernels": 2, "spot": 5})
    # drawn at once, stored only when it stays; what Python changes is drawn as well
    stored = ["2 times 5 is 10.", "2 times 6 is 12.", 1, 2, 6]
    assert got["seen"] == [*stored, "3 times 6 is 18.", "3 times 10 is 30.", 2]
    assert got["drawn"] == ["of 3", 10, 12, 18, "of 4", 18, 30]
    assert got["className"] == "dynconv dc-toy"
    assert got["counts"] == {"change:kernels": 0, "change:spot": 0, "change:data": 0, "destroy": 0, "view": -1}


@pytest.mark.parametrize("kind", ["mixer", "dynamic", "training"])
def test_a_view_that_is_removed_leaves_nothing_behind(chromium, kind):
    """A cell that runs again removes its view; whatever still listened would keep all of its arrays."""
    view = {
        "mixer": lambda: Mixer(torch.rand(8, 8), {"copy": torch.eye(3)}),
        "dynamic": lambda: DynamicView(DynamicConv2d(1, 1, 3), {"a": torch.rand(1, 8, 8)}),
        "training": lambda: TrainingView(["x"], 2, 2, 3),
    }[kind]()
    own = set(view.traits(sync=True)) - set(Instrument.__mro__[1].class_traits(sync=True))
    while_shown, left = evaluated(chromium, LEFT, view._esm, {name: getattr(view, name) for name in own})
    assert while_shown > 2
    assert left == []


AGAIN = """async ([code, state]) => {
  const load = async () => (await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})))).default;
  const [first, second] = [await load(), await load()];
  let close;
  const model = {on: (event, listener) => { if (event === 'destroy') close = listener; },
    set: (name, value, options) => { state[name] = value; if (!options.silent) throw new Error(`${name} is heard`); }};
  second.initialize({model});
  close();
  return [first === second, ['_esm', '_css', 'data'].map((name) => state[name])];
}"""


def test_a_page_makes_an_instrument_once_and_a_closed_widget_keeps_no_text(chromium):
    """A cell that runs again brings its module again, and JupyterLab keeps the model of the widget that was there."""
    view = Mixer(torch.rand(8, 8), {"copy": torch.eye(3)})
    state = {"_esm": view._esm, "_css": view._css, "data": view.data}
    assert evaluated(chromium, AGAIN, view._esm, state) == [True, ["", "", ""]]


def test_an_experiment_sets_only_what_fits(chromium, tmp_path):
    kernels = {"one": torch.eye(3), "two": torch.rand(3, 3)}
    odd = {"temperature": 3, "num_kernels": 9, "speed": 1, "logits": [1, 2]}
    mixer = Mixer(torch.rand(8, 8), kernels)
    mixer._trait_values["experiments"] = json.dumps({"Odd": odd})  # as an older page holds it: Python refuses it today
    with opened(chromium, tmp_path, mixer) as (tab, root):
        root.get_by_role("button", name="Odd").press("Enter")
        assert json.loads(tab.evaluate("JSON.stringify(['temperature', 'num_kernels', 'logits'].map(model.get))")) == [
            3,
            2,
            [1, 2],
        ]
        said = "Ignored in this experiment, because it does not fit: num_kernels, speed."
        assert root.locator(".dc-note").inner_text() == said
        assert root.get_by_role("button", name="Odd").get_attribute("aria-pressed") == "true"
        root.get_by_role("button", name="Reset").press("Enter")
        assert root.get_by_role("button", name="Odd").get_attribute("aria-pressed") == "false"
        assert root.locator(".dc-note").inner_text() == ""

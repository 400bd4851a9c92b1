"""When the kernel hears of a control: after the frame that shows it, once, or as the view goes; not of a model that is gone.
What it says meanwhile of the same control is older."""

import pytest

from dynconv.lessons.views import TemperatureBench
from tests.browser.instruments import in_page

pytestmark = pytest.mark.browser
BODY = """
  const listeners = {};
  let sent = 0;
  const model = {
    get: (name) => d[name],
    set: (name, value) => { d[name] = value; },
    save_changes: () => { sent += 1; },
    on: (event, listener) => { (listeners[event] ??= []).push(listener); },
    off: (event, listener) => { listeners[event] = listeners[event].filter((one) => one !== listener); },
  };
  const frame = () => new Promise((then) => requestAnimationFrame(() => setTimeout(then)));
  const el = document.body.appendChild(document.createElement('div'));
  const end = m.default.render({ model, el });
  const move = (value) => {
    const input = el.querySelector('input[type=range]');
    input.value = value;
    for (const name of ['input', 'change']) input.dispatchEvent(new Event(name, { bubbles: true }));
  };
  return (async () => {
    await frame();
    const seen = [sent, d.temperature];
    for (const value of [0, 1]) move(value);
    seen.push(sent, d.temperature);
    d.temperature = 1; // the kernel's echo of an older value
    listeners['change:temperature'].forEach((one) => one());
    seen.push(d.temperature, el.querySelector('output').textContent);
    await frame();
    seen.push(sent, d.temperature);
    d.temperature = 5; // a word of the kernel's own
    listeners['change:temperature'].forEach((one) => one());
    seen.push(el.querySelector('output').textContent);
    move(0);
    if (d.gone) listeners.destroy.forEach((one) => one());
    end();
    seen.push(sent);
    await frame();
    seen.push(sent, listeners.destroy.length);
    return seen;
  })();"""


@pytest.mark.parametrize("gone", [False, True])
def test_the_kernel_hears_after_the_frame_and_never_of_a_model_that_is_gone(chromium, gone):
    view = TemperatureBench(logits=[0.0, 1.0, 2.0])
    state = {name: value for name, value in view.get_state().items() if isinstance(value, (str, int, float, list))}
    state |= {"begun": "", "gone": gone}
    got = in_page(chromium, "temperature", BODY, state)
    begun, at_once, after, later = 1, 1, 2, 2 if gone else 3  # the state that Reset returns to is told first
    assert got == [begun, view.temperature, at_once, 10.0, 10.0, "10", after, 10.0, "5.0", later, later, 0]

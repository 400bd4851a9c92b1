"""When the kernel hears of a control: after the frame that shows it, once, and before the view goes; never after its model."""

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
    await frame();
    seen.push(sent);
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
    assert got == [begun, view.temperature, at_once, 10.0, after, later, later, 0]

// Controls: what a hand, a key or a finger can move.
//
// Each is {node, get, set, valid}: get() and set() speak in the control's own unit, and valid() says of any value whether the
// control can take it, for links come from anywhere. None knows who listens: its "input" and "change" events bubble.

import { element, OWN_KEYS, say, uniqueId } from "./elements.js";
import { fixed, number, percent, whole } from "./words.js";

// A native range input. A value set from outside stays what it was set to: the thumb only stands on the nearest step.
export const slider = ({ label, min, max, step, log = false, show = number }) => {
  const id = uniqueId("slider");
  const to = (v) => (log ? Math.log10(v) : v);
  const from = (v) => (log ? 10 ** v : v);
  const input = element("input", {
    id,
    type: "range",
    min: to(min),
    max: to(max),
    step,
    class: "dc-range",
    ...OWN_KEYS,
  });
  const shown = element("output", { for: id });
  let exact;
  const get = () => exact ?? from(Number(input.value));
  const tell = () => {
    say(shown, show(get()));
    input.setAttribute("aria-valuetext", `${label} ${show(get())}`);
  };
  const set = (v) => {
    exact = v;
    input.value = to(v);
    tell();
  };
  input.addEventListener("input", () => {
    exact = undefined;
    tell();
  });
  const isWhole = step % 1 === 0 && !log;
  const valid = (v) => (isWhole ? Number.isInteger(v) : typeof v === "number") && v >= min && v <= max;
  const node = element("div", { class: "dc-slider" }, element("label", { for: id }, label), input, shown);
  return { node, input, get, set, valid };
};

// The kinds of slider that several instruments have.
export const logSlider = (label) => slider({ label, min: 0.1, max: 100, step: 0.01, log: true });
export const temperatureSlider = () => {
  const control = logSlider("temperature T");
  control.input.classList.add("dc-temper");
  return control;
};
export const wholeSlider = (label, min, max) => slider({ label, min, max, step: 1, show: whole });
export const kernelsSlider = (most) => wholeSlider("kernels K", 1, most);
export const shareSlider = (label, show = percent) => slider({ label, min: 0, max: 1, step: 0.01, show });
const logitSlider = (k) => slider({ label: `logit ${k + 1}`, min: -5, max: 5, step: 0.1, show: (v) => fixed(v, 1) });

// several controls as one whose value is their list
export const listOf = (parts) => ({
  parts,
  get: () => parts.map((one) => one.get()),
  set: (values) => parts.forEach((one, k) => one.set(values[k])),
  valid: (values) =>
    Array.isArray(values) && values.length === parts.length && parts.every((one, k) => one.valid(values[k])),
});

export const logitSliders = (count) => listOf(Array.from({ length: count }, (_, k) => logitSlider(k)));

// A value that is moved in the drawing itself, by whoever has the control.
export const held = (valid) => {
  let value;
  const set = (v) => {
    value = v;
  };
  return { get: () => value, set, valid };
};

// A native list to choose from; options are values, or [value, text] where they differ.
export const choice = ({ label, options }) => {
  const pairs = options.map((option) => [option].flat());
  const values = pairs.map(([v]) => v);
  const choices = pairs.map(([v, text = v], i) => element("option", { value: i }, text));
  const select = element("select", { class: "dc-select", ...OWN_KEYS }, ...choices);
  const set = (v) => {
    select.value = values.indexOf(v);
  };
  const node = element("label", { class: "dc-choice" }, label, select);
  return { node, get: () => values[select.value], set, valid: (v) => values.includes(v) };
};

export const checkbox = () => element("input", { type: "checkbox", ...OWN_KEYS });

// A checkbox with its label.
export const toggle = (label) => {
  const input = checkbox();
  const set = (on) => {
    input.checked = on;
  };
  const node = element("label", { class: "dc-choice" }, input, label);
  return { node, input, get: () => input.checked, set, valid: (v) => typeof v === "boolean" };
};

// Radio buttons for `values`; where they and their labels stand is the caller's.
export const radios = (values) => {
  const name = uniqueId("radios"); // its own: radios of one name exclude each other in the whole page
  const inputs = values.map(() => element("input", { type: "radio", name, ...OWN_KEYS }));
  const set = (v) => {
    inputs[values.indexOf(v)].checked = true;
  };
  const get = () => values[inputs.findIndex((input) => input.checked)];
  return { inputs, get, set, valid: (v) => values.includes(v) };
};

// The same in a frame of their own: `rows` makes of each radio button the row that it stands in.
export const radioGroup = (label, className, values, rows) => {
  const control = radios(values);
  const attributes = { class: className, role: "radiogroup", "aria-label": label };
  return { ...control, node: element("div", attributes, ...control.inputs.map(rows)) };
};

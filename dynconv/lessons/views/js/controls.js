// Elements and controls: what a hand, a key or a finger can move.

import { number } from "./mathematics.js";

// every instrument loads a module of its own: ids must differ between modules too
const family = Math.random().toString(36).slice(2);
let serial = 0;

const fill = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};

export const element = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// The SVG of a chart, its inside from (x, y) on. A sheet that nobody sees, with a margin for thick lines, keeps the size of what
// is painted when lines move: a change of it would make the browser sort all layers of the page anew.
export const sheet = ([x, y, width, height], attributes, ...children) => {
  const paper = { x: x - 0.04 * width, y: y - 0.04 * height, width: 1.08 * width, height: 1.08 * height, fill: "transparent" };
  return svg("svg", { viewBox: `${x} ${y} ${width} ${height}`, ...attributes },
    svg("rect", paper), ...children);
};

// Words and classes written only where they change: the browser lays out again whatever is written.
export const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };
export const dress = (node, className) => { if (node.className !== className) node.className = className; };

// each kernel has a colour (Okabe-Ito) and a hatch, so that colour is never the only sign
export const kernelMark = (k, className = "dc-mark") => element("span", { class: `${className} dc-k${k % 8}`, "aria-hidden": "true" });

// A native range input: JupyterLab leaves its arrow keys alone only with the attribute on the input itself.
// `changed` runs while it moves, `settled` once it stays; get() and set() speak in the control's own unit, and
// valid() says of any value whether the control can take it: links come from anywhere.
export const slider = ({ label, min, max, step, value, log = false, show = number, changed, settled }) => {
  const id = `dc-slider-${family}-${++serial}`;
  const to = (v) => (log ? Math.log10(v) : v), from = (v) => (log ? 10 ** v : v);
  const input = element("input", {
    id, type: "range", min: to(min), max: to(max), step, "data-lm-suppress-shortcuts": "true", class: "dc-range",
  });
  const shown = element("output", { for: id });
  let exact; // a value set from outside stays what it was set to: the thumb only stands on the nearest step
  const read = () => exact ?? from(Number(input.value));
  const tell = () => { say(shown, show(read())); input.setAttribute("aria-valuetext", `${label} ${show(read())}`); };
  const set = (v) => { exact = v; input.value = to(v); tell(); };
  input.addEventListener("input", () => { exact = undefined; tell(); changed?.(read()); });
  input.addEventListener("change", () => settled?.(read()));
  set(value);
  const whole = step % 1 === 0 && !log;
  const valid = (v) => (whole ? Number.isInteger(v) : typeof v === "number") && v >= min && v <= max;
  const node = element("div", { class: "dc-slider" }, element("label", { for: id }, label), input, shown);
  return { node, input, get: read, set, valid };
};

// several sliders as one control whose value is their list
export const listOf = (sliders) => ({
  get: () => sliders.map((one) => one.get()),
  set: (values) => sliders.forEach((one, k) => one.set(values[k])),
  valid: (values) => Array.isArray(values) && values.length === sliders.length && sliders.every((one, k) => one.valid(values[k])),
});

// the two sliders that most instruments have
export const temperatureAndK = (model, most, changed, settled) => ({
  temperature: slider({
    label: "temperature T", min: 0.1, max: 100, step: 0.01, log: true, value: model.get("temperature"), changed, settled,
  }),
  numKernels: slider({
    label: "kernels K", min: 1, max: most, step: 1, value: model.get("num_kernels"), show: (v) => v.toFixed(0), changed, settled,
  }),
});

// A native list to choose from; options are values, or [value, text] where they differ.
export const choice = ({ label, options, value, changed }) => {
  const pairs = options.map((option) => [option].flat()), values = pairs.map(([v]) => v);
  const select = element("select", { class: "dc-select", "data-lm-suppress-shortcuts": "true", onchange: changed },
    ...pairs.map(([v, text = v], i) => element("option", { value: i }, text)));
  const set = (v) => { select.value = values.indexOf(v); };
  set(value);
  const node = element("label", { class: "dc-choice" }, label, select);
  return { node, get: () => values[select.value], set, valid: (v) => values.includes(v) };
};

// Radio buttons for `values`; where they and their labels stand is the caller's.
export const radios = (values, value, changed) => {
  const name = `dc-radios-${family}-${++serial}`; // its own: radios of one name exclude each other in the whole page
  const inputs = values.map(() => element("input", { type: "radio", name, "data-lm-suppress-shortcuts": "true", onchange: changed }));
  const set = (v) => { inputs[values.indexOf(v)].checked = true; };
  set(value);
  return { inputs, get: () => values[inputs.findIndex((input) => input.checked)], set, valid: (v) => values.includes(v) };
};

export const button = (label, pressed) => element("button", { type: "button", class: "dc-button", onclick: pressed }, label);

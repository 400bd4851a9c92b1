// The parts every instrument is made of: small mathematics, pictures, controls.
// Plain functions on plain arrays; the same module serves JupyterLab, Colab and a static page.

import { VIRIDIS, RDBU } from "./palettes.js";

// ---------------------------------------------------------------- mathematics (checked against torch by the tests)

export const decode = (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer); // arrays travel as base64 of little-endian float32
};

export const softmax = (logits, temperature) => {
  const top = Math.max(...logits);
  const powers = logits.map((z) => Math.exp((z - top) / temperature));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
};

// exp(entropy): how many kernels are really in use, between 1 and K
export const effectiveNumber = (weights) => Math.exp(-weights.reduce((s, w) => s + (w > 0 ? w * Math.log(w) : 0), 0));

// stack holds K arrays of `size` numbers one after the other
export const mix = (stack, weights, size, start = 0) => {
  const out = new Float32Array(size);
  weights.forEach((w, k) => {
    const offset = start + k * size;
    for (let i = 0; i < size; i++) out[i] += w * stack[offset + i];
  });
  return out;
};

// cross-correlation with zero padding, "same" size: what torch calls conv2d
export const conv2d = (image, height, width, kernel, size) => {
  const pad = size >> 1, wide = width + 2 * pad;
  const padded = new Float32Array(wide * (height + 2 * pad));
  for (let y = 0; y < height; y++) padded.set(image.subarray(y * width, (y + 1) * width), (y + pad) * wide + pad);
  const out = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let i = 0; i < size; i++) {
        const row = (y + i) * wide + x;
        for (let j = 0; j < size; j++) sum += padded[row + j] * kernel[i * size + j];
      }
      out[y * width + x] = sum;
    }
  }
  return out;
};

export const range = (array) => {
  let low = Infinity, high = -Infinity;
  for (const v of array) { if (v < low) low = v; if (v > high) high = v; }
  return [low, high];
};

export const largestDifference = (a, b) => a.reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i])), 0);

export const indexOfMax = (array) => array.reduce((best, v, i) => (v > array[best] ? i : best), 0);

// ---------------------------------------------------------------- words

export const percent = (w) => `${(100 * w).toFixed(w > 0 && w < 0.0995 ? 1 : 0)} %`;

export const number = (v) => (v >= 10 ? v.toFixed(0) : v >= 1 ? v.toFixed(1) : v.toFixed(2));

// ---------------------------------------------------------------- elements

// every instrument loads a module of its own: ids must differ between modules too
const family = Math.random().toString(36).slice(2);
let serial = 0;

export const element = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};

// each kernel has a colour (Okabe-Ito) and a hatch, so that colour is never the only sign
export const kernelMark = (k, className = "dc-mark") => element("span", { class: `${className} dc-k${k % 8}`, "aria-hidden": "true" });

// A native range input: JupyterLab leaves its arrow keys alone only with the attribute on the input itself.
// `changed` runs while it moves, `settled` once it stays; get() and set() speak in the control's own unit.
export const slider = ({ label, min, max, step, value, log = false, show = number, changed, settled }) => {
  const id = `dc-slider-${family}-${++serial}`;
  const to = (v) => (log ? Math.log10(v) : v), from = (v) => (log ? 10 ** v : v);
  const input = element("input", {
    id, type: "range", min: to(min), max: to(max), step, "data-lm-suppress-shortcuts": "true", class: "dc-range",
  });
  const shown = element("output", { for: id });
  let exact; // a value set from outside stays what it was set to: the thumb only stands on the nearest step
  const read = () => exact ?? from(Number(input.value));
  const tell = () => { shown.textContent = show(read()); input.setAttribute("aria-valuetext", `${label} ${show(read())}`); };
  const set = (v) => { exact = v; input.value = to(v); tell(); };
  input.addEventListener("input", () => { exact = undefined; tell(); changed?.(read()); });
  input.addEventListener("change", () => settled?.(read()));
  set(value);
  return { node: element("div", { class: "dc-slider" }, element("label", { for: id }, label), input, shown), input, get: read, set };
};

// the two sliders that most instruments have
export const temperatureAndK = (model, most, changed, settled) => ({
  temperature: slider({
    label: "temperature T", min: 0.1, max: 100, step: 0.01, log: true, value: model.get("temperature"), changed, settled,
  }),
  numKernels: slider({
    label: "kernels K", min: 1, max: most, step: 1, value: model.get("num_kernels"), show: (v) => v.toFixed(0), changed, settled,
  }),
});

export const button = (label, pressed) => element("button", { type: "button", class: "dc-button", onclick: pressed }, label);

// ---------------------------------------------------------------- pictures

const PALETTES = { viridis: VIRIDIS, rdbu: RDBU, grey: Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3)) };

// A small canvas that shows one array through a palette between `low` and `high`.
export const picture = (height, width, label, className = "") => {
  const canvas = element("canvas", { width, height, role: "img", "aria-label": label, class: `dc-picture ${className}` });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  const data = new Uint32Array(pixels.data.buffer);
  const tables = {};
  const table = (name) => (tables[name] ??= Uint32Array.from({ length: 256 }, (_, i) => {
    const [r, g, b] = PALETTES[name].subarray(3 * i, 3 * i + 3);
    return (255 << 24) | (b << 16) | (g << 8) | r;
  }));
  const draw = (array, palette, low, high) => {
    const colours = table(palette), scale = 255 / (high - low || 1);
    for (let i = 0; i < data.length; i++) data[i] = colours[Math.max(0, Math.min(255, Math.round((array[i] - low) * scale)))];
    context.putImageData(pixels, 0, 0);
  };
  // kernels: red and blue around zero, each on a scale of its own
  const drawSigned = (array) => {
    const strongest = Math.max(...array.map(Math.abs));
    draw(array, "rdbu", -strongest, strongest);
  };
  return { node: canvas, draw, drawSigned };
};

export const captioned = (node, ...caption) => element("figure", { class: "dc-figure" }, node, element("figcaption", {}, ...caption));

// One bar a kernel; the number stands beside it.
export const bars = (count, label) => {
  const fills = [], texts = [];
  const node = element("div", { class: "dc-bars", role: "img", "aria-label": label });
  for (let k = 0; k < count; k++) {
    fills.push(kernelMark(k, "dc-fill"));
    texts.push(element("span", { class: "dc-bar-text" }));
    node.append(element("div", { class: "dc-bar" }, element("span", { class: "dc-track" }, fills[k]), texts[k]));
  }
  const draw = (weights) => {
    weights.forEach((w, k) => { fills[k].style.width = `${100 * w}%`; texts[k].textContent = percent(w); });
    [...node.children].forEach((bar, k) => { bar.style.visibility = k < weights.length ? "" : "hidden"; }); // its place stays
    node.setAttribute("aria-label", `${label}: ${weights.map((w, k) => `kernel ${k + 1} ${percent(w)}`).join(", ")}`);
  };
  return { node, draw };
};

// ---------------------------------------------------------------- wiring

// What every instrument has: the frame, experiments, reset, the spoken sentence, and the kernel's copy of the state.
// `controls` maps a trait's name to {get, set}; `draw` returns the sentence.
export const instrument = ({ model, el, controls, body, draw }) => {
  const experiments = JSON.parse(model.get("experiments"));
  const first = Object.fromEntries(Object.keys(controls).map((name) => [name, model.get(name)]));
  const sentence = element("p", { class: "dc-summary", "aria-live": "polite" });
  const redraw = () => { sentence.textContent = draw(); }; // at once: browsers send one input event a frame
  const store = () => { // the kernel hears of a value when the hand lets go: nothing queues up while a slider moves
    for (const [name, { get }] of Object.entries(controls)) model.set(name, get());
    model.save_changes();
  };
  const apply = (state) => { for (const [name, value] of Object.entries(state)) controls[name].set(value); redraw(); store(); };
  const buttons = Object.entries(experiments).map(([name, state]) => button(name, () => apply({ ...first, ...state })));
  buttons.push(button("Reset", () => apply(first)));
  el.classList.add("dynconv");
  el.append(element("div", { class: "dc-buttons" }, ...buttons), ...body, sentence);
  const heard = (name) => () => {
    if (JSON.stringify(model.get(name)) !== JSON.stringify(controls[name].get())) { controls[name].set(model.get(name)); redraw(); }
  };
  const listeners = Object.keys(controls).map((name) => [`change:${name}`, heard(name)]);
  listeners.forEach(([event, listener]) => model.on(event, listener));
  sentence.textContent = draw();
  return { redraw, store, remove: () => listeners.forEach(([event, listener]) => model.off(event, listener)) };
};

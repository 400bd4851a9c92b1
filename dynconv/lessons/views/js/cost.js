// Cost: bars of multiply-adds, parameters and memory, dynamic beside static.

import { element, instrument, number, say, showParts, slider, widget } from "./toolkit.js";

// pure: the numbers of one C → C convolution; the same as cost_state in Python
export const costState = ({ channels, size, kernel_size: k, num_kernels: K, batch: B }) => {
  const one = channels * channels * k * k, convolution = B * size * size * one, hidden = Math.max(1, Math.floor(channels / 4));
  const gate = hidden * (channels + K);
  return {
    static: convolution, convolution, mixing: B * K * one, gate: B * gate,
    outputs: K * convolution + B * (K * channels * size * size + gate),
    static_parameters: one, parameters: K * one + gate + K,
    mixed_kernels: B * one, images: B * channels * size * size,
  };
};

// 1234567 → "1.2 M"
export const short = (v) => {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(v, 1)) / 3)));
  const scaled = v / 1000 ** power;
  return `${scaled >= 100 ? scaled.toFixed(0) : power ? scaled.toFixed(1) : scaled.toFixed(0)}${["", " k", " M", " G", " T"][power]}`;
};

const times = (ratio) => (ratio < 1.1 ? ratio.toFixed(3) : ratio < 10 ? ratio.toFixed(2) : ratio.toFixed(0));

// One bar made of parts, its name before and its numbers behind it.
const bar = (name, parts) => {
  const pieces = parts.map((part) => element("span", { class: `dc-cost-${part}` })), text = element("span", { class: "dc-cost-text" });
  const node = element("div", { class: "dc-cost-row" }, element("span", {}, name), element("span", { class: "dc-cost-track" }, ...pieces), text);
  const draw = (values, largest, words) => {
    showParts(pieces, values.map((v) => v / largest));
    say(text, words);
  };
  return { node, draw };
};

const group = (title, ...rows) => element("section", { class: "dc-cost-group" }, element("h4", {}, title), ...rows.map((r) => r.node));

const legend = () => element("p", { class: "dc-cost-legend" }, ...["convolution", "mixing", "gate"].flatMap((part) =>
  [element("span", { class: `dc-cost-swatch dc-cost-${part}`, "aria-hidden": "true" }), `${part} `]));

// sliders in powers of two move in steps of one
const powers = (options) => {
  const inner = slider({ ...options, min: Math.log2(options.min), max: Math.log2(options.max), step: 1,
    value: Math.log2(options.value), show: (v) => (2 ** v).toFixed(0) });
  const { min, max } = options;
  return { ...inner, get: () => Math.round(2 ** inner.get()), set: (v) => inner.set(Math.log2(v)),
    valid: (v) => Number.isInteger(v) && v >= min && v <= max };
};

const render = ({ model, el }) => {
  const { ranges } = JSON.parse(model.get("data"));
  const options = (name, label) => {
    const [min, max] = ranges[name];
    return { label, min, max, step: 1, value: model.get(name), show: (v) => v.toFixed(0), changed: () => redraw(), settled: () => store() };
  };
  const controls = {
    channels: powers(options("channels", "channels C")),
    size: slider(options("size", "height and width")),
    kernel_size: slider({ ...options("kernel_size", "kernel size"), step: 2 }),
    num_kernels: slider(options("num_kernels", "kernels K")),
    batch: powers(options("batch", "images")),
  };
  const odd = controls.kernel_size.valid;
  controls.kernel_size.valid = (v) => odd(v) && v % 2 === 1;
  const rows = {
    static: bar("one static convolution", ["convolution"]),
    dynamic: bar("mix kernels, convolve once", ["convolution", "mixing", "gate"]),
    outputs: bar("K convolutions, mix outputs", ["convolution"]),
    static_parameters: bar("static", ["convolution"]), parameters: bar("dynamic", ["convolution"]),
    images: bar("the images themselves", ["convolution"]), mixed_kernels: bar("a kernel for each image", ["mixing"]),
  };
  const draw = () => {
    const sizes = Object.fromEntries(Object.entries(controls).map(([name, { get }]) => [name, get()]));
    const c = costState(sizes), dynamic = c.convolution + c.mixing + c.gate, ratio = dynamic / c.static;
    const most = Math.max(dynamic, c.outputs), parameters = Math.max(c.parameters, c.static_parameters);
    const memory = Math.max(c.images, c.mixed_kernels);
    const compared = (v, to) => `${short(v)}, ${times(v / to)} ×`;
    rows.static.draw([c.static], most, short(c.static));
    rows.dynamic.draw([c.convolution, c.mixing, c.gate], most, compared(dynamic, c.static));
    rows.outputs.draw([c.outputs], most, compared(c.outputs, c.static));
    rows.static_parameters.draw([c.static_parameters], parameters, short(c.static_parameters));
    rows.parameters.draw([c.parameters], parameters, compared(c.parameters, c.static_parameters));
    rows.images.draw([c.images], memory, short(c.images));
    rows.mixed_kernels.draw([c.mixed_kernels], memory, compared(c.mixed_kernels, c.images));
    const images = sizes.batch === 1 ? "1 image" : `${sizes.batch} images`;
    return `${images} of ${sizes.size} × ${sizes.size}, ${sizes.channels} channels, K = ${sizes.num_kernels}: mixing adds `
      + `${number((100 * c.mixing) / c.static)} % and the gate ${number((100 * c.gate) / c.static)} % to the static convolution's `
      + `multiply-adds, ${times(ratio)} times in all. A kernel for each image takes ${times(c.mixed_kernels / c.images)} times the `
      + "memory of the images.";
  };
  const { redraw, store, remove } = instrument({
    model, el, draw, controls,
    body: [
      element("div", { class: "dc-controls" }, ...Object.values(controls).map((one) => one.node)),
      legend(),
      group("multiply-adds", rows.static, rows.dynamic, rows.outputs),
      group("parameters", rows.static_parameters, rows.parameters),
      group("numbers in memory", rows.images, rows.mixed_kernels),
    ],
  });
  return remove;
};

export default widget(render);

// Cost: bars of multiply-adds, parameters and memory, dynamic beside static.

import { amount, element, instrument, number, say, showParts, slider, whole, wholeSlider } from "./toolkit.js";

// pure: the numbers of one C → C convolution; the same as cost_state in Python
export const costState = ({ channels, size, kernel_size: k, num_kernels: K, batch: B }) => {
  const one = channels * channels * k * k;
  const convolution = B * size * size * one;
  const hidden = Math.max(1, Math.floor(channels / 4));
  const attention = hidden * (channels + K);
  return {
    static: convolution,
    convolution,
    mixing: B * K * one,
    attention: B * attention,
    outputs: K * convolution + B * (K * channels * size * size + attention),
    static_parameters: one,
    parameters: K * one + attention + K,
    mixed_kernels: B * one,
    images: B * channels * size * size,
  };
};

const times = (ratio) => {
  if (ratio >= 10) return ratio.toFixed(0);
  return ratio.toFixed(ratio < 1.1 ? 3 : 2);
};

// sliders in powers of two move in steps of one
const powers = (label, min, max) => {
  const exponents = { min: Math.log2(min), max: Math.log2(max), step: 1 };
  const inner = slider({ label, ...exponents, show: (v) => whole(2 ** v) });
  return {
    ...inner,
    get: () => Math.round(2 ** inner.get()),
    set: (v) => inner.set(Math.log2(v)),
    valid: (v) => Number.isInteger(v) && v >= min && v <= max,
  };
};

const oddSlider = (label, min, max) => {
  const inner = slider({ label, min, max, step: 2, show: whole });
  return { ...inner, valid: (v) => inner.valid(v) && v % 2 === 1 };
};

const controls = ({ ranges }) => ({
  channels: powers("channels C", ...ranges.channels),
  size: wholeSlider("height and width", ...ranges.size),
  kernel_size: oddSlider("kernel size", ...ranges.kernel_size),
  num_kernels: wholeSlider("kernels K", ...ranges.num_kernels),
  batch: powers("images", ...ranges.batch),
});

// What is compared: titles, and of each the rows: key in the state, name, its parts, and what it is held against.
// prettier-ignore
const GROUPS = [
  ["multiply-adds", [
    ["static", "one static convolution", ["convolution"]],
    ["dynamic", "mix kernels, convolve once", ["convolution", "mixing", "attention"], "static"],
    ["outputs", "K convolutions, mix outputs", ["convolution"], "static"],
  ]],
  ["parameters", [
    ["static_parameters", "static", ["convolution"]],
    ["parameters", "dynamic", ["convolution"], "static_parameters"],
  ]],
  ["numbers in memory", [
    ["images", "the images themselves", ["convolution"]],
    ["mixed_kernels", "a kernel for each image", ["mixing"], "images"],
  ]],
];

const state = (_, values) => {
  const costs = costState(values);
  return { ...costs, dynamic: costs.convolution + costs.mixing + costs.attention };
};

// One bar made of parts, its name before and its numbers behind it.
const bar = ([key, name, parts, against]) => {
  const pieces = parts.map((one) => element("span", { class: `dc-cost-${one}` }));
  const text = element("span", { class: "dc-cost-text" });
  const track = element("span", { class: "dc-cost-track" }, ...pieces);
  const node = element("div", { class: "dc-cost-row" }, element("span", {}, name), track, text);
  const draw = (costs, largest) => {
    const values = parts.length > 1 ? parts.map((one) => costs[one]) : [costs[key]];
    const shares = values.map((v) => v / largest);
    showParts(pieces, shares);
    const compared = against ? `, ${times(costs[key] / costs[against])} ×` : "";
    say(text, `${amount(costs[key])}${compared}`);
  };
  return { key, node, draw };
};

const group = ([title, rows]) => {
  const own = rows.map(bar);
  const node = element("section", { class: "dc-cost-group" }, element("h4", {}, title), ...own.map((one) => one.node));
  const draw = (costs) => {
    const largest = Math.max(...own.map((one) => costs[one.key]));
    own.forEach((one) => one.draw(costs, largest));
  };
  return { node, draw };
};

const legend = () => {
  const swatch = (name) => element("span", { class: `dc-cost-swatch dc-cost-${name}`, "aria-hidden": "true" });
  const parts = ["convolution", "mixing", "attention"].flatMap((name) => [swatch(name), `${name} `]);
  return element("p", { class: "dc-cost-legend" }, ...parts);
};

const view = (_, all) => {
  const groups = GROUPS.map(group);
  const sliders = Object.values(all).map((one) => one.node);
  return {
    body: [element("div", { class: "dc-controls" }, ...sliders), legend(), ...groups.map((one) => one.node)],
    draw: (costs) => groups.forEach((one) => one.draw(costs)),
  };
};

const words = (_, costs, { batch, size, channels, num_kernels: K }) => {
  const share = (v) => number((100 * v) / costs.static);
  return (
    `${batch === 1 ? "1 image" : `${batch} images`} of ${size} × ${size}, ${channels} channels, K = ${K}: mixing adds `
    + `${share(costs.mixing)} % and the attention ${share(costs.attention)} % to the static convolution's multiply-adds, `
    + `${times(costs.dynamic / costs.static)} times in all. A kernel for each image takes `
    + `${times(costs.mixed_kernels / costs.images)} times the memory of the images.`
  );
};

export default instrument({ className: "dc-cost-view", controls, state, view, words });

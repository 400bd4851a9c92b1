// Pictures: arrays as colours, weights as bars.

import { element, kernelMark, say } from "./controls.js";
import { percent } from "./mathematics.js";
import { RDBU, VIRIDIS } from "./palettes.js";

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

// A canvas for one to three channels as colours: grey; red and cyan; red, green and blue. `light` dims pixel i below 1.
export const photograph = ([height, width], label, className = "") => {
  const canvas = element("canvas", { width, height, role: "img", "aria-label": label, class: `dc-picture dc-photo ${className}` });
  canvas.style.aspectRatio = `${width} / ${height}`;
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height), area = width * height;
  const draw = (image, low = 0, high = 1, light = () => 1) => {
    const scale = 255 / (high - low || 1), last = image.length / area - 1;
    for (let i = 0; i < area; i++) {
      const bright = scale * light(i);
      for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = (image[Math.min(c, last) * area + i] - low) * bright;
      pixels.data[4 * i + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
  };
  return { node: canvas, draw };
};

export const captioned = (node, ...caption) => element("figure", { class: "dc-figure" }, node, element("figcaption", {}, ...caption));

// A bar of full width shown from `from` to `to`, shares of it. Its background alone moves: that is painted again and no more,
// while a width is laid out again and a clip makes the browser sort all layers of the page anew.
export const showPart = (bar, from, to) => {
  const length = to - from;
  bar.style.backgroundSize = `${100 * length}% 100%`;
  bar.style.backgroundPosition = `${length < 1 ? (100 * from) / (1 - length) : 0}%`;
};

// Bars that lie on one another, shown one after the other: `shares` of their common width.
export const showParts = (bars, shares) => shares.reduce((from, share, i) => {
  showPart(bars[i], from, from + share);
  return from + share;
}, 0);

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
    weights.forEach((w, k) => { showPart(fills[k], 0, w); say(texts[k], percent(w)); });
    [...node.children].forEach((bar, k) => { bar.style.visibility = k < weights.length ? "" : "hidden"; }); // its place stays
    node.setAttribute("aria-label", `${label}: ${weights.map((w, k) => `kernel ${k + 1} ${percent(w)}`).join(", ")}`);
  };
  return { node, draw };
};

// A bar from zero to the right or to the left; `full` is the length of half a track.
export const signedBar = (className = "dc-diverging") => {
  const fill = element("span", { class: `dc-signed-fill ${className}` });
  const draw = (value, full) => {
    const length = Math.max(-0.5, Math.min(0.5, (0.5 * value) / (full || 1)));
    showPart(fill, Math.min(0.5, 0.5 + length), Math.max(0.5, 0.5 + length));
    fill.classList.toggle("dc-negative", value < 0);
  };
  return { node: element("span", { class: "dc-track dc-signed", "aria-hidden": "true" }, fill), draw };
};

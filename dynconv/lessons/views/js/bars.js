// Bars: a weight as a length, with its number beside it.

import { element, kernelMark, say } from "./elements.js";
import { between } from "./mathematics.js";
import { percent } from "./words.js";

// A bar of full width shown from `from` to `to`, shares of it. Its background alone moves: that is painted again and no more,
// while a width is laid out again and a clip makes the browser sort all layers of the page anew.
export const showPart = (bar, from, to) => {
  const length = to - from;
  bar.style.backgroundSize = `${100 * length}% 100%`;
  bar.style.backgroundPosition = `${length < 1 ? (100 * from) / (1 - length) : 0}%`;
};

// Bars that lie on one another, shown one after the other: `shares` of their common width.
export const showParts = (parts, shares) =>
  shares.reduce((from, share, i) => {
    showPart(parts[i], from, from + share);
    return from + share;
  }, 0);

const shares = (weights, show) => weights.map((w, k) => `kernel ${k + 1} ${show(w)}`).join(", ");

// One row a kernel: whatever bar it has, and beside it room for the number.
const barRows = (label, tracks) => {
  const texts = tracks.map(() => element("span", { class: "dc-bar-text" }));
  const rows = tracks.map((track, k) => element("div", { class: "dc-bar" }, track, texts[k]));
  const node = element("div", { class: "dc-bars", role: "img", "aria-label": label }, ...rows);
  const write = (values, show) => {
    values.forEach((v, k) => say(texts[k], show(v)));
    node.setAttribute("aria-label", `${label}: ${shares(values, show)}`);
  };
  return { node, rows, write };
};

// One bar a kernel, for shares.
export const bars = (count, label) => {
  const fills = Array.from({ length: count }, (_, k) => kernelMark(k, "dc-fill"));
  const { node, rows, write } = barRows(
    label,
    fills.map((fill) => element("span", { class: "dc-track" }, fill)),
  );
  const draw = (weights) => {
    weights.forEach((w, k) => showPart(fills[k], 0, w));
    rows.forEach((one, k) => {
      one.style.visibility = k < weights.length ? "" : "hidden"; // its place stays
    });
    write(weights, percent);
  };
  return { node, draw };
};

// A bar from zero to the right or to the left; `full` is the length of half a track.
export const signedBar = (className = "dc-diverging") => {
  const fill = element("span", { class: `dc-signed-fill ${className}` });
  const draw = (value, full) => {
    const length = between((0.5 * value) / (full || 1), -0.5, 0.5);
    showPart(fill, Math.min(0.5, 0.5 + length), Math.max(0.5, 0.5 + length));
    fill.classList.toggle("dc-negative", value < 0);
  };
  return { node: element("span", { class: "dc-track dc-signed", "aria-hidden": "true" }, fill), draw };
};

// Charts: lines over an axis, and a mark where we are.

import { say, setAttributes, sheet, svg } from "./elements.js";

export const WIDTH = 270;
export const HEIGHT = 130;

export const chartText = (x, y, anchor, words = "") => {
  const node = svg("text", { x, y, "text-anchor": anchor, class: "dc-guide-text" });
  node.textContent = words;
  return node;
};

// pure: polyline points of places
export const points = (places) => places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");

// The frame of a chart: `ticks` are {share of the width: words}; `lines` lie under the mark, `above` over it.
export const chart = (ticks, lines, above = []) => {
  const now = svg("line", { class: "dc-now", y1: 0, y2: HEIGHT });
  const top = chartText(-5, 9, "end");
  const bottom = chartText(-5, HEIGHT, "end");
  const below = Object.entries(ticks).map(([share, words]) => chartText(share * WIDTH, HEIGHT + 14, "middle", words));
  const box = [-42, -6, WIDTH + 55, HEIGHT + 26];
  const node = sheet(box, { class: "dc-chart", role: "img" }, ...lines, now, ...above, top, bottom, ...below);
  const ends = (low, high) => {
    say(top, high);
    say(bottom, low);
  };
  return { node, ends, mark: (x) => setAttributes(now, { x1: x, x2: x }) };
};

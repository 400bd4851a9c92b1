// Charts: lines over an axis, and a mark where we are.

import { say, setAttributes, sheet, svg } from "./elements.js";
import { between } from "./mathematics.js";
import { number } from "./words.js";

export const WIDTH = 270;
export const HEIGHT = 130;
export const LANE = 30; // the height of a lane

export const chartText = (x, y, anchor, words = "") => {
  const node = svg("text", { x, y, "text-anchor": anchor, class: "dc-guide-text" });
  node.textContent = words;
  return node;
};

// pure: polyline points of places
export const points = (places) => places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");

// The frame of a chart: `ticks` are {share of the width: words}; `lines` lie under the mark, `above` over it, and lanes `beneath`.
export const chart = (ticks, lines, above = [], beneath = []) => {
  const depth = beneath.length ? HEIGHT + 22 + LANE : HEIGHT;
  const now = svg("path", { class: "dc-now" }); // not through the words between the chart and its lanes
  const top = chartText(-5, 9, "end");
  const bottom = chartText(-5, HEIGHT, "end");
  const below = Object.entries(ticks).map(([share, words]) => chartText(share * WIDTH, HEIGHT + 14, "middle", words));
  const box = [-42, -6, WIDTH + 55, beneath.length ? depth + 12 : depth + 26];
  const node = sheet(
    box,
    { class: "dc-chart", role: "img" },
    ...lines,
    ...beneath,
    now,
    ...above,
    top,
    bottom,
    ...below,
  );
  const ends = (low, high) => {
    say(top, high);
    say(bottom, low);
  };
  return {
    node,
    ends,
    mark: (x) => setAttributes(now, { d: `M${x} 0V${HEIGHT}${beneath.length ? `M${x} ${HEIGHT + 20}V${depth}` : ""}` }),
  };
};

// A strip on a logarithmic scale: the way so far, and dotted the way that is planned.
export const lane = (name, title, top, [low, high], width = WIDTH) => {
  const [past, future] = ["", " dc-planned"].map((more) =>
    svg("polyline", { class: `dc-lane dc-lane-${name}${more}` }),
  );
  const value = chartText(-5, top + LANE - 1, "end");
  const height = (v) => top + LANE * (1 - between(Math.log(v / low) / Math.log(high / low), 0, 1));
  const tell = (v) => say(value, number(v));
  const draw = (before, after, across) => {
    const place = ([step, v]) => [across(step), height(v)];
    past.setAttribute("points", points([...before, after[0]].map(place)));
    future.setAttribute("points", points(after.map(place)));
    tell(after[0][1]);
  };
  const floor = svg("line", { class: "dc-lane-floor", x1: 0, x2: width, y1: top + LANE, y2: top + LANE });
  return { nodes: [floor, future, past, chartText(-5, top + 12, "end", title), value], draw, tell };
};

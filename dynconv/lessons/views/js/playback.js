// Playing back a training run: the scrubber and its button, the loss curve, attention by class, the K kernels.

import { button, captioned, effectiveNumber, element, kernelMark, percent, picture, say, sheet, showParts, slider, svg } from "./toolkit.js";

// pure: which record shows this epoch: the last one that is not later
export const recordAt = (records, epoch) => records.reduce((found, record, i) => (record.epoch <= epoch ? i : found), 0);

// pure: effective number of kernels by class: as recorded, or else that of the class's mean attention
export const effectiveKernels = (record) => record.effective ?? record.attention.map(effectiveNumber);

// pure: what the loss axis spans. The untrained network's loss would flatten all the rest.
export const lossRange = (runs, references) => {
  const learned = runs.flatMap((records) => (records.length > 1 ? records.slice(1) : records).map((r) => r.test_loss));
  const values = [...learned, ...references.map(([, v]) => v)];
  const low = Math.min(...values), span = Math.max(...values) - low || Math.abs(low) || 1;
  return [low - 0.13 * span, low + 1.1 * span]; // below there is room for a guide's name
};

// pure: polyline points of one curve in a width × height box; what lies above `high` runs along the top
export const curve = (points, last, low, high, width, height) => points.map(([epoch, v]) => {
  const x = (epoch / Math.max(1, last)) * width, y = (1 - (Math.min(v, high) - low) / (high - low)) * height;
  return `${x.toFixed(1)},${y.toFixed(1)}`;
}).join(" ");

// The test loss of one run by epoch, the references as guides, and a mark at one epoch.
export const lossChart = (references, last, label) => {
  const width = 270, height = 130;
  const text = (x, y, anchor, words) => svg("text", { x, y, "text-anchor": anchor, class: "dc-guide-text" }, words);
  const line = svg("polyline", { class: "dc-line" }), dot = svg("circle", { class: "dc-dot", r: 4.5 });
  const now = svg("line", { class: "dc-now", y1: 0, y2: height });
  const guides = references.map(() => svg("line", { class: "dc-guide", x1: 0, x2: width }));
  const labels = references.map(([name]) => text(width, 0, "end", name));
  const top = text(-5, 9, "end"), bottom = text(-5, height, "end");
  const node = sheet([-40, -6, width + 52, height + 26], { class: "dc-chart", role: "img" });
  const lowest = Math.min(...references.map(([, v]) => v));
  const ticks = [text(0, height + 14, "middle", "0"), text(width, height + 14, "middle", last)];
  node.append(...guides, ...labels, line, now, dot, top, bottom, ...ticks);
  let place; // of a record, on the axes that were drawn last
  const draw = (records, [low, high]) => {
    place = (some) => curve(some.map((r) => [r.epoch, r.test_loss]), last, low, high, width, height);
    line.setAttribute("points", place(records));
    references.forEach(([, v], i) => {
      const y = (1 - (v - low) / (high - low)) * height;
      guides[i].setAttribute("y1", y);
      guides[i].setAttribute("y2", y);
      labels[i].setAttribute("y", y < 12 || v === lowest ? y + 11 : y - 3); // curves end above the lowest
    });
    top.textContent = high.toPrecision(2);
    bottom.textContent = low.toPrecision(2);
  };
  const mark = (record) => {
    const [x, y] = place([record]).split(",");
    now.setAttribute("x1", x);
    now.setAttribute("x2", x);
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
    node.setAttribute("aria-label", `${label} by epoch, ${record.test_loss.toFixed(4)} at epoch ${record.epoch}`);
  };
  return { node, draw, mark };
};

// One stacked bar a class: the share of each kernel, and beside it how many kernels are effectively in use.
export const stacks = (classes, K) => {
  const rows = classes.map(() => {
    const parts = Array.from({ length: K }, (_, k) => kernelMark(k, "dc-part"));
    const bar = element("div", { class: "dc-stack", role: "img" }, ...parts);
    return { parts, bar, count: element("span", { class: "dc-effective" }) };
  });
  const node = element("div", { class: "dc-stacks dc-attention" }, ...rows.flatMap(({ bar, count }, c) =>
    [element("span", {}, classes[c]), bar, count]));
  const draw = (record) => {
    const effective = effectiveKernels(record);
    rows.forEach(({ parts, bar, count }, c) => {
      showParts(parts, record.attention[c]);
      say(count, effective[c].toFixed(1));
      const shares = record.attention[c].map((w, k) => `kernel ${k + 1} ${percent(w)}`).join(", ");
      bar.setAttribute("aria-label", `attention for ${classes[c]}: ${shares}; ${effective[c].toFixed(1)} kernels effectively`);
    });
  };
  return { node, draw };
};

// The K kernels, each on a scale of its own; `of` says in the labels whose they are.
export const kernelRow = (K, [height, width], of = "") => {
  const views = Array.from({ length: K }, (_, k) => picture(height, width, `kernel ${k + 1}${of}`, "dc-kernel"));
  const figures = views.map((view, k) => captioned(view.node, kernelMark(k), ` kernel ${k + 1}`));
  const node = element("div", { class: "dc-row" }, ...figures);
  return { node, draw: (record) => views.forEach((view, k) => view.drawSigned(record.kernels[k])) };
};

// A scrubber for the epoch and a button that moves it. `moved` runs at every step, `settled` when it stays.
export const player = ({ last, value, moved, settled }) => {
  let timer = 0, end = last;
  const pace = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 150; // milliseconds a step
  const scrubber = slider({
    label: "epoch", min: 0, max: Math.max(1, end), step: 1, value, show: (v) => v.toFixed(0),
    changed: () => { stop(); moved(); }, settled,
  });
  const stop = () => { clearInterval(timer); timer = 0; play.textContent = "Play"; };
  const rest = () => { stop(); moved(); settled?.(); };
  const step = () => {
    scrubber.set(Math.min(scrubber.get() + 1, end));
    if (scrubber.get() >= end) rest(); else moved();
  };
  const start = () => {
    play.textContent = "Pause";
    if (scrubber.get() >= end) { scrubber.set(0); moved(); }
    timer = setInterval(step, pace);
  };
  const play = button("Play", () => (timer ? rest() : start()));
  play.classList.add("dc-play");
  const reach = (epoch) => { end = epoch; scrubber.input.max = Math.max(1, epoch); };
  const set = (epoch) => { stop(); scrubber.set(epoch); };
  const valid = (epoch) => Number.isInteger(epoch) && epoch >= 0 && epoch <= end;
  return { nodes: [scrubber.node, play], get: scrubber.get, set, valid, stop, reach, playing: () => timer !== 0 };
};

// Playing back a training run: the scrubber and its button, the loss curve, attention by class, the K kernels.

import { diagram, scaleOf } from "./diagram.js";
import {
  chart,
  chartText,
  effectiveNumber,
  element,
  HEIGHT,
  kernelMark,
  lane,
  number,
  percent,
  points,
  say,
  setAttributes,
  showParts,
  slider,
  svg,
  whole,
  WIDTH,
} from "./toolkit.js";
import { playButton } from "./play.js";

// pure: which record shows this epoch: the last one that is not later
export const recordAt = (records, epoch) =>
  records.reduce((found, record, i) => (record.epoch <= epoch ? i : found), 0);

// pure: effective number of kernels by class: as recorded, or else that of the class's mean attention
export const effectiveKernels = (record) => record.effective ?? record.attention.map(effectiveNumber);

// pure: what the loss axis spans. The untrained network's loss would flatten all the rest.
export const lossRange = (runs, references) => {
  const later = (records) => (records.length > 1 ? records.slice(1) : records);
  const learned = runs.flatMap((records) => later(records).map((r) => r.test_loss));
  const values = [...learned, ...references.map(([, v]) => v)];
  const low = Math.min(...values);
  const span = Math.max(...values) - low || Math.abs(low) || 1;
  return [low - 0.13 * span, low + 1.1 * span]; // below there is room for a guide's name
};

// pure: places of one curve in a width × height box; what lies above `high` runs along the top
const placesOf = (values, last, low, high, width, height) =>
  values.map(([epoch, v]) => [
    (epoch / Math.max(1, last)) * width,
    (1 - (Math.min(v, high) - low) / (high - low)) * height,
  ]);

// pure: the same as a polyline's points
export const curve = (...curved) => points(placesOf(...curved));

// Horizontal lines to compare with, each with its name.
const guidesOf = (references) => {
  const lines = references.map(() => svg("line", { class: "dc-guide", x1: 0, x2: WIDTH }));
  const labels = references.map(([name]) => chartText(WIDTH - 4, 0, "end", name));
  const lowest = Math.min(...references.map(([, v]) => v));
  const draw = (low, high) =>
    references.forEach(([, v], i) => {
      const y = (1 - (v - low) / (high - low)) * HEIGHT;
      setAttributes(lines[i], { y1: y, y2: y });
      labels[i].setAttribute("y", y < 12 || v === lowest ? y + 11 : y - 3); // curves end above the lowest
    });
  return { nodes: [...lines, ...labels], draw };
};

// The test loss of one run by epoch, the references as guides, and a mark at one epoch.
export const lossChart = (references, last, label) => {
  const line = svg("polyline", { class: "dc-line" });
  const dot = svg("circle", { class: "dc-dot", r: 4.5 });
  const guides = guidesOf(references);
  const heat = lane("heat", "T", HEIGHT + 22, [0.1, 100]);
  const axis = chart({ 0: "0", 1: last }, [...guides.nodes, line], [dot], heat.nodes);
  let placed; // records, on the axes that were drawn last
  const draw = (records, [low, high]) => {
    placed = (some) => {
      const losses = some.map((r) => [r.epoch, r.test_loss]);
      return placesOf(losses, last, low, high, WIDTH, HEIGHT);
    };
    line.setAttribute("points", points(placed(records)));
    guides.draw(low, high);
    const temperatures = records.map((r) => [r.epoch, r.temperature]);
    heat.draw(temperatures, temperatures.slice(-1), (epoch) => (epoch / Math.max(1, last)) * WIDTH);
    axis.ends(low.toPrecision(2), high.toPrecision(2));
  };
  const mark = (record) => {
    const [[x, y]] = placed([record]);
    axis.mark(x);
    heat.tell(record.temperature);
    setAttributes(dot, { cx: x, cy: y });
    const said = `${label} by epoch, ${record.test_loss.toFixed(4)} at epoch ${record.epoch}, T = ${number(record.temperature)}`;
    axis.node.setAttribute("aria-label", said);
  };
  return { node: axis.node, draw, mark };
};

// The share of each kernel for one class as a stacked bar, and beside it how many kernels are effectively in use.
const stack = (name, K) => {
  const parts = Array.from({ length: K }, (_, k) => kernelMark(k, "dc-part"));
  const bar = element("div", { class: "dc-stack", role: "img" }, ...parts);
  const count = element("span", { class: "dc-effective" });
  const draw = (weights, effective) => {
    const shares = weights.map((w, k) => `kernel ${k + 1} ${percent(w)}`).join(", ");
    showParts(parts, weights);
    say(count, effective.toFixed(1));
    bar.setAttribute("aria-label", `attention for ${name}: ${shares}; ${effective.toFixed(1)} kernels effectively`);
  };
  return { nodes: [element("span", {}, name), bar, count], draw };
};

export const stacks = (classes, K) => {
  const rows = classes.map((name) => stack(name, K));
  const node = element("div", { class: "dc-stacks dc-attention" }, ...rows.flatMap((one) => one.nodes));
  const draw = (record) => {
    const effective = effectiveKernels(record);
    rows.forEach((one, c) => one.draw(record.attention[c], effective[c]));
  };
  return { node, draw };
};

// The K kernels on one scale, that of the kernels which some runs end with; `of` says in the labels whose they are.
export const kernelRow = (K, size, of) => {
  const names = of && Array.from({ length: K }, () => of);
  const figure = diagram({
    label: "the kernels",
    class: "dc-strip",
    stages: [
      { rows: K, columns: [{ tiles: "kernel", size, names, full: 1, title: "kernels" }] },
      { scale: "scale", full: 1 },
    ],
  });
  let full = 1;
  const fit = (runs) => {
    full = scaleOf(runs.flatMap((records) => records.at(-1).kernels)).full;
  };
  const draw = (record) => {
    const kernel = record.kernels.map((one) => Array.from(one, (v) => v / full));
    figure.draw({ kernel, scale: full }); // at once: a slider that moves is not waited for
  };
  return { node: figure.node, fit, full: () => full, draw, remove: figure.remove };
};

const PACE = 150; // milliseconds an epoch

// A control for the epoch, or whatever it is called: a scrubber, which `show`s its place as a number, and a button that plays.
export const player = (last, label = "epoch", show = whole) => {
  let end = last;
  const scrubber = slider({ label, min: 0, max: Math.max(1, end), step: 1, show });
  const scrub = { get: scrubber.get, set: scrubber.set, inputs: [scrubber.input] };
  const play = playButton(scrub, () => end, PACE);
  const reach = (epoch) => {
    end = epoch;
    scrubber.input.max = Math.max(1, epoch);
  };
  const set = (epoch) => {
    play.stop();
    scrubber.set(epoch);
  };
  const valid = (epoch) => Number.isInteger(epoch) && epoch >= 0 && epoch <= end;
  const own = { nodes: [scrubber.node, play.node], reach, end: () => end, playing: play.playing, remove: play.stop };
  return { ...own, get: scrubber.get, set, valid };
};

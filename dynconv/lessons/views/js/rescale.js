// Rescale: any weight for any kernel, and not one pixel of the output moves.

import { diagram } from "./diagram.js";
import {
  choice,
  conv2d,
  decoded,
  element,
  indexOfMax,
  instrument,
  largestDifference,
  largestSize,
  mix,
  number,
  part,
  percent,
  range,
  scaled,
  slider,
  sum,
} from "./toolkit.js";

// pure: kernel `which` gets the weight `share`, the others share the rest as before; what each adds stays what it was
export const rescaleState = ({ kernels, weights, size }, which, share) => {
  const others = 1 - weights[which];
  const now = weights.map((w, k) => (k === which ? share : (w * (1 - share)) / others));
  const factors = weights.map((w, k) => w / now[k]);
  const area = size * size;
  const resized = kernels.map((v, i) => v * factors[Math.floor(i / area)]);
  return { weights: now, factors, kernels: resized, mixed: mix(resized, now, area) };
};

// the mean square of each weighted map, as a share of all of them: it is the same at any share
export const sizesOf = ({ photo, height, width, kernels, weights, size }) => {
  const squares = weights.map((w, k) => {
    const map = conv2d(photo, height, width, part(kernels, k, size * size), size);
    return w * w * map.reduce((total, v) => total + v * v, 0);
  });
  const all = sum(squares);
  return squares.map((v) => v / all);
};

const outputOf = ({ photo, height, width, size }, kernel) => conv2d(photo, height, width, kernel, size);

const read = (raw) => {
  const data = decoded(raw, "photo", "kernels");
  const before = outputOf(data, mix(data.kernels, data.weights, data.size ** 2));
  return { ...data, before, sizes: sizesOf(data), limits: range(data.photo), full: largestSize(before) };
};

const controls = ({ names }) => ({
  share: slider({ label: "its weight", min: 0.02, max: 0.98, step: 0.01, show: percent }),
  kernel: choice({ label: "kernel", options: names }),
});

const state = (data, { kernel, share }) => {
  const shown = rescaleState(data, data.names.indexOf(kernel), share);
  const output = outputOf(data, shown.mixed);
  return { ...shown, output, difference: largestDifference(output, data.before) };
};

const spec = ({ names, height, width, size, full }) => ({
  label: "kernels and their weights, one against the other",
  stages: [
    {
      rows: names.length,
      columns: [
        { shares: "part", title: "what it adds", note: "share of all squares" },
        { shares: "weight", title: "weight π", note: "softmax of parameters" },
        { tiles: "kernel", size: [size, size], names, title: "kernel", note: "one scale" },
      ],
    },
    { picture: "mixed", size: [size, size], kernel: true, title: "mixed kernel", note: "Σ π k" },
    { op: "conv", sign: "∗" },
  ],
  results: [
    { picture: "output", size: [height, width], title: "output", note: "with these weights" },
    { picture: "change", size: [height, width], signed: true, full: 1, title: "change", note: " " },
    { scale: "scale", full },
  ],
  wires: [
    { from: "mixed", to: "conv", kind: "data" },
    { from: "conv", to: "output", kind: "data" },
  ],
  ribbons: [{ from: "kernel", to: "mixed", share: "weight" }],
});

const view = (data, own) => {
  const figure = diagram(spec(data));
  const area = data.size ** 2;
  const draw = ({ weights, kernels, mixed, output, difference }) => {
    figure.draw({
      weight: weights,
      kernel: data.names.map((_, k) => part(kernels, k, area)),
      part: data.sizes,
      mixed,
      output: scaled(output, [-data.full, data.full]),
      change: output.map((v, i) => (v - data.before[i]) / data.full),
    });
    figure.note("change", `largest ${difference.toExponential(0)}`);
  };
  const bar = element("div", { class: "dc-controls" }, own.kernel.node, own.share.node);
  return { body: [bar, figure.node], draw, remove: figure.remove };
};

const words = ({ names, sizes }, { weights, factors, difference }, { kernel, share }) => {
  const [first, largest] = [indexOfMax(weights), indexOfMax(sizes)];
  return (
    `${kernel} has ${percent(share)}, its kernel ${number(factors[names.indexOf(kernel)])} times what it was. `
    + `${names[first]} has the largest weight, ${percent(weights[first])}, ${names[largest]} the largest part of the output, as before. `
    + `The output has changed by ${difference ? `at most ${difference.toExponential(0)}` : "nothing"}.`
  );
};

export default instrument({ className: "dc-rescale", read, controls, state, view, words });

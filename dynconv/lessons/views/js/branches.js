// Branches: K convolutions of one photo, mixed. Where the weights come from decides what the whole thing is.

import { diagram, scaleOf } from "./diagram.js";
import {
  checkbox,
  choice,
  decoded,
  element,
  indexOfMax,
  instrument,
  mean,
  part,
  percent,
  radioGroup,
  rangeOfAll,
  scaled,
} from "./toolkit.js";

const CHANNELS = 2;

// pure: the branches, their weights and their sum. Weights are one number a kernel, one a kernel and channel, or one a kernel and
// position: `weights.length` says which
export const branchesState = ({ maps, weights, area, count, activation }) => {
  const branches = activation ? maps.map((v) => Math.max(v, 0)) : maps;
  const per = weights.length / count; // numbers a kernel
  const at = { 1: (k) => weights[k], [CHANNELS]: (k, c) => weights[k * CHANNELS + c] }[per];
  const weight = at ?? ((k, _, i) => weights[k * area + i]);
  const mixed = new Float32Array(CHANNELS * area);
  for (let k = 0; k < count; k++) {
    for (let c = 0; c < CHANNELS; c++) {
      for (let i = 0; i < area; i++) mixed[c * area + i] += weight(k, c, i) * branches[(k * CHANNELS + c) * area + i];
    }
  }
  const each = (c) =>
    Array.from({ length: count }, (_, k) => (at ? at(k, c) : mean(Array.from(part(weights, k, area)))));
  const places = Array.from({ length: count }, (_, k) =>
    Float32Array.from({ length: area }, (_v, i) => weight(k, 0, i)),
  );
  return { branches, mixed, shares: [each(0), each(1)], places };
};

const read = (raw) => {
  const data = decoded(raw, "photos", "kernels", "maps", "weights", "left");
  const { names, kernels, size, height, width, photos } = data;
  const tiles = names.map((_, k) => part(kernels, k, size * size));
  const full = data.maps.map((maps) => scaleOf([maps]).full); // one scale for all maps of a photo
  return { ...data, area: height * width, tiles, full, limits: rangeOfAll(photos) };
};

const activationControl = () => {
  const box = checkbox();
  const node = element("label", { class: "dc-choice" }, box, "ReLU in each branch");
  const set = (v) => {
    box.checked = v;
  };
  return { node, get: () => box.checked, set, valid: (v) => typeof v === "boolean" };
};

const controls = ({ sources, photo_names }) => ({
  source: radioGroup("weights from", "dc-controls", sources, (input, i) =>
    element("label", { class: "dc-choice" }, input, sources[i]),
  ),
  activation: activationControl(),
  photo: choice({ label: "photo", options: photo_names }),
});

const state = (data, { source, activation, photo }) => {
  const b = data.photo_names.indexOf(photo);
  const s = data.sources.indexOf(source);
  const sent = { maps: data.maps[b], weights: data.weights[s][b], area: data.area, count: data.names.length };
  const answers = data.answers[s][Number(activation)];
  return { b, s, ...branchesState({ ...sent, activation }), left: data.left[s][Number(activation)][b], answers };
};

const tileColumn = (name, size, title, note, full) => ({ tiles: name, size, title, note, full });

const spec = ({ names, height, width, size }) => {
  const map = [height, width];
  return {
    label: "K branches of one photo, weighed and added",
    stages: [
      { picture: "image", size: map, title: "image", note: " " },
      {
        rows: names.length,
        columns: [
          { shares: "first", title: "weight", note: "channel 1" },
          { shares: "second", title: "weight", note: "channel 2" },
          tileColumn("places", map, "weight", "by position", 1),
          { tiles: "kernel", size: [size, size], names, title: "kernel", note: "channel 1" },
          tileColumn("branch", map, "branch", "channel 1", 1),
        ],
      },
      { op: "sum", sign: "Σ" },
    ],
    results: [
      { picture: "one", size: map, signed: true, full: 1, title: "mix", note: "channel 1" },
      { picture: "two", size: map, signed: true, full: 1, title: "mix", note: "channel 2" },
      { scale: "scale", full: 1 },
      { picture: "left", size: map, signed: true, full: 1, title: "left over", note: " " },
    ],
    wires: [
      { from: "image", to: "first", kind: "grey" },
      { from: "sum", to: "one", kind: "data" },
    ],
    ribbons: [{ from: "branch", to: "sum", share: "first" }],
  };
};

const offBy = (v) => (v < 0.001 ? v.toExponential(0) : percent(v));

const view = (data, own) => {
  const figure = diagram(spec(data));
  const { area, names } = data;
  const draw = ({ b, s, branches, mixed, shares, places, left, answers }) => {
    const onScale = (array) => array.map((v) => v / data.full[b]);
    figure.wire("image-first", s ? "live" : "grey");
    figure.draw({
      scale: data.full[b],
      image: scaled(data.photos[b], data.limits),
      kernel: data.tiles,
      branch: names.map((_, k) => onScale(part(branches, CHANNELS * k, area))),
      first: shares[0],
      second: shares[1],
      places,
      one: onScale(part(mixed, 0, area)),
      two: onScale(part(mixed, 1, area)),
      left: onScale(left),
    });
    figure.note("image", data.photo_names[b]);
    figure.note("left", `off by ${offBy(answers.fold)}`);
  };
  const from = element("div", { class: "dc-controls" }, "weights from", own.source.node);
  const bar = element("div", { class: "dc-controls" }, own.activation.node, own.photo.node);
  return { body: [from, bar, figure.node], draw, remove: figure.remove };
};

const yes = (answer) => (answer ? "yes" : "no");

const KNOWN = [
  ["the question's layer", "DARTS' mixed operation"],
  ["dynamic convolution", "dynamic convolution of what a ReLU leaves"],
  ["a selective kernel without its ReLU", "a selective kernel (SKNet)"],
  ["a kernel for each position, like involution's", "weights for each position, after a ReLU"],
];

const words = ({ names, photo_names, sources }, { b, s, shares, answers }, { activation }) => {
  const best = indexOfMax(shares[0]);
  const average = s === 3 ? "on average " : "";
  return (
    `Weights from ${sources[s]}, ${activation ? "a ReLU in each branch" : "no activation"}: ${KNOWN[s][Number(activation)]}. `
    + `For ${photo_names[b]}, kernel ${best + 1} (${names[best]}) has ${average}${percent(shares[0][best])} of channel 1. `
    + `The same for every image: ${yes(answers.is_image)}. The same at every position: ${yes(answers.is_position)}. `
    + `Folds into one convolution: ${yes(answers.is_fold)}; the best single one is off by ${offBy(answers.fold)}.`
  );
};

export default instrument({ className: "dc-branches", read, controls, state, view, words });

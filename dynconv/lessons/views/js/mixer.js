// Mixer: the question's layer. K convolutions, weights that no image feeds, their sum, and the one kernel that does the same.

import { diagram } from "./diagram.js";
import {
  conv2d,
  decoded,
  effectiveNumber,
  element,
  indexOfMax,
  instrument,
  kernelsSlider,
  largestDifference,
  logitSliders,
  mix,
  number,
  part,
  percent,
  range,
  rangeOfAll,
  scaled,
  softmax,
  temperatureSlider,
} from "./toolkit.js";
import { thumbnails } from "./thumbnails.js";

export const allMaps = (photo, height, width, kernels, size, count) => {
  const maps = new Float32Array(count * height * width);
  for (let k = 0; k < count; k++) {
    maps.set(conv2d(photo, height, width, part(kernels, k, size * size), size), k * height * width);
  }
  return maps;
};

// pure: everything the pictures show, from the photo, the kernels and the values of the controls
export const mixerState = ({ photo, height, width, kernels, size, maps }, { logits, temperature, num_kernels }) => {
  const weights = softmax(logits.slice(0, num_kernels), temperature);
  const mixed = mix(maps, weights, height * width); // sum of K outputs
  const kernel = mix(kernels, weights, size * size); // sum of K kernels
  const folded = conv2d(photo, height, width, kernel, size); // one convolution
  return { weights, mixed, kernel, folded, difference: largestDifference(mixed, folded) };
};

const read = (raw) => {
  const data = decoded(raw, "photos", "kernels");
  const { photos, height, width, kernels, size, names } = data;
  const maps = photos.map((photo) => allMaps(photo, height, width, kernels, size, names.length));
  const tiles = names.map((_, k) => part(kernels, k, size * size));
  return { ...data, maps, tiles, limits: rangeOfAll(photos), mapLimits: maps.map(range) };
};

const controls = (data) => {
  const photo = thumbnails("photo");
  photo.offer(
    data.photo_names.map((name, i) => {
      return { name, size: [data.height, data.width], array: scaled(data.photos[i], data.limits) };
    }),
  );
  const count = data.names.length;
  return { photo, temperature: temperatureSlider(), num_kernels: kernelsSlider(count), logits: logitSliders(count) };
};

const state = (data, values) => {
  const which = Math.max(0, data.photo_names.indexOf(values.photo));
  const photo = data.photos[which];
  return { which, photo, ...mixerState({ ...data, photo, maps: data.maps[which] }, values) };
};

const spec = ({ names, height, width, size, photo_names }, { logits }) => ({
  label: "the question's layer: K kernels, mixed by weights that are parameters",
  stages: [
    { picture: "image", size: [height, width], title: "image", note: photo_names.length > 1 ? " " : "" },
    {
      rows: names.length,
      columns: [
        { bars: "z", title: "logit z", note: "learned: drag", names, controls: logits.parts },
        { shares: "pi", title: "share π", note: "softmax of z ÷ T" },
        { tiles: "kernel", size: [size, size], names, title: "kernel", note: "one scale" },
      ],
    },
    { picture: "mixed", size: [size, size], kernel: true, title: "mixed kernel", note: "Σ π k" },
    { op: "conv", sign: "∗" },
  ],
  results: [
    { picture: "folded", size: [height, width], title: "one convolution", note: "with the mixed kernel" },
    { picture: "sum", size: [height, width], title: "sum of K maps", note: "Σ π (k ∗ image)" },
    { picture: "difference", size: [height, width], signed: true, full: 1, title: "difference", class: "dc-small" },
    { scale: "scale", full: 1 },
  ],
  wires: [
    { from: "image", to: "z", kind: "grey" },
    { from: "image", to: "conv", kind: "data", around: true, title: "the image that is convolved" },
    { from: "mixed", to: "conv", kind: "data" },
    { from: "conv", to: "folded", kind: "data" },
  ],
  ribbons: [{ from: "kernel", to: "mixed", share: "pi" }],
});

const view = (data, own) => {
  const figure = diagram(spec(data, own));
  const draw = (shown, values) => {
    const limits = data.mapLimits[shown.which];
    own.logits.parts.forEach((one, k) => {
      one.input.disabled = k >= values.num_kernels;
    });
    figure.draw(
      {
        image: scaled(shown.photo, data.limits),
        z: values.logits,
        pi: shown.weights,
        kernel: data.tiles,
        mixed: shown.kernel,
        folded: scaled(shown.folded, limits),
        sum: scaled(shown.mixed, limits),
        difference: shown.mixed.map((v, i) => v - shown.folded[i]),
      },
      shown.which,
    );
    figure.note("image", data.photo_names[shown.which]);
    figure.note("difference", `largest ${shown.difference.toExponential(0)}`);
  };
  const sliders = element("div", { class: "dc-controls" }, own.temperature.node, own.num_kernels.node);
  return { body: [own.photo.node, sliders, figure.node], draw, remove: figure.remove };
};

const words = ({ names, photo_names }, { which, weights, difference }, { temperature, num_kernels: K }) => {
  const best = indexOfMax(weights);
  const whose = photo_names.length > 1 ? ` for ${photo_names[which]}, and for any other photo` : "";
  return (
    `At T = ${number(temperature)}, kernel ${best + 1} (${names[best]}) gets ${percent(weights[best])}${whose}; `
    + `${number(effectiveNumber(weights))} of ${K} kernels are effectively in use. Sum of ${K} convolution${K > 1 ? "s" : ""} `
    + `and one folded convolution differ by at most ${difference.toExponential(0)}.`
  );
};

export default instrument({ className: "dc-mixer", read, controls, state, view, words });

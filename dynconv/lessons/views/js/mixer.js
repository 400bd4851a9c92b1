// Mixer: K convolutions of one photo, their softmax-weighted sum, and the one folded kernel that does the same.

import {
  bars,
  captioned,
  conv2d,
  decoded,
  effectiveNumber,
  element,
  indexOfMax,
  instrument,
  kernelMark,
  kernelsSlider,
  largestDifference,
  logitSliders,
  mix,
  number,
  part,
  percent,
  picture,
  range,
  row,
  say,
  softmax,
  temperatureSlider,
} from "./toolkit.js";

// pure: everything the pictures show, from the photo, the kernels and the values of the controls
export const mixerState = ({ photo, height, width, kernels, size, maps }, { logits, temperature, num_kernels }) => {
  const weights = softmax(logits.slice(0, num_kernels), temperature);
  const mixed = mix(maps, weights, height * width); // sum of K outputs
  const kernel = mix(kernels, weights, size * size); // sum of K kernels
  const folded = conv2d(photo, height, width, kernel, size); // one convolution
  return { weights, mixed, kernel, folded, difference: largestDifference(mixed, folded) };
};

export const allMaps = (photo, height, width, kernels, size, count) => {
  const maps = new Float32Array(count * height * width);
  for (let k = 0; k < count; k++) {
    maps.set(conv2d(photo, height, width, part(kernels, k, size * size), size), k * height * width);
  }
  return maps;
};

const read = (raw) => {
  const data = decoded(raw, "photo", "kernels");
  const { photo, height, width, kernels, size, names } = data;
  const maps = allMaps(photo, height, width, kernels, size, names.length);
  return { ...data, maps, limits: range(maps) };
};

const controls = ({ names }) => ({
  temperature: temperatureSlider(),
  num_kernels: kernelsSlider(names.length),
  logits: logitSliders(names.length),
});

// One kernel: its name, weight, picture, map and logit.
const card = ({ names, kernels, size, maps, height, width, limits }, k, logit) => {
  const kernel = picture(size, size, `kernel ${k + 1}, ${names[k]}`, "dc-kernel");
  kernel.drawSigned(part(kernels, k, size * size));
  const map = picture(height, width, `feature map of kernel ${k + 1}, ${names[k]}`);
  map.draw(part(maps, k, height * width), "viridis", ...limits);
  const weight = element("span", { class: "dc-weight" });
  const title = element("div", { class: "dc-title" }, kernelMark(k), ` ${k + 1} ${names[k]} `, weight);
  const node = element("div", { class: "dc-card" }, title, kernel.node, map.node, logit.node);
  const draw = (weights) => {
    const unused = k >= weights.length;
    node.classList.toggle("dc-unused", unused); // dimmed, not removed: nothing on the page may jump
    logit.input.disabled = unused;
    say(weight, unused ? "off" : percent(weights[k]));
  };
  return { node, draw };
};

// What comes out: the weights, the sum of the maps, and beside it the one kernel and its map.
const result = ({ photo, height, width, size, names, limits }) => {
  const original = picture(height, width, "the photo");
  original.draw(photo, "grey", ...range(photo));
  const share = bars(names.length, "mixing weights");
  const mixed = picture(height, width, "weighted sum of the K feature maps");
  const kernel = picture(size, size, "the folded kernel", "dc-kernel-large");
  const folded = picture(height, width, "feature map of the one folded kernel");
  const node = row(
    "",
    captioned(original.node, "photo x"),
    captioned(share.node, "weights"),
    captioned(mixed.node, "sum of the K maps, weighted"),
    captioned(kernel.node, "one folded kernel"),
    captioned(folded.node, "x convolved with it"),
  );
  const draw = (state) => {
    share.draw(state.weights);
    mixed.draw(state.mixed, "viridis", ...limits);
    kernel.drawSigned(state.kernel);
    folded.draw(state.folded, "viridis", ...limits);
  };
  return { node, draw };
};

const view = (data, { temperature, num_kernels, logits }) => {
  const cards = logits.parts.map((logit, k) => card(data, k, logit));
  const outcome = result(data);
  return {
    body: [
      element("div", { class: "dc-controls" }, temperature.node, num_kernels.node),
      element("div", { class: "dc-cards" }, ...cards.map((one) => one.node)),
      outcome.node,
    ],
    draw: (state) => {
      cards.forEach((one) => one.draw(state.weights));
      outcome.draw(state);
    },
  };
};

const words = ({ names }, { weights, difference }, { temperature, num_kernels: K }) => {
  const best = indexOfMax(weights);
  return (
    `At T = ${number(temperature)}, kernel ${best + 1} (${names[best]}) gets ${percent(weights[best])}; `
    + `${number(effectiveNumber(weights))} of ${K} kernels are effectively in use. Sum of ${K} convolution${K > 1 ? "s" : ""} `
    + `and one folded convolution differ by at most ${difference.toExponential(0)}.`
  );
};

export default instrument({ className: "dc-mixer", read, controls, state: mixerState, view, words });

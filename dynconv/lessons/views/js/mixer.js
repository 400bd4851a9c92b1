// Mixer: K convolutions of one photo, their softmax-weighted sum, and the one folded kernel that does the same.

import {
  bars, captioned, conv2d, decode, effectiveNumber, element, fixed, indexOfMax, instrument, kernelMark, largestDifference, listOf,
  mix, number, percent, picture, range, say, slider, softmax, temperatureAndK, widget,
} from "./toolkit.js";

// pure: everything the pictures show, from the photo, the kernels and the state of the controls
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
    maps.set(conv2d(photo, height, width, kernels.subarray(k * size * size, (k + 1) * size * size), size), k * height * width);
  }
  return maps;
};

const render = ({ model, el }) => {
  const { photo: text, kernels: kernelText, height, width, size, names } = JSON.parse(model.get("data"));
  const photo = decode(text), kernels = decode(kernelText), count = names.length, area = height * width;
  const maps = allMaps(photo, height, width, kernels, size, count);
  const data = { photo, height, width, kernels, size, maps };
  const [low, high] = range(maps);

  const { temperature, numKernels } = temperatureAndK(model, count, () => redraw(), () => store());
  const cards = names.map((name, k) => {
    const logit = slider({
      label: `logit ${k + 1}`, min: -5, max: 5, step: 0.1, value: model.get("logits")[k], show: (v) => fixed(v, 1),
      changed: () => redraw(), settled: () => store(),
    });
    const kernel = picture(size, size, `kernel ${k + 1}, ${name}`, "dc-kernel");
    kernel.drawSigned(kernels.subarray(k * size * size, (k + 1) * size * size));
    const map = picture(height, width, `feature map of kernel ${k + 1}, ${name}`);
    map.draw(maps.subarray(k * area), "viridis", low, high);
    const weight = element("span", { class: "dc-weight" });
    const node = element("div", { class: "dc-card" },
      element("div", { class: "dc-title" }, kernelMark(k), ` ${k + 1} ${name} `, weight), kernel.node, map.node, logit.node);
    return { node, logit, weight };
  });
  const original = picture(height, width, "the photo");
  original.draw(photo, "grey", ...range(photo));
  const share = bars(count, "mixing weights");
  const mixed = picture(height, width, "weighted sum of the K feature maps");
  const kernel = picture(size, size, "the folded kernel", "dc-kernel-large");
  const folded = picture(height, width, "feature map of the one folded kernel");

  const draw = () => {
    const K = numKernels.get();
    const state = mixerState(data, { logits: cards.map((c) => c.logit.get()), temperature: temperature.get(), num_kernels: K });
    cards.forEach((card, k) => {
      card.node.classList.toggle("dc-unused", k >= K); // dimmed, not removed: nothing on the page may jump
      card.logit.input.disabled = k >= K;
      say(card.weight, k < K ? percent(state.weights[k]) : "off");
    });
    share.draw(state.weights);
    mixed.draw(state.mixed, "viridis", low, high);
    kernel.drawSigned(state.kernel);
    folded.draw(state.folded, "viridis", low, high);
    const best = indexOfMax(state.weights);
    return `At T = ${number(temperature.get())}, kernel ${best + 1} (${names[best]}) gets ${percent(state.weights[best])}; `
      + `${number(effectiveNumber(state.weights))} of ${K} kernels are effectively in use. Sum of ${K} convolution${K > 1 ? "s" : ""} and one `
      + `folded convolution differ by at most ${state.difference.toExponential(0)}.`;
  };
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: {
      temperature,
      num_kernels: numKernels,
      logits: listOf(cards.map((c) => c.logit)),
    },
    body: [
      element("div", { class: "dc-controls" }, temperature.node, numKernels.node),
      element("div", { class: "dc-cards" }, ...cards.map((c) => c.node)),
      element("div", { class: "dc-row" },
        captioned(original.node, "photo x"), captioned(share.node, "weights"),
        captioned(mixed.node, "sum of the K maps, weighted"), captioned(kernel.node, "one folded kernel"),
        captioned(folded.node, "x convolved with it")),
    ],
  });
  return remove;
};

export default widget(render);

// Dynamic convolution: several images, each with its own attention, mixed kernel and feature map.

import {
  bars, captioned, decode, effectiveNumber, element, indexOfMax, instrument, kernelMark, mix, number, percent, picture, range,
  softmax, temperatureAndK,
} from "./toolkit.js";

// pure: attention, mixed kernel and map of every image
export const dynamicState = ({ logits, kernels, maps, images, kernelArea, area, total }, { temperature, num_kernels }) =>
  images.map((_, b) => {
    const weights = softmax(Array.from(logits.subarray(b * total, b * total + num_kernels)), temperature);
    return { weights, kernel: mix(kernels, weights, kernelArea), map: mix(maps, weights, area, b * total * area) };
  });

const render = ({ model, el }) => {
  const raw = JSON.parse(model.get("data"));
  const { names, total, kernel_shape: [kh, kw], map_shape: [mh, mw], image_shape: [h, w] } = raw;
  const data = {
    logits: decode(raw.logits), kernels: decode(raw.kernels), maps: decode(raw.maps), images: raw.images.map(decode),
    kernelArea: kh * kw, area: mh * mw, total,
  };
  const [low, high] = range(data.maps);

  const { temperature, numKernels } = temperatureAndK(model, total, () => redraw(), () => store());
  const kernels = Array.from({ length: total }, (_, k) => {
    const view = picture(kh, kw, `kernel ${k + 1}`, "dc-kernel");
    view.drawSigned(data.kernels.subarray(k * data.kernelArea, (k + 1) * data.kernelArea));
    return captioned(view.node, kernelMark(k), ` kernel ${k + 1}`);
  });
  const rows = names.map((name, b) => {
    const image = picture(h, w, `image ${name}`);
    image.draw(data.images[b], "grey", ...range(data.images[b]));
    const attention = bars(total, `attention of ${name}`);
    const kernel = picture(kh, kw, `mixed kernel of ${name}`, "dc-kernel-large");
    const map = picture(mh, mw, `feature map of ${name}`);
    const node = element("div", { class: "dc-row dc-image-row" }, captioned(image.node, name), captioned(attention.node, "attention"),
      captioned(kernel.node, "its kernel"), captioned(map.node, "feature map"));
    return { node, attention, kernel, map };
  });

  const draw = () => {
    const K = numKernels.get(), T = temperature.get();
    const states = dynamicState(data, { temperature: T, num_kernels: K });
    kernels.forEach((node, k) => { node.classList.toggle("dc-unused", k >= K); });
    rows.forEach((row, b) => {
      row.attention.draw(states[b].weights);
      row.kernel.drawSigned(states[b].kernel);
      row.map.draw(states[b].map, "viridis", low, high);
    });
    const spread = Math.max(...Array.from({ length: K }, (_, k) => {
      const column = states.map((s) => s.weights[k]);
      return Math.max(...column) - Math.min(...column);
    }));
    const best = indexOfMax(states[0].weights);
    return `At T = ${number(T)}, ${names[0]} gives kernel ${best + 1} ${percent(states[0].weights[best])} and uses `
      + `${number(effectiveNumber(states[0].weights))} of ${K} kernels effectively. Between the images a kernel's attention differs by `
      + `up to ${(100 * spread).toFixed(1)} percentage points.`;
  };
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: { temperature, num_kernels: numKernels },
    body: [
      element("div", { class: "dc-controls" }, temperature.node, numKernels.node),
      element("div", { class: "dc-row" }, ...kernels),
      element("div", { class: "dc-images" }, ...rows.map((r) => r.node)),
    ],
  });
  return remove;
};

export default { render };

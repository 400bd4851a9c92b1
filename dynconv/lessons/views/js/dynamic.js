// Dynamic convolution: several images, each with its own attention, mixed kernel and feature map; one's own images too.

import {
  bars,
  captioned,
  checkbox,
  decoded,
  effectiveNumber,
  element,
  indexOfMax,
  instrument,
  kernelPictures,
  kernelsSlider,
  mix,
  number,
  part,
  percent,
  photograph,
  picture,
  range,
  row,
  softmax,
  temperatureSlider,
} from "./toolkit.js";
import { uploader } from "./upload.js";

const MOST = 4; // columns side by side

// pure: attention, mixed kernel and map of every image, or of those at the places in `which`
export const dynamicState = (data, { temperature, num_kernels }, which = data.images.map((_, b) => b)) => {
  const { logits, kernels, maps, kernelArea, area, total } = data;
  return which.map((b) => {
    const weights = softmax(Array.from(part(logits, b, total).subarray(0, num_kernels)), temperature);
    return { weights, kernel: mix(kernels, weights, kernelArea), map: mix(maps, weights, area, b * total * area) };
  });
};

// pure: the names chosen once this one is switched; who was chosen longest ago makes room, and one always stays
export const switched = (chosen, name) => {
  if (!chosen.includes(name)) return [...chosen, name].slice(-MOST);
  return chosen.length > 1 ? chosen.filter((other) => other !== name) : chosen;
};

// pure: the arrays of what Python sent
const read = (raw) => {
  const [kh, kw] = raw.kernel_shape;
  const [mh, mw] = raw.map_shape;
  const data = decoded(raw, "logits", "kernels", "maps", "images");
  return { ...data, kernelArea: kh * kw, area: mh * mw, limits: range(data.maps) };
};

// pure: which images are shown, and of each all that is seen
const state = (data, values) => {
  const which = data.names.flatMap((name, b) => (values.selected.includes(name) ? [b] : []));
  if (!which.length) which.push(0); // those chosen have made room for newer uploads
  return { which, images: dynamicState(data, values, which) };
};

// One checkbox an image: which of them stand side by side. `offer` says which images there are.
const chooser = () => {
  let names = [];
  let boxes = [];
  let chosen = [];
  const legend = element("legend", {}, `images shown, 1 to ${MOST}`);
  const node = element("fieldset", { class: "dc-chooser" }, legend);
  const set = (value) => {
    chosen = value;
    boxes.forEach((box, i) => {
      box.checked = chosen.includes(names[i]);
    });
  };
  const boxFor = (name) => {
    const box = checkbox();
    box.addEventListener("input", () => set(switched(chosen, name)));
    return box;
  };
  const offer = (those) => {
    names = those;
    boxes = names.map(boxFor);
    node.hidden = names.length < 2;
    node.replaceChildren(legend, ...names.map((name, i) => element("label", {}, boxes[i], name)));
    set(chosen);
  };
  const fits = (v) => v.length >= 1 && v.length <= MOST && new Set(v).size === v.length;
  const valid = (v) => Array.isArray(v) && fits(v) && v.every((name) => names.includes(name));
  return { node, offer, get: () => chosen, set, valid };
};

const controls = ({ total }) => ({
  temperature: temperatureSlider(),
  num_kernels: kernelsSlider(total),
  selected: chooser(),
});

// One image: itself, its attention, the kernel that is mixed with it, and the map that this kernel makes.
const imageRow = (data, b) => {
  const name = data.names[b];
  const image = photograph(data.image_shape, `image ${name}`);
  image.draw(data.images[b], ...range(data.images[b]));
  const attention = bars(data.total, `attention of ${name}`);
  const kernel = picture(...data.kernel_shape, `mixed kernel of ${name}`, "dc-kernel-large");
  const map = picture(...data.map_shape, `feature map of ${name}`);
  const node = row(
    "dc-image-row",
    captioned(image.node, name),
    captioned(attention.node, "attention"),
    captioned(kernel.node, "its kernel"),
    captioned(map.node, "feature map"),
  );
  const draw = (one) => {
    attention.draw(one.weights);
    kernel.drawSigned(one.kernel);
    map.draw(one.map, "viridis", ...data.limits);
  };
  return { node, draw };
};

// Exactly these children, in this order. What is there already stays: a control inside would lose the focus.
const place = (parent, nodes) => {
  const there = [...parent.children];
  const same = nodes.length === there.length && nodes.every((node, i) => node === there[i]);
  if (!same) parent.replaceChildren(...nodes);
};

const kernelRow = (data) => {
  const kernels = kernelPictures(data.total, data.kernel_shape);
  kernels.forEach((one, k) => one.drawSigned(part(data.kernels, k, data.kernelArea)));
  return kernels.map((one) => one.node);
};

const view = (first, { temperature, num_kernels, selected }, { model }) => {
  let kernels;
  let rows;
  const kernelsNode = row("");
  const images = element("div", { class: "dc-images" });
  const about = element("p", { class: "dc-about" });
  const upload = uploader(model, first);
  // at first, and when an image has been added
  const load = (data) => {
    kernels = kernelRow(data);
    rows = data.names.map((_, b) => imageRow(data, b));
    kernelsNode.replaceChildren(...kernels);
    about.textContent = data.about;
    about.hidden = !data.about;
    selected.offer(data.names);
  };
  const draw = (shown, { num_kernels: K }) => {
    kernels.forEach((node, k) => node.classList.toggle("dc-unused", k >= K));
    shown.which.forEach((b, i) => rows[b].draw(shown.images[i]));
    const nodes = shown.which.map((b) => rows[b].node);
    place(images, nodes);
  };
  const sliders = element("div", { class: "dc-controls" }, temperature.node, num_kernels.node);
  const body = [sliders, kernelsNode, about, images, selected.node, upload.node];
  return { body, load, draw, remove: upload.remove };
};

// how far apart the images are in any one kernel's attention
const spreadOf = (images) => {
  const spreads = images[0].weights.map((_, k) => range(images.map((one) => one.weights[k])));
  return Math.max(...spreads.map(([low, high]) => high - low));
};

const words = ({ names }, { which, images }, { temperature, num_kernels: K }) => {
  const [{ weights }] = images;
  const best = indexOfMax(weights);
  const spread = (100 * spreadOf(images)).toFixed(1);
  const others =
    which.length > 1
      ? `Between the images a kernel's attention differs by up to ${spread} percentage points.`
      : "It is the only image shown.";
  return (
    `At T = ${number(temperature)}, ${names[which[0]]} gives kernel ${best + 1} ${percent(weights[best])} and uses `
    + `${number(effectiveNumber(weights))} of ${K} kernels effectively. ${others}`
  );
};

export default instrument({ className: "dc-dynamic", read, controls, state, view, words });

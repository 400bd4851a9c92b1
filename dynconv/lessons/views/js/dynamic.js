// Dynamic convolution: several images, each with its own attention, mixed kernel and feature map; one's own images too.

import {
  bars, captioned, decode, effectiveNumber, element, indexOfMax, instrument, kernelMark, mix, number, percent, photograph,
  picture, range, softmax, temperatureAndK, widget,
} from "./toolkit.js";

const MOST = 4; // columns side by side

// pure: attention, mixed kernel and map of every image, or of those at the places in `which`
export const dynamicState = (data, { temperature, num_kernels }, which = data.images.map((_, b) => b)) => {
  const { logits, kernels, maps, kernelArea, area, total } = data;
  return which.map((b) => {
    const weights = softmax(Array.from(logits.subarray(b * total, b * total + num_kernels)), temperature);
    return { weights, kernel: mix(kernels, weights, kernelArea), map: mix(maps, weights, area, b * total * area) };
  });
};

// pure: the names chosen once this one is switched; who was chosen longest ago makes room, and one always stays
export const switched = (chosen, name) => {
  if (!chosen.includes(name)) return [...chosen, name].slice(-MOST);
  return chosen.length > 1 ? chosen.filter((other) => other !== name) : chosen;
};

// pure: the arrays of what Python sent
const unpack = (text) => {
  const raw = JSON.parse(text), { kernel_shape: [kh, kw], map_shape: [mh, mw] } = raw;
  const [logits, kernels, maps] = ["logits", "kernels", "maps"].map((name) => decode(raw[name]));
  return { ...raw, logits, kernels, maps, images: raw.images.map(decode), kernelArea: kh * kw, area: mh * mw, limits: range(maps) };
};

const shaped = ([height, width], label, className) => {
  const view = picture(height, width, label, className);
  view.node.style.aspectRatio = `${width} / ${height}`;
  return view;
};

// One image: itself, its attention, the kernel that is mixed with it, and the map that this kernel makes.
const imageRow = (data, b) => {
  const name = data.names[b], image = photograph(data.image_shape, `image ${name}`);
  image.draw(data.images[b], ...range(data.images[b]));
  const attention = bars(data.total, `attention of ${name}`);
  const kernel = shaped(data.kernel_shape, `mixed kernel of ${name}`, "dc-kernel-large");
  const map = shaped(data.map_shape, `feature map of ${name}`);
  const node = element("div", { class: "dc-row dc-image-row" }, captioned(image.node, name),
    captioned(attention.node, "attention"), captioned(kernel.node, "its kernel"), captioned(map.node, "feature map"));
  const draw = (state) => {
    attention.draw(state.weights);
    kernel.drawSigned(state.kernel);
    map.draw(state.map, "viridis", ...data.limits);
  };
  return { node, draw };
};

const kernelFigures = (data) => Array.from({ length: data.total }, (_, k) => {
  const view = shaped(data.kernel_shape, `kernel ${k + 1}`, "dc-kernel");
  view.drawSigned(data.kernels.subarray(k * data.kernelArea, (k + 1) * data.kernelArea));
  return captioned(view.node, kernelMark(k), ` kernel ${k + 1}`);
});

// One checkbox an image: which of them stand side by side.
const chooser = (value, changed) => {
  let names = [], boxes = [], chosen = value;
  const legend = element("legend", {}, `images shown, 1 to ${MOST}`), node = element("fieldset", { class: "dc-chooser" }, legend);
  const tick = () => boxes.forEach((box, i) => { box.checked = chosen.includes(names[i]); });
  const box = (name) => element("input", {
    type: "checkbox", "data-lm-suppress-shortcuts": "true", onchange: () => { chosen = switched(chosen, name); tick(); changed(); },
  });
  const offer = (those) => {
    names = those;
    boxes = names.map(box);
    node.hidden = names.length < 2;
    node.replaceChildren(legend, ...names.map((name, i) => element("label", {}, boxes[i], name)));
    tick();
  };
  const valid = (v) => Array.isArray(v) && v.length >= 1 && v.length <= MOST && new Set(v).size === v.length
    && v.every((name) => names.includes(name));
  return { node, offer, get: () => chosen, set: (v) => { chosen = v; tick(); }, valid };
};

const base64 = async (file) => {
  const reader = new FileReader();
  await new Promise((done, failed) => {
    Object.assign(reader, { onload: done, onerror: () => failed(reader.error) }).readAsDataURL(file);
  });
  return reader.result.slice(reader.result.indexOf(",") + 1);
};

// A file of the reader's for the kernel to decode. It stays switched off until a kernel has answered.
const uploader = (model, { uploads, most_bytes: most, image_shape: [h, w] }) => {
  const status = element("span", { class: "dc-status", role: "status" }, uploads
    ? "Needs a running Python kernel: none has answered."
    : "Not for this layer: Python was not told how to prepare a picture for it.");
  const send = (content) => { model.set("upload", JSON.stringify(content)); model.save_changes(); };
  let newest = 0;
  const take = async () => {
    const mine = ++newest, file = input.files[0];
    if (!file) return;
    if (file.size > most) {
      status.textContent = `Not added: ${file.name} has ${(file.size / 1e6).toFixed(1)} MB, at most ${most / 1e6} MB are taken.`;
      return;
    }
    status.textContent = `The kernel looks at ${file.name} …`;
    try {
      const content = await base64(file);
      if (mine === newest) send({ name: file.name, content }); // another file was picked meanwhile: that one counts
    } catch (error) {
      status.textContent = `Not added: ${file.name} cannot be read (${error.message}).`;
    }
    input.value = ""; // the same file can be picked again
  };
  const input = element("input", { type: "file", accept: "image/*", disabled: "", "data-lm-suppress-shortcuts": "true", onchange: take });
  const heard = () => {
    const { text } = JSON.parse(model.get("answer"));
    if (input.disabled) status.textContent = `At most ${most / 1e6} MB; shown is its middle at ${h} × ${w} pixels.`;
    if (text) status.textContent = text;
    input.disabled = false;
  };
  model.on("change:answer", heard);
  if (uploads) send({}); // is anybody there?
  const node = element("div", { class: "dc-upload" }, element("label", {}, "your own image ", input), status);
  return { node, remove: () => model.off("change:answer", heard) };
};

const words = (data, which, states, K, T) => {
  const [{ weights }] = states, best = indexOfMax(weights);
  const spread = Math.max(...weights.map((_, k) => {
    const column = states.map((state) => state.weights[k]);
    return Math.max(...column) - Math.min(...column);
  }));
  const others = which.length > 1
    ? `Between the images a kernel's attention differs by up to ${(100 * spread).toFixed(1)} percentage points.`
    : "It is the only image shown.";
  return `At T = ${number(T)}, ${data.names[which[0]]} gives kernel ${best + 1} ${percent(weights[best])} and uses `
    + `${number(effectiveNumber(weights))} of ${K} kernels effectively. ${others}`;
};

const render = ({ model, el }) => {
  let text, data, kernels, rows;
  const { temperature, numKernels } = temperatureAndK(model, JSON.parse(model.get("data")).total, () => redraw(), () => store());
  const selected = chooser(model.get("selected"), () => { redraw(); store(); });
  const kernelRow = element("div", { class: "dc-row" }), images = element("div", { class: "dc-images" });
  const about = element("p", { class: "dc-about" });

  const load = () => { // at first, and when an image has been added
    text = model.get("data");
    data = unpack(text);
    kernels = kernelFigures(data);
    rows = data.names.map((_, b) => imageRow(data, b));
    kernelRow.replaceChildren(...kernels);
    about.textContent = data.about;
    about.hidden = !data.about;
    selected.offer(data.names);
  };
  const place = (which) => { // only what is new is moved: a control inside would lose the focus
    const nodes = which.map((b) => rows[b].node);
    const same = nodes.length === images.children.length && nodes.every((node, i) => node === images.children[i]);
    if (!same) images.replaceChildren(...nodes);
  };
  const draw = () => {
    if (model.get("data") !== text) load();
    const K = numKernels.get(), T = temperature.get(), chosen = selected.get();
    const which = data.names.flatMap((name, b) => (chosen.includes(name) ? [b] : []));
    if (!which.length) which.push(0); // those chosen have made room for newer uploads
    const states = dynamicState(data, { temperature: T, num_kernels: K }, which);
    kernels.forEach((node, k) => { node.classList.toggle("dc-unused", k >= K); });
    which.forEach((b, i) => rows[b].draw(states[i]));
    place(which);
    return words(data, which, states, K, T);
  };
  load();
  const upload = uploader(model, data), again = () => redraw();
  el.classList.add("dc-dynamic");
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: { temperature, num_kernels: numKernels, selected },
    body: [
      element("div", { class: "dc-controls" }, temperature.node, numKernels.node), kernelRow, about, images, selected.node,
      upload.node,
    ],
  });
  model.on("change:data", again);
  return () => { remove(); upload.remove(); model.off("change:data", again); };
};

export default widget(render);

// Simplex map: attention over three kernels as a place in a triangle. T pulls the dots; the chosen one can be dragged.

import {
  captioned, decode, effectiveNumber, element, indexOfMax, instrument, kernelMark, mix, number, percent, picture, range, slider, softmax,
} from "./toolkit.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300, HEIGHT = WIDTH * Math.sqrt(3) / 2;
const CORNERS = [[0, HEIGHT], [WIDTH, HEIGHT], [WIDTH / 2, 0]];

// pure: attention of every image, kernel and map of the chosen one
export const simplexState = ({ logits, kernels, maps, kernelArea, area, count }, { image, temperature, free }) => {
  const attention = Array.from({ length: count }, (_, b) => softmax(Array.from(logits.subarray(3 * b, 3 * b + 3)), temperature));
  const weights = free.length ? free : attention[image];
  return { attention, weights, kernel: mix(kernels, weights, kernelArea), map: mix(maps, weights, area, 3 * image * area) };
};

// pure: from weights to a place in the triangle, and back; from outside first down or up to it, then sideways
export const place = (weights) => [0, 1].map((axis) => weights.reduce((sum, w, k) => sum + w * CORNERS[k][axis], 0));

const between = (v, low, high) => Math.max(low, Math.min(high, v));

export const weightsAt = (x, y) => {
  const top = between(1 - y / HEIGHT, 0, 1), right = between((x - top * WIDTH / 2) / WIDTH, 0, 1 - top);
  return [1 - top - right, right, top];
};

const svg = (tag, attributes, ...children) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const render = ({ model, el }) => {
  const raw = JSON.parse(model.get("data"));
  const { names, kernel_shape: [kh, kw], map_shape: [mh, mw], image_shape: [h, w] } = raw;
  const data = {
    logits: decode(raw.logits), kernels: decode(raw.kernels), maps: decode(raw.maps), kernelArea: kh * kw, area: mh * mw, count: names.length,
  };
  const images = raw.images.map(decode), [low, high] = range(data.maps);
  let free = model.get("free");

  const temperature = slider({
    label: "temperature T", min: 0.1, max: 100, step: 0.01, log: true, value: model.get("temperature"),
    changed: () => { free = []; redraw(); }, settled: () => store(),
  });
  const select = element("select", { class: "dc-select", "data-lm-suppress-shortcuts": "true" }, ...names.map((n) => element("option", {}, n)));
  select.value = model.get("image");
  select.addEventListener("change", () => { free = []; redraw(); store(); });
  const choice = element("label", { class: "dc-choice" }, "image", select);

  // the path of each image from T = 100 to T = 0.1
  const traces = names.map((_, b) => {
    const z = Array.from(data.logits.subarray(3 * b, 3 * b + 3));
    const points = Array.from({ length: 61 }, (_, i) => place(softmax(z, 10 ** (2 - i / 20))).map((v) => v.toFixed(1)).join(","));
    return svg("polyline", { points: points.join(" "), class: "dc-trace-path" });
  });
  const dots = names.map((name) => svg("g", { class: "dc-dot" }, svg("circle", { r: 7 }), Object.assign(svg("text", { x: 10, y: 4 }), { textContent: name })));
  const hand = svg("circle", { r: 13, class: "dc-hand", tabindex: 0, role: "slider", "data-lm-suppress-shortcuts": "true",
    "aria-valuemin": 0, "aria-valuemax": 100 });
  const corners = CORNERS.map(([x, y], k) => svg("g", { transform: `translate(${x} ${y})` }, svg("circle", { r: 10, class: `dc-corner dc-curve${k}` }),
    Object.assign(svg("text", { "text-anchor": "middle", y: 4 }), { textContent: k + 1 })));
  const map = svg("svg", { viewBox: `-22 -22 ${WIDTH + 44 + 60} ${HEIGHT + 44}`, class: "dc-simplex" },
    svg("polygon", { points: CORNERS.map((c) => c.join(",")).join(" "), class: "dc-edge" }), ...corners, ...traces, ...dots, hand);
  const move = (x, y) => { free = weightsAt(x, y); redraw(); };
  const at = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
    return [point.x, point.y];
  };
  hand.addEventListener("pointerdown", (event) => { hand.setPointerCapture(event.pointerId); event.preventDefault(); hand.focus(); });
  hand.addEventListener("pointermove", (event) => { if (hand.hasPointerCapture(event.pointerId)) move(...at(event)); });
  hand.addEventListener("pointerup", () => store());
  hand.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    const [x, y] = place(current().weights);
    move(x + 0.02 * WIDTH * step[0], y + 0.02 * HEIGHT * step[1]);
    store();
  });

  const original = picture(h, w, "the chosen image"), kernel = picture(kh, kw, "its mixed kernel", "dc-kernel-large");
  const feature = picture(mh, mw, "its feature map");
  const kernels = [0, 1, 2].map((k) => {
    const view = picture(kh, kw, `kernel ${k + 1}`, "dc-kernel");
    view.drawSigned(data.kernels.subarray(k * data.kernelArea, (k + 1) * data.kernelArea));
    return captioned(view.node, kernelMark(k), ` kernel ${k + 1}`);
  });
  const current = () => simplexState(data, { image: names.indexOf(select.value), temperature: temperature.get(), free });

  const draw = () => {
    const b = names.indexOf(select.value), { attention, weights, kernel: mixed, map: shown } = current();
    dots.forEach((dot, i) => {
      const [x, y] = place(i === b ? weights : attention[i]);
      dot.setAttribute("transform", `translate(${x.toFixed(2)} ${y.toFixed(2)})`);
      dot.classList.toggle("dc-chosen", i === b);
      traces[i].classList.toggle("dc-chosen", i === b);
    });
    const [x, y] = place(weights), best = indexOfMax(weights), words = weights.map((v, k) => `kernel ${k + 1} ${percent(v)}`).join(", ");
    hand.setAttribute("cx", x.toFixed(2));
    hand.setAttribute("cy", y.toFixed(2));
    hand.setAttribute("aria-label", `attention of ${names[b]}`);
    hand.setAttribute("aria-valuenow", Math.round(100 * weights[best]));
    hand.setAttribute("aria-valuetext", words);
    const image = images[b];
    original.draw(image, "grey", ...range(image));
    kernel.drawSigned(mixed);
    feature.draw(shown, "viridis", low, high);
    const own = attention[b].map((v, k) => Math.abs(v - weights[k])).reduce((a, c) => a + c, 0) / 2;
    return free.length
      ? `You gave ${names[b]} ${words}: ${percent(own)} of its weight is elsewhere than the layer puts it at T = ${number(temperature.get())}.`
      : `At T = ${number(temperature.get())}, ${names[b]} has ${words}; ${number(effectiveNumber(weights))} of 3 kernels are effectively in use.`;
  };
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: {
      temperature, image: { get: () => select.value, set: (v) => { select.value = v; } }, free: { get: () => free, set: (v) => { free = v; } },
    },
    body: [
      element("div", { class: "dc-controls" }, temperature.node, choice),
      element("div", { class: "dc-row dc-simplex-row" }, map,
        element("div", {}, element("div", { class: "dc-row" }, ...kernels),
          element("div", { class: "dc-row" }, captioned(original.node, "image"), captioned(kernel.node, "its kernel"),
            captioned(feature.node, "its feature map")))),
    ],
  });
  return remove;
};

export default { render };

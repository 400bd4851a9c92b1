// Simplex map: attention over three kernels as a place in a triangle. T pulls the dots; the chosen one can be dragged.

import {
  captioned, decode, effectiveNumber, element, instrument, kernelMark, mix, number, percent, picture, radios, range, sheet,
  slider, softmax, sum, svg, widget,
} from "./toolkit.js";

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

// the share of the weight that would have to move to make one of them the other
const distance = (a, b) => a.reduce((sum, v, k) => sum + Math.abs(v - b[k]), 0) / 2;

const between = (v, low, high) => Math.max(low, Math.min(high, v));

export const weightsAt = (x, y) => {
  const top = between(1 - y / HEIGHT, 0, 1), right = between((x - top * WIDTH / 2) / WIDTH, 0, 1 - top);
  return [1 - top - right, right, top];
};

// a list from anywhere: nothing, or three shares of one
const isMixture = (v) => Array.isArray(v) && (v.length === 0 || (v.length === 3 && v.every((w) => typeof w === "number" && w >= 0)
  && Math.abs(sum(v) - 1) < 1e-4));

const letter = (i) => String.fromCharCode(97 + (i % 26)); // in the dots, where a name has no room

// One radio button an image: which one is chosen, and what the letters in the triangle mean.
const choices = (names, value, changed) => {
  const control = radios(names, value, changed);
  const node = element("div", { class: "dc-choices", role: "radiogroup", "aria-label": "image" }, ...names.map((name, i) =>
    element("label", {}, control.inputs[i], element("b", {}, letter(i)), ` ${name}`)));
  return { ...control, node };
};

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// A handle that pointers (mouse, pen, touch) drag and arrow keys step; `move` gets places in the units of the SVG `map`.
const handle = (map, place, move, settled) => {
  const node = svg("circle", {
    r: 14, class: "dc-hand", tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": 100,
    "data-lm-suppress-shortcuts": "true",
  });
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId);
    event.preventDefault();
    node.focus();
  });
  // touch-action does nothing on a shape inside an SVG; on all of it, a phone could not scroll past the triangle
  node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  node.addEventListener("pointermove", (event) => {
    if (!node.hasPointerCapture(event.pointerId)) return;
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
    move(point.x, point.y);
  });
  node.addEventListener("lostpointercapture", settled); // let go, or taken away
  node.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    const [x, y] = place();
    move(x + 0.02 * WIDTH * step[0], y + 0.02 * HEIGHT * step[1]);
    settled();
  });
  return node;
};

const listed = (weights) => weights.map((v, k) => `${percent(v)} kernel ${k + 1}`).join(", ");

const sentence = ({ attention, weights }, { names, image, temperature, free }) => {
  const name = names[image], others = names.length - 1, T = number(temperature);
  const apart = attention.map((pi) => distance(pi, weights));
  const close = apart.filter((d, i) => i !== image && d < 0.05).length; // dots may lie on top of each other: say so
  const company = others ? ` Within 5 % of it: ${close || "none"} of the other ${others}.` : "";
  if (free.length) {
    return `You gave ${name} ${listed(weights)}: ${percent(apart[image])} of the weight is elsewhere than the layer puts it at `
      + `T = ${T}.${company}`;
  }
  return `At T = ${T}, ${name} mixes ${listed(weights)}; ${number(effectiveNumber(weights))} of 3 kernels are effectively in use.`
    + company;
};

const render = ({ model, el }) => {
  const raw = JSON.parse(model.get("data"));
  const { names, kernel_shape: [kh, kw], map_shape: [mh, mw], image_shape: [h, w] } = raw;
  const data = {
    logits: decode(raw.logits), kernels: decode(raw.kernels), maps: decode(raw.maps), kernelArea: kh * kw, area: mh * mw,
    count: names.length,
  };
  const images = raw.images.map(decode), [low, high] = range(data.maps);
  let free = model.get("free");

  const temperature = slider({
    label: "temperature T", min: 0.1, max: 100, step: 0.01, log: true, value: model.get("temperature"),
    changed: () => { free = []; redraw(); }, settled: () => store(),
  });
  const another = () => { free = []; redraw(); store(); };
  const chosen = choices(names, model.get("image"), another);

  // the path of each image from T = 100 to T = 0.1
  const traces = names.map((_, b) => {
    const z = Array.from(data.logits.subarray(3 * b, 3 * b + 3));
    const points = Array.from({ length: 61 }, (_, i) => place(softmax(z, 10 ** (2 - i / 20))).map((v) => v.toFixed(1)).join(","));
    return svg("polyline", { points: points.join(" "), class: "dc-trace-path" });
  });
  const dots = names.map((name, i) => {
    const disc = svg("circle", { r: 9 }), text = svg("text", { "text-anchor": "middle", dy: 4 }, letter(i));
    const node = svg("g", { class: "dc-dot" }, disc, text);
    node.addEventListener("click", () => { chosen.set(name); another(); });
    const move = (x, y) => [[disc, "cx", x], [disc, "cy", y], [text, "x", x], [text, "y", y]].forEach(([part, axis, v]) =>
      part.setAttribute(axis, v.toFixed(2))); // no transform: with one the browser sorts all layers of the page anew
    return { node, move };
  });
  const map = sheet([-16, -16, WIDTH + 32, HEIGHT + 32], { class: "dc-simplex" },
    svg("polygon", { points: CORNERS.map((c) => c.join(",")).join(" "), class: "dc-edge" }), ...traces, ...dots.map((dot) => dot.node));
  const move = (x, y) => { free = weightsAt(x, y); redraw(); };
  const hand = handle(map, () => place(current().weights), move, () => store());
  map.append(hand);

  const original = picture(h, w, "the chosen image"), kernel = picture(kh, kw, "its mixed kernel", "dc-kernel-large");
  const feature = picture(mh, mw, "its feature map");
  const kernels = [0, 1, 2].map((k) => {
    const view = picture(kh, kw, `kernel ${k + 1}`, "dc-kernel");
    view.drawSigned(data.kernels.subarray(k * data.kernelArea, (k + 1) * data.kernelArea));
    return captioned(view.node, kernelMark(k), ` kernel ${k + 1}`);
  });
  const now = () => ({ names, image: names.indexOf(chosen.get()), temperature: temperature.get(), free });
  const current = () => simplexState(data, now());

  let seen; // whose photo is drawn
  const draw = () => {
    const state = current(), { image: b } = now(), [x, y] = place(state.weights);
    dots.forEach((dot, i) => {
      dot.move(...(i === b ? [x, y] : place(state.attention[i])));
      dot.node.classList.toggle("dc-chosen", i === b);
      traces[i].classList.toggle("dc-chosen", i === b);
    });
    if (hand.previousSibling !== dots[b].node) map.insertBefore(dots[b].node, hand); // above the others
    const told = { cx: x.toFixed(2), cy: y.toFixed(2), "aria-label": `attention of ${names[b]}`,
      "aria-valuenow": Math.round(100 * Math.max(...state.weights)), "aria-valuetext": listed(state.weights) };
    for (const [name, value] of Object.entries(told)) hand.setAttribute(name, value);
    if (b !== seen) original.draw(images[b], "grey", ...range(images[b]));
    seen = b;
    kernel.drawSigned(state.kernel);
    feature.draw(state.map, "viridis", low, high);
    return sentence(state, now());
  };
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: {
      temperature, image: chosen, free: { get: () => free, set: (v) => { free = v; }, valid: isMixture },
    },
    body: [
      element("div", { class: "dc-controls" }, temperature.node, chosen.node),
      ...(raw.about ? [element("p", { class: "dc-about" }, raw.about)] : []),
      element("div", { class: "dc-row dc-simplex-row" },
        element("div", { class: "dc-triangle" }, kernels[2], map, kernels[0], kernels[1]), // each kernel at its corner
        element("div", { class: "dc-row" }, captioned(original.node, "image"), captioned(kernel.node, "its kernel"),
          captioned(feature.node, "its feature map"))),
    ],
  });
  el.classList.add("dc-simplex-map");
  return remove;
};

export default widget(render);

// Simplex map: attention over three kernels as a place in a triangle. T pulls the dots; the chosen one can be dragged. Beside it
// the way there: the image's logits, divided by T, as shares, and the kernel that they mix.

import { diagram } from "./diagram.js";
import {
  between,
  decoded,
  effectiveNumber,
  element,
  emit,
  fixed,
  held,
  instrument,
  kernelMark,
  largestSize,
  mix,
  number,
  OWN_KEYS,
  part,
  percent,
  points,
  radioGroup,
  range,
  rangeOfAll,
  realMinus,
  say,
  scaled,
  setAttributes,
  sheet,
  softmax,
  sum,
  svg,
  temperatureSlider,
} from "./toolkit.js";

const WIDTH = 300;
const HEIGHT = (WIDTH * Math.sqrt(3)) / 2;
// prettier-ignore
const CORNERS = [[0, HEIGHT], [WIDTH, HEIGHT], [WIDTH / 2, 0]];

const logitsOf = ({ logits }, b) => Array.from(part(logits, b, 3));

// pure: attention of every image, kernel and map of the chosen one
export const simplexState = (data, { image, temperature, free }) => {
  const { kernels, maps, kernelArea, area, count } = data;
  const attention = Array.from({ length: count }, (_, b) => softmax(logitsOf(data, b), temperature));
  const weights = free.length ? free : attention[image];
  return {
    attention,
    weights,
    kernel: mix(kernels, weights, kernelArea),
    map: mix(maps, weights, area, 3 * image * area),
  };
};

// pure: from weights to a place in the triangle, and back; from outside first down or up to it, then sideways
export const place = (weights) => [0, 1].map((axis) => sum(weights.map((w, k) => w * CORNERS[k][axis])));

export const weightsAt = (x, y) => {
  const top = between(1 - y / HEIGHT, 0, 1);
  const right = between((x - (top * WIDTH) / 2) / WIDTH, 0, 1 - top);
  return [1 - top - right, right, top];
};

const read = (raw) => {
  const [kh, kw] = raw.kernel_shape;
  const [mh, mw] = raw.map_shape;
  const decodedData = decoded(raw, "logits", "kernels", "maps", "images");
  const data = { ...decodedData, kernelArea: kh * kw, area: mh * mw, count: raw.names.length };
  const tiles = [0, 1, 2].map((k) => part(data.kernels, k, kh * kw));
  // one grey scale at every T, which shows all mixes of T = 1
  const maps = raw.names.map((_, image) => simplexState(data, { image, temperature: 1, free: [] }).map);
  const images = data.images.map((image) => scaled(image, range(image)));
  return { ...data, images, tiles, limits: rangeOfAll(maps) };
};

const state = (data, values) => {
  const image = data.names.indexOf(values.image);
  const logits = logitsOf(data, image);
  const divided = logits.map((z) => z / values.temperature);
  return { image, logits, divided, isFree: values.free.length > 0, ...simplexState(data, { ...values, image }) };
};

// a list from anywhere: nothing, or three shares of one
const isShare = (w) => typeof w === "number" && w >= 0;
const isMixture = (v) =>
  Array.isArray(v) && (v.length === 0 || (v.length === 3 && v.every(isShare) && Math.abs(sum(v) - 1) < 1e-4));

const letter = (i) => String.fromCharCode(97 + (i % 26)); // in the dots, where a name has no room

// One radio button an image: which one is chosen, and what the letters in the triangle mean.
const imageChoice = (names) =>
  radioGroup("image", "dc-choices", names, (input, i) =>
    element("label", {}, input, element("b", {}, letter(i)), ` ${names[i]}`),
  );

const controls = ({ names }) => {
  const all = { temperature: temperatureSlider(), image: imageChoice(names), free: held(isMixture) };
  // another T or image: the layer's own weights again
  for (const { node } of [all.temperature, all.image]) node.addEventListener("input", () => all.free.set([]));
  return all;
};

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Pointers (mouse, pen, touch) drag the node; `move` gets places in the units of the SVG `map`.
const draggable = (node, map, move) => {
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
  node.addEventListener("lostpointercapture", () => emit(node, "change")); // let go, or taken away
};

const listed = (weights) => weights.map((v, k) => `${percent(v)} kernel ${k + 1}`).join(", ");

// A handle that pointers drag and arrow keys step: it gives `free` the weights of where it is.
const handle = (map, free) => {
  const range100 = { "aria-valuemin": 0, "aria-valuemax": 100 };
  const node = svg("circle", { r: 14, class: "dc-hand", tabindex: 0, role: "slider", ...range100, ...OWN_KEYS });
  let at = [0, 0];
  const move = (x, y) => {
    free.set(weightsAt(x, y));
    emit(node, "input");
  };
  draggable(node, map, move);
  node.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    move(at[0] + 0.02 * WIDTH * step[0], at[1] + 0.02 * HEIGHT * step[1]);
    emit(node, "change");
  });
  const draw = (weights, name) => {
    at = place(weights);
    setAttributes(node, {
      cx: at[0].toFixed(2),
      cy: at[1].toFixed(2),
      "aria-label": `attention of ${name}`,
      "aria-valuenow": Math.round(100 * Math.max(...weights)),
      "aria-valuetext": listed(weights),
    });
  };
  return { node, draw };
};

// the path of an image's attention from T = 100 to T = 0.1
const trace = (logits) => {
  const places = Array.from({ length: 61 }, (_, i) => place(softmax(logits, 10 ** (2 - i / 20))));
  return svg("polyline", { points: points(places), class: "dc-trace-path" });
};

// One image's attention. No transform moves it: with one the browser sorts all layers of the page anew.
const dot = (i) => {
  const disc = svg("ellipse", { ry: 9 });
  const text = svg("text", { "text-anchor": "middle", dy: 4 });
  // `beneath` are the dots that it hides: it is as wide as all their letters
  const move = (weights, beneath) => {
    const [x, y] = place(weights).map((v) => v.toFixed(2));
    setAttributes(disc, { cx: x, cy: y, rx: 9 + 4 * beneath.length });
    setAttributes(text, { x, y });
    say(
      text,
      [...beneath, i]
        .sort((a, b) => a - b)
        .map(letter)
        .join(""),
    );
  };
  return { node: svg("g", { class: "dc-dot" }, disc, text), move };
};

// Those of the dots beneath b, in this order from below, that it hides, all or in part.
const hiddenBy = (b, order, places) =>
  order.slice(0, order.indexOf(b)).filter((i) => Math.hypot(...[0, 1].map((k) => places[i][k] - places[b][k])) < 14);

// The triangle: a path and a dot an image, and the hand at the chosen one.
const triangle = (data, { image, free }) => {
  const traces = data.names.map((_, b) => trace(logitsOf(data, b)));
  const dots = data.names.map((_, b) => dot(b));
  const edge = svg("polygon", { points: points(CORNERS), class: "dc-edge" });
  const box = [-16, -16, WIDTH + 32, HEIGHT + 32];
  const node = sheet(box, { class: "dc-simplex" }, edge, ...traces, ...dots.map((one) => one.node));
  const hand = handle(node, free);
  node.append(hand.node);
  dots.forEach((one, b) => one.node.addEventListener("click", () => image.inputs[b].click()));
  const draw = ({ attention, weights, image: chosen }) => {
    const all = attention.map((pi, b) => (b === chosen ? weights : pi));
    const order = [...all.keys()].sort((a, b) => (a === chosen) - (b === chosen)); // as they lie, from below
    dots.forEach((one, b) => {
      one.move(all[b], hiddenBy(b, order, all.map(place)));
      for (const shape of [one.node, traces[b]]) shape.classList.toggle("dc-chosen", b === chosen);
    });
    const last = dots[chosen].node; // above the others
    if (hand.node.previousSibling !== last) node.insertBefore(last, hand.node);
    hand.draw(weights, data.names[chosen]);
  };
  return { node, draw };
};

// in as few signs as there is room for beside a bar
const brief = (v) => realMinus(Math.abs(v) < 1e4 ? fixed(v, Math.abs(v) < 100 ? 1 : 0) : v.toExponential(0));

const spec = (data) => {
  const reach = Math.max(1, Math.ceil(largestSize(data.logits)));
  return {
    label: "from an image's logits to the kernel that it gets",
    stages: [
      { picture: "image", size: data.image_shape, title: "image", note: " ", alt: "the chosen image" },
      {
        rows: 3,
        columns: [
          { bars: "z", reach, title: "logit z", note: "from this image" },
          { bars: "divided", reach, show: brief, title: "z ÷ T", note: " ", class: "dc-temperate" },
          { shares: "pi", title: "share π", note: "softmax" },
          { tiles: "kernel", size: data.kernel_shape, title: "kernel", note: "one scale" },
        ],
      },
      { picture: "mixed", size: data.kernel_shape, kernel: true, title: "mixed kernel", note: "Σ π k", alt: "its mixed kernel" }, // prettier-ignore
      { op: "conv", sign: "∗" },
    ],
    results: [{ picture: "map", size: data.map_shape, title: "feature map", note: " ", alt: "its feature map" }],
    wires: [
      { from: "image", to: "z", kind: "live" },
      { from: "z", to: "divided", kind: "live" },
      { from: "divided", to: "pi", kind: "live", name: "own" },
      { from: "image", to: "conv", kind: "data", around: true, title: "the image that is convolved" },
      { from: "mixed", to: "conv", kind: "data" },
      { from: "conv", to: "map", kind: "data" },
    ],
    ribbons: [{ from: "kernel", to: "mixed", share: "pi" }],
  };
};

// The way from the chosen image to its kernel and map; whoever drags the shares cuts the wire that fed them.
const wayOf = (data) => {
  const figure = diagram(spec(data));
  const draw = ({ image, logits, divided, weights, kernel, map, isFree }, { temperature }) => {
    const pictures = { image: data.images[image], kernel: data.tiles, mixed: kernel, map: scaled(map, data.limits) };
    figure.draw({ ...pictures, z: logits, divided, pi: weights }, image);
    figure.wire("own", isFree ? "cut" : "live");
    figure.note("divided", `T = ${number(temperature)}`);
    figure.note("pi", isFree ? "by your hand" : "softmax");
    figure.note("image", data.names[image]);
    figure.note("map", data.names[image]);
  };
  return { ...figure, draw };
};

// A corner's kernel is named; what it looks like stands beside its share.
const corner = (k) => element("span", { class: `dc-corner dc-corner${k}` }, kernelMark(k), ` kernel ${k + 1}`);

const view = (data, all) => {
  const map = triangle(data, all);
  const way = wayOf(data);
  const about = data.about ? [element("p", { class: "dc-about" }, data.about)] : [];
  const places = element("div", { class: "dc-triangle" }, corner(2), map.node, corner(0), corner(1), all.image.node);
  return {
    body: [
      element("div", { class: "dc-controls" }, all.temperature.node),
      ...about,
      element("div", { class: "dc-simplex-row" }, places, element("div", { class: "dc-way" }, way.node)),
    ],
    draw: (shown, values) => {
      map.draw(shown);
      way.draw(shown, values);
    },
    remove: way.remove,
  };
};

// the share of the weight that would have to move to make one of them the other
const distance = (a, b) => sum(a.map((v, k) => Math.abs(v - b[k]))) / 2;

const companyOf = (close, others) => {
  if (!others) return "";
  if (others === 1) return ` The other dot ${close ? "lies" : "does not lie"} within 5 % of it.`;
  return ` ${close || "None"} of the other ${others} dots ${close > 1 ? "lie" : "lies"} within 5 % of it.`;
};

const words = ({ names }, { attention, weights, image }, { temperature, free }) => {
  const T = number(temperature);
  const others = names.length - 1;
  const apart = attention.map((pi) => distance(pi, weights));
  const close = apart.filter((d, i) => i !== image && d < 0.05).length; // dots may lie on top of each other: say so
  const share = listed(weights);
  const said = free.length
    ? `You gave ${names[image]} ${share}: ${percent(apart[image])} of the weight is elsewhere than the layer puts it at T = ${T}.`
    : `At T = ${T}, ${names[image]} mixes ${share}; ${number(effectiveNumber(weights))} of 3 kernels are effectively in use.`;
  return said + companyOf(close, others);
};

export default instrument({ className: "dc-simplex-map", read, controls, state, view, words });

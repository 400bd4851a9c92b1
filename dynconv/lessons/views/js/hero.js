// The question as one figure: a photo that slides, the question's layer at its left, a dynamic one at its right. Which is which?
// Nobody says before the bet; after it the wires are there.

import { diagram } from "./diagram.js";
import {
  button,
  conv2d,
  decoded,
  element,
  emit,
  errorOf,
  held,
  instrument,
  mix,
  part,
  percent,
  range,
  scaled,
  slider,
  softmax,
  sum,
  temperatureSlider,
  whole,
} from "./toolkit.js";

const SIDES = ["left", "right"];

// pure: the window of a film, `side` high and wide, that begins at column x
export const windowOf = (film, side, x) => {
  const wide = film.length / side;
  const out = new Float32Array(side * side);
  for (let y = 0; y < side; y++) out.set(film.subarray(y * wide + x, y * wide + x + side), y * side);
  return out;
};

// pure: the middle of a square picture, without `edge` pixels at each side
export const inner = (array, side, edge) => {
  const small = side - 2 * edge;
  const out = new Float32Array(small * small);
  for (let y = 0; y < small; y++) {
    const start = (y + edge) * side + edge;
    out.set(array.subarray(start, start + small), y * small);
  }
  return out;
};

// pure: what one layer makes of a window, with the shares that its logits give: a sum of its K maps of the film, which is what
// the mixed kernel makes of the window
export const layerState = ({ kernels, biases, maps }, logits, temperature, { position, side, size, step }) => {
  const weights = softmax(logits, temperature);
  const map = new Float32Array((side - size + 1) ** 2).fill(sum(weights.map((w, k) => w * biases[k])));
  maps.forEach((strip, k) => {
    const one = inner(windowOf(strip, side, position * step), side, size >> 1);
    const weight = weights[k];
    for (let i = 0; i < map.length; i++) map[i] += weight * one[i];
  });
  return { weights, kernel: mix(kernels, weights, size * size), map };
};

// pure: both layers at one place of the film
export const heroState = (data, { position, temperature }) => {
  const { side, size, step, film, clean, left, right, count } = data;
  const image = windowOf(film, side, position * step);
  const wanted = inner(windowOf(clean, side, position * step), side, size >> 1);
  const logits = [Array.from(left.logits), Array.from(part(right.logits, position, count))];
  const layers = [left, right].map((layer, i) => {
    const shown = layerState(layer, logits[i], temperature, { position, side, size, step });
    return { ...shown, error: errorOf(shown.map, wanted) };
  });
  return { image, layers };
};

// A layer, and what each of its kernels makes of the whole film: once, and not at each place anew.
const layerOf = (raw, { film, side, size, count }) => {
  const layer = decoded(raw, "kernels", "biases", "logits");
  const kernels = Array.from({ length: count }, (_, k) => part(layer.kernels, k, size * size));
  return { ...layer, maps: kernels.map((kernel) => conv2d(film, side, film.length / side, kernel, size)) };
};

export const read = (raw) => {
  const data = decoded(raw, "film", "clean");
  return { ...data, left: layerOf(raw.left, data), right: layerOf(raw.right, data), limits: range(data.clean) };
};

// The bet: two buttons, of which one is pressed once it is made.
const bet = () => {
  const control = held((v) => ["", ...SIDES].includes(v));
  const choices = SIDES.map((side) =>
    button(`the ${side} one`, ({ target }) => {
      control.set(side);
      emit(target, "input");
      emit(target, "change");
    }),
  );
  const set = (v) => {
    control.set(v);
    choices.forEach((one, i) => one.setAttribute("aria-pressed", String(v === SIDES[i])));
  };
  const question = element("b", {}, "Which of the two is dynamic?");
  return { ...control, set, node: element("div", { class: "dc-bet" }, question, ...choices) };
};

const controls = ({ places }) => ({
  position: slider({ label: "slide the photo", min: 0, max: places - 1, step: 1, show: whole }),
  temperature: temperatureSlider(),
  bet: bet(),
});

const wing = (name, data, flip) => {
  const [size, out] = [data.size, data.side - data.size + 1];
  const columns = [
    { shares: `pi-${name}`, title: "share π" },
    { tiles: `kernel-${name}`, size: [size, size], title: "kernel" },
  ];
  const stages = [
    { rows: data.count, columns: flip ? columns.reverse() : columns, class: flip ? "dc-flip" : "" },
    { picture: `mixed-${name}`, size: [size, size], kernel: true, title: "mixed", class: "dc-mixture" },
    { picture: `out-${name}`, size: [out, out], title: `the ${name} layer`, note: " ", class: "dc-outcome" },
  ];
  return flip ? stages.reverse() : stages;
};

const spec = (data) => ({
  label:
    "two layers and one photo: at the left shares that are parameters, at the right shares computed from the photo",
  class: "dc-butterfly",
  stages: [
    ...wing("left", data, true),
    { picture: "image", size: [data.side, data.side], title: "photo", note: "◂ slide me ▸", class: "dc-film" },
    ...wing("right", data, false),
  ],
  wires: SIDES.flatMap((name) => [
    { from: "image", to: `pi-${name}`, kind: "none", name },
    { from: `mixed-${name}`, to: `out-${name}`, kind: "data" },
  ]),
  ribbons: SIDES.map((name) => ({ from: `kernel-${name}`, to: `mixed-${name}`, share: `pi-${name}` })),
});

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

// The slider lies over the photo: what is dragged is the photo itself, to the left. By key the right arrow goes on, as everywhere.
const overlay = (figure, position, places) => {
  const { node, input } = position;
  node.classList.add("dc-over");
  figure.nouns.image.ports[0].after(node);
  input.addEventListener("pointerdown", () => input.focus());
  input.addEventListener("keydown", (event) => {
    const to = position.get() + STEPS[event.key];
    if (Number.isNaN(to)) return;
    event.preventDefault();
    position.set(Math.min(places - 1, Math.max(0, to)));
    emit(input, "input");
    emit(input, "change");
  });
};

const view = (data, { position, temperature, bet: made }) => {
  const figure = diagram(spec(data));
  overlay(figure, position, data.places);
  const tiles = (layer) => Array.from({ length: data.count }, (_, k) => part(layer.kernels, k, data.size ** 2));
  const banks = [tiles(data.left), tiles(data.right)];
  const values = ({ layers }) =>
    layers.map(({ weights, kernel, map }, i) => {
      const name = SIDES[i];
      const shown = scaled(map, data.limits);
      return {
        [`pi-${name}`]: weights,
        [`kernel-${name}`]: banks[i],
        [`mixed-${name}`]: kernel,
        [`out-${name}`]: shown,
      };
    });
  const draw = (shown, { bet: side }) => {
    figure.draw(Object.assign({ image: scaled(shown.image, data.limits) }, ...values(shown)), side);
    figure.wire("left", side ? "grey" : "none");
    figure.wire("right", side ? "live" : "none");
    SIDES.forEach((name, i) => {
      figure.title(`out-${name}`, side ? ["static", "dynamic"][i] : `the ${name} layer`);
      figure.note(`out-${name}`, `error ${shown.layers[i].error.toFixed(3)}`);
    });
  };
  const sliders = element("div", { class: "dc-controls" }, temperature.node);
  return { body: [figure.node, sliders, made.node], draw, remove: figure.remove };
};

const words = (_, { layers }, { bet: side }) => {
  const [left, right] = layers.map(({ weights }) => weights.map((w) => percent(w)).join(", "));
  const shares = `Shares at the left: ${left}; at the right: ${right}.`;
  if (!side) return `${shares} Slide the photo, watch the bars, then bet.`;
  const start = side === "right" ? "Yes. Only there does" : "No. Only at the right does";
  return `${start} a wire lead from the photo to the weights. ${shares}`;
};

export default instrument({ className: "dc-hero", read, controls, state: heroState, view, words });

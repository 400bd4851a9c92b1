// Interventions: scissors on the wire that feeds the weights, others in the place of the model's own, and what becomes of its
// output.

import { diagram, scaleOf } from "./diagram.js";
import { channelStages, gatedOf } from "./gated_channels.js";
import { thumbnails } from "./thumbnails.js";
import {
  choice,
  decoded,
  element,
  emit,
  fixed,
  indexOfMax,
  instrument,
  largestSize,
  mix,
  part,
  percent,
  radios,
  range,
  row,
  say,
  scaled,
  shareSlider,
  showPart,
  signedBar,
  sum,
} from "./toolkit.js";

// pure: which recorded run an image is in. The modes come first (0 is "as trained"), then "with the weights of image j".
export const runOf = ({ modes }, { mode, pair: [i, j] }, b) => {
  if (mode !== "swap") return modes.indexOf(mode);
  const others = modes.length - 1; // "swap" itself is no run
  if (b === i) return others + j;
  return others + (b === j ? i : b);
};

// pure: change and loss, of each image and of all; `strength` goes from the run as trained (0) to the other (1)
export const summaryOf = (data, at) => {
  const { names, differences, norms, losses, crossed } = data;
  const s = at.strength;
  const runs = names.map((_, b) => runOf(data, at, b));
  const own = (array, b) => array[runs[b] * names.length + b];
  const changes = names.map((_, b) => s * Math.sqrt(own(differences, b) / norms[b]));
  const change = s * Math.sqrt(sum(names.map((_, b) => own(differences, b))) / sum(norms));
  const lossOf = (_, b) => (1 - s) ** 2 * losses[b] + 2 * s * (1 - s) * own(crossed, b) + s ** 2 * own(losses, b);
  const each = losses ? names.map(lossOf) : null;
  return { runs, changes, change, losses: each, loss: each && sum(each) / names.length };
};

// pure: one array of one image, between the run as trained and another
export const blend = (array, size, count, run, b, strength) => {
  const other = part(array, run * count + b, size); // run 0 is the one as trained
  return part(array, b, size).map((v, i) => (1 - strength) * v + strength * other[i]);
};

// pure: how many images have their largest logit at the target; null where there is no such thing
export const correctOf = ({ outputs, size, names, targets }, runs) =>
  targets
  && names.filter((_, b) => indexOfMax(blend(outputs, size, names.length, runs[b], b, 1)) === targets[b]).length;

const product = (shape) => shape.reduce((a, b) => a * b, 1);

// pure: one layer's weights; `count` images come first as trained
const prepareLayer = (raw, count) => {
  const layer = decoded(raw, "attention");
  const size = product(layer.shape);
  return { ...layer, size, most: largestSize(part(layer.attention, 0, size * count)) || 1 };
};

const ARRAYS = [
  "outputs",
  "images",
  "differences",
  "norms",
  "losses",
  "crossed",
  "kernels",
  "logits",
  "wanted",
  "channels",
];

// pure: the arrays of what Python sent
export const prepare = (raw) => {
  const data = decoded(raw, ...ARRAYS);
  const size = product(raw.output_shape);
  const layers = raw.layers.map((layer) => prepareLayer(layer, raw.names.length));
  const area = product(raw.kernel_shape ?? []);
  const tiles = data.kernels && Array.from({ length: layers[0].size }, (_, k) => part(data.kernels, k, area));
  // one scale for all images, that of the outputs as trained: what did not change looks as it did, what is wilder is cut off
  const trained = part(data.outputs, 0, size * raw.names.length);
  const strongest = raw.classes ? largestSize(trained) : scaleOf([trained, data.wanted ?? []]).full;
  return { ...data, layers, size, area, tiles, strongest };
};

// pure: the image whose weights image b has instead of its own; itself where there is no such image
const donorOf = ({ donors }, { mode, pair: [i, j] }, b) => {
  if (mode === "swap") return { [i]: j, [j]: i }[b] ?? b;
  return mode === "shuffled" ? donors[b] : b;
};

// pure: what feeds the weights of image b: its own wire, cut or not, and "donor", another image, or "box", what is from none
export const sourceOf = (data, at, b) => {
  const donor = donorOf(data, at, b);
  const box = ["uniform", "frozen"].includes(at.mode) ? "box" : "none";
  const other = donor === b ? box : "donor";
  const isCut = other !== "none" && at.strength === 1;
  return { own: isCut ? "cut" : "live", other: at.strength > 0 ? other : "none", donor };
};

// pure: all modes side by side, and more of the one that is chosen, for the image that is shown
const state = (data, values) => {
  const pair = [values.first, values.second].map((name) => data.names.indexOf(name));
  const at = { mode: values.mode, pair, strength: values.strength };
  const summaries = data.modes.map((mode) => {
    const summary = summaryOf(data, { ...at, mode });
    return { ...summary, correct: correctOf(data, summary.runs) };
  });
  const own = summaries[data.modes.indexOf(values.mode)];
  const [b] = pair;
  const layer = data.layers.findIndex((one) => one.name === values.layer);
  const of = (array, size) => Array.from(blend(array, size, data.names.length, own.runs[b], b, values.strength));
  const weights = of(data.layers[layer].attention, data.layers[layer].size);
  return { summaries, own, b, at, layer, weights, output: of(data.outputs, data.size), source: sourceOf(data, at, b) };
};

// what a mode does, and what it makes of an image's weights
const EXPLAINED = {
  "as trained": ["Every image has the weights it asks for", "its own weights"],
  uniform: ["All weights of an image are replaced by their mean", "all the same"],
  argmax: ["An image's largest weight takes what all of them have", "winner takes all"],
  shuffled: ["Every image gets the weights of another one", "another image's"],
  frozen: ["Every image gets the mean weights of these images", "mean weights"],
};

const lossText = (v) => v.toFixed(v < 10 ? 3 : 1);

const cell = (text) => element("span", { class: "dc-number" }, text);

const modeName = (text) => element("span", { class: "dc-mode-name" }, text);

// One mode: its radio button, how much it changes as a bar, and the numbers under the titles.
const modeRow = (input, mode, count) => {
  const fill = element("span", { class: "dc-fill dc-change" });
  const cells = Array.from({ length: count }, () => cell(""));
  const track = element("span", { class: "dc-track", "aria-hidden": "true" }, fill);
  const node = element("label", { class: "dc-mode" }, input, modeName(mode), track, ...cells);
  const draw = (change, texts) => {
    showPart(fill, 0, Math.min(1, change));
    cells.forEach((one, i) => say(one, texts[i]));
  };
  return { node, draw };
};

// One radio button a mode; beside it how much the output changes, the loss, and how many are right.
const modeTable = ({ modes, losses, targets }) => {
  const titles = ["change", ...(losses ? ["loss"] : []), ...(targets ? ["correct"] : [])];
  const control = radios(modes);
  const rows = modes.map((mode, m) => modeRow(control.inputs[m], mode, titles.length));
  const empty = [modeName(""), element("span", { class: "dc-track" })];
  const head = element("div", { class: "dc-mode dc-head", "aria-hidden": "true" }, ...empty, ...titles.map(cell));
  const legend = element("legend", {}, "weights");
  const node = element("fieldset", { class: "dc-modes" }, legend, head, ...rows.map((one) => one.node));
  const draw = (summaries) =>
    summaries.forEach(({ change, loss, correct }, m) => {
      const texts = [percent(change)];
      if (losses) texts.push(lossText(loss));
      if (targets) texts.push(`${correct} of ${targets.length}`);
      rows[m].draw(change, texts);
    });
  return { ...control, node, draw };
};

const wordsOfOthers = (names, { mode, pair: [i, j] }, b) => {
  if (EXPLAINED[mode]) return EXPLAINED[mode][1];
  return b !== i && b !== j ? "its own weights" : `those of ${names[b === i ? j : i]}`;
};

// pure: what an image is weighed with; between the ends it is some of both
export const wordsOfWeights = (names, at, b) => {
  const other = wordsOfOthers(names, at, b);
  if (at.strength === 1 || other === "its own weights") return other;
  if (at.strength === 0) return "its own weights";
  return `${percent(at.strength)} ${other}, ${percent(1 - at.strength)} its own`;
};

const controls = (data) => {
  const { names, layers, image_shape: size } = data;
  const mode = modeTable(data);
  const changed = names.map(() => element("span", { class: "dc-changed" }));
  const first = { ...thumbnails("image"), changed };
  first.offer(
    names.map((name, b) => {
      return { name, size, array: scaled(data.images[b], range(data.images[b])), below: changed[b] };
    }),
  );
  const second = choice({ label: "swap with", options: names });
  second.node.addEventListener("input", () => mode.set("swap")); // who picks another one wants to see it
  const layer = choice({ label: "show the weights of", options: layers.map((one) => one.name) });
  return { mode, first, second, layer, strength: shareSlider("strength") };
};

// One class: its name, which is underlined if it is the target, and its logit as a bar and a number.
const classRow = (name) => {
  const bar = signedBar();
  const value = element("span", { class: "dc-logit" });
  const title = element("span", { class: "dc-class" });
  const node = element("div", { class: "dc-class-row" }, title, bar.node, value);
  const draw = (logit, strongest, isBest, isTarget) => {
    bar.draw(logit, strongest);
    say(value, fixed(logit, 1));
    say(title, isTarget ? `▸ ${name}` : name);
    title.classList.toggle("dc-target", isTarget);
    node.classList.toggle("dc-best", isBest);
  };
  return { node, draw };
};

// One bar a class, to the left or to the right of zero.
const logitBars = ({ classes, strongest }) => {
  const rows = classes.map(classRow);
  const node = element("div", { class: "dc-classes", role: "img" }, ...rows.map((one) => one.node));
  let target;
  const set = (logits) => rows.forEach((one, k) => one.draw(logits[k], strongest, k === indexOfMax(logits), k === target)); // prettier-ignore
  const aim = (k) => {
    target = k;
  };
  return { node, set, aim };
};

// What comes out: a map, or a bar a class.
const outcomes = (data) => {
  if (!data.classes) {
    const map = { size: data.output_shape, note: " ", signed: true, full: data.strongest };
    const titles = { changed: "changed", trained: "as trained", ...(data.wanted && { wanted: "wanted" }) };
    const pictures = Object.entries(titles).map(([name, title]) => ({ picture: name, title, ...map }));
    return { specs: [...pictures, { scale: "scale", full: data.strongest, cut: true }], aim: () => {} };
  }
  const bars = [logitBars(data), logitBars(data)];
  const specs = ["changed", "trained"].map((name, i) => {
    return { piece: name, element: bars[i].node, set: bars[i].set, title: ["changed", "as trained"][i], note: " " };
  });
  return { specs, aim: (k) => bars.forEach((one) => one.aim(k)) };
};

// What may feed the weights instead: another image, or numbers that come from none.
const instead = ({ image_shape: size }) => [
  { picture: "donor", size, title: " ", class: "dc-instead" },
  { box: "box", text: " ", class: "dc-instead" },
];

const imageOf = ({ image_shape: size }) => ({ picture: "image", size, title: "image", note: " " });

// A layer whose kernels are few: the wire leads to their shares, and what the shares mix is seen.
const kernelStages = (data, layer) => [
  imageOf(data),
  {
    rows: layer.size,
    class: data.logits ? "dc-parted" : "",
    columns: [
      ...(data.logits
        ? [{ bars: "z", reach: Math.max(1, Math.ceil(largestSize(data.logits))), title: "logit z", note: "asked for" }]
        : []),
      { shares: "weights", title: "share π", note: "in use" },
      { tiles: "kernel", size: data.kernel_shape, title: "kernel", note: "one scale" },
    ],
    beside: [instead(data)],
  },
  { picture: "mixed", size: data.kernel_shape, kernel: true, title: "mixed kernel", note: "Σ π k" },
  { op: "model", sign: "∗" },
];

// Any other model: one layer's weights, as bars or, of positions and of many, as a picture.
const modelStages = (data, { name, over, shape, size, most }) => {
  const [h, w] = shape.length > 1 ? shape.slice(-2) : [1, size];
  const words = { title: name, note: `${size} ${over}`, class: "dc-weights" };
  const weights =
    h === 1 && w <= 64
      ? { vector: "weights", count: size, reach: most, ...words }
      : { picture: "weights", size: [h, w], signed: true, full: most, ...words };
  return [[imageOf(data), instead(data)], weights, { box: "model", text: "the model" }];
};

const stagesOf = (data, layer) => {
  if (data.channels) return channelStages(data, [imageOf(data), instead(data)]);
  return data.tiles ? kernelStages(data, layer) : modelStages(data, layer);
};

// What is mixed or let through, as wide as its weight; and from where the wire leads on.
const ribbonsOf = ({ channels, tiles }) => {
  if (channels) return [{ from: "weights", to: "let through", share: "weights", band: 26, full: 1 }];
  return tiles ? [{ from: "kernel", to: "mixed", share: "weights" }] : [];
};
const lastOf = ({ channels, tiles }) => {
  if (channels) return "let through";
  return tiles ? "mixed" : "weights";
};

const figureOf = (data, layer, handle) => {
  const outcome = outcomes(data);
  const asked = data.logits ? [{ from: "image", to: "z", kind: "live" }] : [];
  const figure = diagram({
    label: "other weights in the place of the model's own",
    stages: stagesOf(data, layer),
    results: outcome.specs,
    wires: [
      ...asked,
      { from: "donor", to: "weights", kind: "none", name: "donor", far: true },
      { from: "box", to: "weights", kind: "none", name: "box", joined: true, far: true },
      { from: data.logits ? "z" : "image", to: "weights", kind: "live", name: "own", handle },
      { from: lastOf(data), to: "model", kind: "data" },
      { from: "image", to: "model", kind: "data", around: true, title: "the image itself" },
      { from: "model", to: "changed", kind: "data" },
    ],
    ribbons: ribbonsOf(data),
  });
  return { figure, aim: outcome.aim };
};

const BOXES = { uniform: "all equal", frozen: "their mean" };

const notes = (figure, data, { own, b, at, source }) => {
  const name = data.names[b];
  const score = (v) => `${data.classes ? "loss" : "error"} ${lossText(v)}`;
  figure.note("image", name);
  figure.note("changed", data.losses ? score(own.losses[b]) : `by ${percent(own.changes[b])}`);
  figure.note("trained", data.losses ? score(data.losses[b]) : name);
  if (data.wanted) figure.note("wanted", name);
  figure.title("donor", data.names[source.donor]);
  say(figure.nouns.box.ports[0], BOXES[at.mode] ?? " ");
};

// The wires as they are, and at their other end what feeds them.
const plug = (figure, { own, other }) => {
  figure.wire("own", own);
  figure.wire("donor", other === "donor" ? "live" : "none");
  figure.wire("box", other === "box" ? "grey" : "none");
  for (const name of ["donor", "box"]) figure.nouns[name].node.style.visibility = other === name ? "" : "hidden";
  figure.node.classList.toggle("dc-constant", other === "box");
};

// One layer's weights on their way: its figure, and what it shows of a state.
const drawing = (data, layer, handle) => {
  const { figure, aim } = figureOf(data, layer, handle);
  const grey = data.images.map((image) => scaled(image, range(image)));
  const one = (array, b) => Array.from(part(array, b, data.size));
  const draw = (shown) => {
    const { b, at, weights, output, source } = shown;
    aim(data.targets?.[b]);
    const gated = data.channels && gatedOf(data, b, weights);
    const inside = data.tiles && { kernel: data.tiles, mixed: mix(data.kernels, weights, data.area) };
    const z = data.logits && { z: Array.from(part(data.logits, b, layer.size)) };
    const wanted = data.wanted && { wanted: one(data.wanted, b) };
    const results = { changed: output, trained: one(data.outputs, b), ...wanted };
    figure.draw({ image: grey[b], donor: grey[source.donor], weights, ...z, ...inside, ...gated, ...results }, `${at.mode} ${at.pair}`); // prettier-ignore
    notes(figure, data, shown);
    plug(figure, source);
  };
  return { figure, draw };
};

// The scissors cut and mend: between the weights as trained and what was there before.
const scissors = (mode) => {
  let cut = "shuffled";
  const press = ({ currentTarget }) => {
    mode.set(mode.get() === "as trained" ? cut : "as trained");
    emit(currentTarget, "input");
    emit(currentTarget, "change");
  };
  const node = element("button", { type: "button", class: "dc-scissors", title: "cut the wire", onclick: press }, "✂");
  const draw = (name) => {
    if (name !== "as trained") cut = name;
    node.setAttribute("aria-pressed", String(name !== "as trained"));
  };
  return { node, draw };
};

const view = (data, { mode, first, second, layer, strength }) => {
  const place = element("div");
  const drawings = data.layers.map((one) => {
    const cutter = scissors(mode);
    return { cutter, ...drawing(data, one, cutter.node) };
  });
  const shown = [second, ...(data.linear ? [strength] : []), ...(data.layers.length > 1 ? [layer] : [])];
  const side = element("div", { class: "dc-side" }, first.node, ...shown.map((one) => one.node));
  const draw = (now, values) => {
    const { figure, cutter, draw: drawFigure } = drawings[now.layer];
    if (figure.node.parentNode !== place) place.replaceChildren(figure.node);
    mode.draw(now.summaries);
    cutter.draw(values.mode);
    now.own.changes.forEach((change, b) => say(first.changed[b], percent(change)));
    drawFigure(now);
  };
  const remove = () => drawings.forEach(({ figure }) => figure.remove());
  return { body: [row("dc-top", mode.node, side), place], draw, remove };
};

const swapInWords = (a, b) =>
  a === b ? `${a} swaps with itself, which changes nothing` : `${a} and ${b} swap their weights`;

// how good it is, beside how good it was; nothing where nobody knows
const scoreInWords = ({ names, losses, targets }, own, trained) => {
  if (!losses) return "";
  const right = targets ? `; right are ${own.correct} of ${names.length}, as trained ${trained.correct}` : "";
  return ` The loss is ${lossText(own.loss)}, as trained ${lossText(trained.loss)}${right}.`;
};

const words = (data, { own, summaries, b, at }, { mode, first, second }) => {
  const each = data.names.map((name, i) => `${name} by ${percent(own.changes[i])}`).join(", ");
  const what = EXPLAINED[mode]?.[0] ?? swapInWords(first, second);
  const way = at.strength < 1 && mode !== "as trained" ? `, ${percent(at.strength)} of the way` : "";
  const change = `The output changes by ${percent(own.change)} of its norm: ${each}.`;
  const whose = `Weights of ${first}: ${wordsOfWeights(data.names, at, b)}.`;
  return `${what}${way}. ${change} ${whose}${scoreInWords(data, own, summaries[0])}`;
};

export default instrument({ className: "dc-interventions", read: prepare, controls, state, view, words });

// Interventions: other weights in the place of the model's own, and what becomes of its output.

import {
  bars,
  captioned,
  choice,
  decoded,
  element,
  fixed,
  indexOfMax,
  instrument,
  part,
  percent,
  photograph,
  picture,
  radios,
  range,
  row,
  say,
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
  return { runs, changes, change, loss: losses ? sum(names.map(lossOf)) / names.length : null };
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
  const [low, high] = range(layer.attention);
  const limits = range(part(layer.attention, 0, size * count));
  return { ...layer, size, limits, shares: low >= 0 && high < 1.001 };
};

// pure: the arrays of what Python sent
export const prepare = (raw) => {
  const data = decoded(raw, "outputs", "images", "differences", "norms", "losses", "crossed");
  const count = raw.names.length;
  const size = product(raw.output_shape);
  const layers = raw.layers.map((layer) => prepareLayer(layer, count));
  return { ...data, layers, size, limits: range(part(data.outputs, 0, size * count)) };
};

// pure: all modes side by side, and more of the one that is chosen
const state = (data, values) => {
  const pair = [values.first, values.second].map((name) => data.names.indexOf(name));
  const summaries = data.modes.map((mode) => {
    const summary = summaryOf(data, { mode, pair, strength: values.strength });
    return { ...summary, correct: correctOf(data, summary.runs) };
  });
  const layer = data.layers.findIndex((one) => one.name === values.layer);
  return { summaries, pair, layer, own: summaries[data.modes.indexOf(values.mode)] };
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

const cell = (text) => element("span", { class: "dc-cell" }, text);

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

const controls = (data) => {
  const { names, layers } = data;
  const mode = modeTable(data);
  const first = choice({ label: "swap", options: names });
  const second = choice({ label: "with", options: names });
  // who picks a pair wants to see it
  for (const { node } of [first, second]) node.addEventListener("input", () => mode.set("swap"));
  const layer = choice({ label: "show the weights of", options: layers.map((one) => one.name) });
  return { mode, first, second, layer, strength: shareSlider("strength") };
};

// One layer's weights of one image: bars for a few kernels, a picture for many channels or for positions.
const weightsView = ({ name, over, shape, limits: [low, high], shares, size }, label) => {
  if (over === "kernels" && size <= 8 && shares) {
    const { node, draw } = bars(size, `${label}, ${name}`);
    return { node, draw: (weights) => draw(Array.from(weights)) };
  }
  const [h, w] = shape.length > 1 ? shape.slice(-2) : [1, size];
  const said = `${label}, ${name}: one colour for each of ${size} ${over}`;
  const { node, draw } = picture(h, w, said, h === 1 ? "dc-strip" : "");
  return { node, draw: (weights) => draw(weights, "viridis", Math.min(0, low), high) };
};

// One class: its name, which stands out if it is the target, and its logit as a bar and a number.
const classRow = (name, isTarget) => {
  const bar = signedBar();
  const value = element("span", { class: "dc-logit" });
  const title = element("span", { class: `dc-class${isTarget ? " dc-target" : ""}` }, isTarget ? `▸ ${name}` : name);
  const node = element("div", { class: "dc-class-row" }, title, bar.node, value);
  const draw = (logit, strongest, isBest) => {
    bar.draw(logit, strongest);
    say(value, fixed(logit, 1));
    node.classList.toggle("dc-best", isBest);
  };
  return { node, draw };
};

// One bar a class, to the left or to the right of zero.
const logitBars = (classes, target, strongest, label) => {
  const rows = classes.map((name, k) => classRow(name, k === target));
  const attributes = { class: "dc-classes", role: "img", "aria-label": label };
  const node = element("div", attributes, ...rows.map((one) => one.node));
  const draw = (logits) => {
    const best = indexOfMax(logits);
    rows.forEach((one, k) => one.draw(logits[k], strongest, k === best));
    node.setAttribute("aria-label", `${label}: largest is ${classes[best]}`);
  };
  return { node, draw };
};

// One scale for all images, that of the outputs as trained: what did not change looks as it did, what is wilder is cut off.
const outputView = ({ output_shape: [h, w], classes, targets, limits: [low, high] }, b, label) => {
  if (classes) return logitBars(classes, targets?.[b], Math.max(-low, high), `logits of ${label}`);
  const { node, draw } = picture(h, w, `output map of ${label}`);
  return { node, draw: (map) => draw(map, "viridis", low, high) };
};

const imageFigure = ({ images, image_shape, names }, b) => {
  const photo = photograph(image_shape, `image ${names[b]}`);
  photo.draw(images[b], ...range(images[b]));
  return captioned(photo.node, names[b]);
};

// What an image is weighed with: one view a layer, all in one place.
const layersView = (data, b) => {
  const { layers, names } = data;
  const views = layers.map((layer) => weightsView(layer, `weights of ${names[b]}`));
  const weights = (l, run, strength) => blend(layers[l].attention, layers[l].size, names.length, run, b, strength);
  views.forEach((one, l) => one.draw(weights(l, 0, 1))); // so that each has its height before it is seen
  const draw = (layer, run, strength) => {
    views.forEach((one, l) => {
      one.node.style.visibility = l === layer ? "" : "hidden";
    });
    views[layer].draw(weights(layer, run, strength));
  };
  return { node: element("div", { class: "dc-layers" }, ...views.map((one) => one.node)), draw };
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

// One image: itself, what it is weighed with, and what comes out.
const imageRow = (data, name, b) => {
  const weights = layersView(data, b);
  const output = outputView(data, b, name);
  const what = element("figcaption");
  const text = element("figcaption");
  const node = row(
    "dc-image-row",
    imageFigure(data, b),
    element("figure", { class: "dc-figure" }, weights.node, what),
    element("figure", { class: "dc-figure dc-result" }, output.node, text),
  );
  const draw = ({ own, layer, pair }, { mode, strength }) => {
    weights.draw(layer, own.runs[b], strength);
    output.draw(blend(data.outputs, data.size, data.names.length, own.runs[b], b, strength));
    say(what, wordsOfWeights(data.names, { mode, pair, strength }, b));
    say(text, `changed by ${percent(own.changes[b])}`);
  };
  return { node, draw };
};

const view = (data, { mode, first, second, layer, strength }) => {
  const rows = data.names.map((name, b) => imageRow(data, name, b));
  const shown = [first, second, ...(data.linear ? [strength] : []), ...(data.layers.length > 1 ? [layer] : [])];
  const side = element("div", { class: "dc-side" }, ...shown.map((one) => one.node));
  return {
    body: [row("dc-top", mode.node, side), element("div", { class: "dc-images" }, ...rows.map((one) => one.node))],
    draw: (now, values) => {
      mode.draw(now.summaries);
      rows.forEach((one) => one.draw(now, values));
    },
  };
};

const swapInWords = (a, b) =>
  a === b ? `${a} swaps with itself, which changes nothing` : `${a} and ${b} swap their weights`;

// how good it is, beside how good it was; nothing where nobody knows
const scoreInWords = ({ names, losses, targets }, own, trained) => {
  if (!losses) return "";
  const right = targets ? `; right are ${own.correct} of ${names.length}, as trained ${trained.correct}` : "";
  return ` The loss is ${lossText(own.loss)}, as trained ${lossText(trained.loss)}${right}.`;
};

const words = (data, { own, summaries }, { mode, first, second, strength }) => {
  const each = data.names.map((name, b) => `${name} by ${percent(own.changes[b])}`).join(", ");
  const way = data.linear ? ` At strength ${percent(strength)} the` : " The";
  const what = EXPLAINED[mode]?.[0] ?? swapInWords(first, second);
  const change = `output changes by ${percent(own.change)} of its norm: ${each}.`;
  return `${what}.${way} ${change}${scoreInWords(data, own, summaries[0])}`;
};

export default instrument({ className: "dc-interventions", read: prepare, controls, state, view, words });

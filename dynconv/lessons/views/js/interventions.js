// Interventions: other weights in the place of the model's own, and what becomes of its output.

import {
  bars, captioned, choice, decode, element, fixed, indexOfMax, instrument, percent, photograph, picture, radios, range,
  say, showPart, signedBar, slider, sum, widget,
} from "./toolkit.js";

// pure: which recorded run an image is in. The modes come first (0 is "as trained"), then "with the weights of image j".
export const runOf = ({ modes }, { mode, pair: [i, j] }, b) => {
  if (mode !== "swap") return modes.indexOf(mode);
  const others = modes.length - 1; // "swap" itself is no run
  return b === i ? others + j : b === j ? others + i : others + b;
};

// pure: change and loss, of each image and of all; `strength` goes from the run as trained (0) to the other (1)
export const summaryOf = (data, at) => {
  const { names, differences, norms, losses, crossed } = data, count = names.length, s = at.strength;
  const runs = names.map((_, b) => runOf(data, at, b)), own = (array, b) => array[runs[b] * count + b];
  const changes = names.map((_, b) => s * Math.sqrt(own(differences, b) / norms[b]));
  const change = s * Math.sqrt(sum(names.map((_, b) => own(differences, b))) / sum(norms));
  const lossOf = (_, b) => (1 - s) ** 2 * losses[b] + 2 * s * (1 - s) * own(crossed, b) + s ** 2 * own(losses, b);
  return { runs, changes, change, loss: losses ? sum(names.map(lossOf)) / count : null };
};

// pure: one array of one image, between the run as trained and another
export const blend = (array, size, count, run, b, strength) => {
  const start = (run * count + b) * size; // run 0 is the one as trained
  return array.subarray(b * size, (b + 1) * size).map((v, i) => (1 - strength) * v + strength * array[start + i]);
};

// pure: how many images have their largest logit at the target; null where there is no such thing
export const correctOf = ({ outputs, size, names, targets }, runs) => targets && names.filter((_, b) =>
  indexOfMax(blend(outputs, size, names.length, runs[b], b, 1)) === targets[b]).length;

// what a mode does, and what it makes of an image's weights
const EXPLAINED = {
  "as trained": ["Every image has the weights it asks for", "its own weights"],
  uniform: ["All weights of an image are replaced by their mean", "all the same"],
  argmax: ["An image's largest weight takes what all of them have", "winner takes all"],
  shuffled: ["Every image gets the weights of another one", "another image's"],
  frozen: ["Every image gets the mean weights of these images", "mean weights"],
};

const lossText = (v) => (v < 10 ? v.toFixed(3) : v.toFixed(1));

// One radio button a mode; beside it how much the output changes, the loss, and how many are right.
const modeTable = ({ modes, losses, targets }, value, changed) => {
  const cell = (text) => element("span", { class: "dc-cell" }, text);
  const titles = ["change", ...(losses ? ["loss"] : []), ...(targets ? ["correct"] : [])];
  const control = radios(modes, value, changed);
  const rows = modes.map((mode, m) => {
    const fill = element("span", { class: "dc-fill dc-change" }), cells = titles.map(() => cell(""));
    const node = element("label", { class: "dc-mode" }, control.inputs[m], element("span", { class: "dc-mode-name" }, mode),
      element("span", { class: "dc-track", "aria-hidden": "true" }, fill), ...cells);
    return { fill, cells, node };
  });
  const head = element("div", { class: "dc-mode dc-head", "aria-hidden": "true" }, element("span", { class: "dc-mode-name" }),
    element("span", { class: "dc-track" }), ...titles.map((title) => cell(title)));
  const node = element("fieldset", { class: "dc-modes" }, element("legend", {}, "weights"), head, ...rows.map((row) => row.node));
  const draw = (summaries) => rows.forEach(({ fill, cells }, m) => {
    const { change, loss, correct } = summaries[m], texts = [percent(change)];
    if (losses) texts.push(lossText(loss));
    if (targets) texts.push(`${correct} of ${targets.length}`);
    showPart(fill, 0, Math.min(1, change));
    cells.forEach((one, i) => say(one, texts[i]));
  });
  return { ...control, node, draw };
};

const drawImage = (image, size, label) => {
  const photo = photograph(size, label);
  photo.draw(image, ...range(image));
  return photo.node;
};

// One layer's weights of one image: bars for a few kernels, a picture for many channels or for positions.
const weightsView = ({ name, over, shape, limits: [low, high], shares, size }, label) => {
  if (over === "kernels" && size <= 8 && shares) {
    const view = bars(size, `${label}, ${name}`);
    return { node: view.node, draw: (weights) => view.draw(Array.from(weights)) };
  }
  const [h, w] = shape.length > 1 ? shape.slice(-2) : [1, size];
  const view = picture(h, w, `${label}, ${name}: one colour for each of ${size} ${over}`, h === 1 ? "dc-strip" : "");
  if (h > 1) view.node.style.aspectRatio = `${w} / ${h}`;
  return { node: view.node, draw: (weights) => view.draw(weights, "viridis", Math.min(0, low), high) };
};

// One bar a class, to the left or to the right of zero; the target's name stands out.
const logitBars = (classes, target, strongest, label) => {
  const rows = classes.map((text, k) => {
    const bar = signedBar(), value = element("span", { class: "dc-logit" });
    const name = element("span", { class: `dc-class${k === target ? " dc-target" : ""}` }, k === target ? `▸ ${text}` : text);
    return { bar, value, node: element("div", { class: "dc-class-row" }, name, bar.node, value) };
  });
  const node = element("div", { class: "dc-classes", role: "img", "aria-label": label }, ...rows.map((row) => row.node));
  const draw = (logits) => {
    rows.forEach(({ bar, value, node: row }, k) => {
      bar.draw(logits[k], strongest);
      say(value, fixed(logits[k], 1));
      row.classList.toggle("dc-best", k === indexOfMax(logits));
    });
    node.setAttribute("aria-label", `${label}: largest is ${classes[indexOfMax(logits)]}`);
  };
  return { node, draw };
};

// One scale for all images, that of the outputs as trained: what did not change looks as it did, what is wilder is cut off.
const outputView = ({ output_shape: [h, w], classes, targets, limits: [low, high] }, b, label) => {
  if (classes) return logitBars(classes, targets?.[b], Math.max(-low, high), `logits of ${label}`);
  const view = picture(h, w, `output map of ${label}`);
  view.node.style.aspectRatio = `${w} / ${h}`;
  return { node: view.node, draw: (map) => view.draw(map, "viridis", low, high) };
};

// One image: itself, what it is weighed with (one view a layer, all in one place), and what comes out.
const imageRow = (data, name, b) => {
  const views = data.layers.map((layer) => weightsView(layer, `weights of ${name}`)), output = outputView(data, b, name);
  const [what, text] = [0, 1].map(() => element("figcaption", {}));
  const stack = element("div", { class: "dc-layers" }, ...views.map((view) => view.node));
  const image = captioned(drawImage(data.images[b], data.image_shape, `image ${name}`), name);
  const node = element("div", { class: "dc-row dc-image-row" }, image,
    element("figure", { class: "dc-figure" }, stack, what),
    element("figure", { class: "dc-figure dc-result" }, output.node, text));
  const count = data.names.length;
  const weights = (l, run, strength) => blend(data.layers[l].attention, data.layers[l].size, count, run, b, strength);
  views.forEach((view, l) => view.draw(weights(l, 0, 1))); // so that each has its height before it is seen
  const draw = (layer, { runs, changes }, strength, words) => {
    views.forEach((view, l) => { view.node.style.visibility = l === layer ? "" : "hidden"; });
    views[layer].draw(weights(layer, runs[b], strength));
    output.draw(blend(data.outputs, data.size, count, runs[b], b, strength));
    say(what, words);
    say(text, `changed by ${percent(changes[b])}`);
  };
  return { node, draw };
};

// pure: the arrays of what Python sent
export const prepare = (raw) => {
  const optional = (text) => text && decode(text), outputs = decode(raw.outputs);
  const layers = raw.layers.map((layer) => {
    const attention = decode(layer.attention), size = layer.shape.reduce((a, b) => a * b, 1), [low, high] = range(attention);
    const limits = range(attention.subarray(0, size * raw.names.length)); // as trained
    return { ...layer, attention, size, limits, shares: low >= 0 && high < 1.001 };
  });
  const size = raw.output_shape.reduce((a, b) => a * b, 1), limits = range(outputs.subarray(0, size * raw.names.length));
  return {
    ...raw, outputs, layers, size, limits, images: raw.images.map(decode),
    differences: decode(raw.differences), norms: decode(raw.norms), losses: optional(raw.losses), crossed: optional(raw.crossed),
  };
};

const render = ({ model, el }) => {
  const data = prepare(JSON.parse(model.get("data"))), { names } = data, layerNames = data.layers.map((layer) => layer.name);
  const redrawAndStore = () => { redraw(); store(); };
  const mode = modeTable(data, model.get("mode"), redrawAndStore);
  const pick = (label, trait) => choice({ // who picks a pair wants to see it
    label, options: names, value: model.get(trait), changed: () => { mode.set("swap"); redrawAndStore(); },
  });
  const first = pick("swap", "first"), second = pick("with", "second");
  const layer = choice({ label: "show the weights of", options: layerNames, value: model.get("layer"), changed: redrawAndStore });
  const strength = slider({
    label: "strength", min: 0, max: 1, step: 0.01, value: model.get("strength"), show: percent,
    changed: () => redraw(), settled: () => store(),
  });
  const rows = names.map((name, b) => imageRow(data, name, b));
  const summaries = (at) => data.modes.map((one) => {
    const summary = summaryOf(data, { ...at, mode: one });
    return { ...summary, correct: correctOf(data, summary.runs) };
  });
  const wordsOf = ({ mode: chosen, pair: [i, j] }, b) => EXPLAINED[chosen]?.[1]
    ?? (b === i || b === j ? `those of ${names[b === i ? j : i]}` : "its own weights");

  const draw = () => {
    const at = { mode: mode.get(), pair: [first, second].map((one) => names.indexOf(one.get())), strength: strength.get() };
    const all = summaries(at), own = all[data.modes.indexOf(at.mode)];
    mode.draw(all);
    rows.forEach((row, b) => row.draw(layerNames.indexOf(layer.get()), own, at.strength, wordsOf(at, b)));
    return inWords(at, own, all[0]);
  };
  const inWords = ({ mode: chosen, strength: s }, own, trained) => {
    const each = names.map((name, b) => `${name} by ${percent(own.changes[b])}`).join(", ");
    const way = data.linear ? ` At strength ${percent(s)} the` : " The", [a, b] = [first.get(), second.get()];
    const swap = a === b ? `${a} swaps with itself, which changes nothing` : `${a} and ${b} swap their weights`;
    const score = data.losses ? ` The loss is ${lossText(own.loss)}, as trained ${lossText(trained.loss)}` : "";
    const right = data.targets ? `; right are ${own.correct} of ${names.length}, as trained ${trained.correct}` : "";
    return `${EXPLAINED[chosen]?.[0] ?? swap}.${way} output changes by ${percent(own.change)} of its norm: ${each}.`
      + `${score}${right}${score && "."}`;
  };
  el.classList.add("dc-interventions");
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: { mode, first, second, layer, strength },
    body: [
      element("div", { class: "dc-row dc-top" }, mode.node, element("div", { class: "dc-side" },
        first.node, second.node, ...(data.linear ? [strength.node] : []), ...(layerNames.length > 1 ? [layer.node] : []))),
      element("div", { class: "dc-images" }, ...rows.map((row) => row.node)),
    ],
  });
  return remove;
};

export default widget(render);

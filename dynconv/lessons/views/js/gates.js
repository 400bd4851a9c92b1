// Spatial gates: where each block computes for an image, what that needs around it, and what it saves.

import {
  captioned, choice, decode, element, instrument, number, percent, photograph, picture, say, showPart, slider, sum, widget,
} from "./toolkit.js";

// pure: the logit that keeps a share of all positions open; null stands for "as trained"
export const thresholdOf = (logits, budget) => {
  if (budget === null) return 0;
  const count = Math.floor(budget * logits.length + 0.5);
  return count ? logits.slice().sort()[logits.length - count] : Infinity;
};

// pure: a position is needed if it or one of its eight neighbours is open
export const dilate = (gate, [batch, h, w]) => {
  const out = new Float32Array(gate.length);
  for (let b = 0; b < batch; b++) for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
    if (!gate[(b * h + y) * w + x]) continue;
    for (let i = Math.max(0, y - 1); i <= Math.min(h - 1, y + 1); i++) {
      for (let j = Math.max(0, x - 1); j <= Math.min(w - 1, x + 1); j++) out[(b * h + i) * w + j] = 1;
    }
  }
  return out;
};

// pure: everything about one block, for all images
export const gatesState = ({ logits, shape, macs: [first, second] }, { budget, temperature }) => {
  const [batch, h, w] = shape, area = h * w, threshold = thresholdOf(logits, budget);
  const gate = logits.map((z) => (z >= threshold ? 1 : 0)), needed = dilate(gate, shape);
  const count = (mask, b) => mask.subarray(b * area, (b + 1) * area).reduce((sum, v) => sum + v, 0);
  const used = Array.from({ length: batch }, (_, b) => count(needed, b) * first + count(gate, b) * second);
  const soft = logits.map((z) => 1 / (1 + Math.exp((threshold - z) / temperature)));
  return { threshold, gate, needed, soft, used, total: area * (first + second) };
};

// 1234567 as "1.2 M"
const amount = (v) => {
  const step = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(1, v)) / 3)));
  const scaled = v / 1000 ** step;
  return `${step && scaled < 100 ? scaled.toFixed(1) : Math.round(scaled)}${["", " k", " M", " G", " T"][step]}`;
};

// The budget's slider, and a box that gives it back to the gates: null is "as trained", at which the slider shows what is open.
const budgetControl = (value, openAsTrained, changed, settled) => {
  const box = element("input", { type: "checkbox", "data-lm-suppress-shortcuts": "true" });
  const share = slider({
    label: "budget: positions open", min: 0, max: 1, step: 0.01, value: 0, show: percent,
    changed: () => { box.checked = false; changed(); }, settled,
  });
  const set = (v) => { box.checked = v === null; share.set(v ?? openAsTrained); };
  box.addEventListener("change", () => { set(box.checked ? null : share.get()); changed(); settled(); });
  set(value);
  const node = element("label", { class: "dc-choice" }, box, "as trained (threshold 0)");
  const valid = (v) => v === null || share.valid(v);
  return { nodes: [share.node, node], get: () => (box.checked ? null : share.get()), set, valid };
};

// The image with its closed positions dark.
const overlayOf = ([height, width], label) => {
  const { node, draw: drawPhoto } = photograph([height, width], label);
  const draw = (image, gate, h, w) => drawPhoto(image, 0, 1, (i) => {
    const y = Math.floor((Math.floor(i / width) * h) / height), x = Math.floor(((i % width) * w) / width);
    return gate[y * w + x] ? 1 : 60 / 255;
  });
  return { node, draw };
};

// How much of the dense cost is spent, as a bar and in words.
const costBar = (title) => {
  const fill = element("span", { class: "dc-fill dc-spent" }), text = element("span", { class: "dc-cost-text" });
  const node = element("div", { class: "dc-cost" }, element("strong", {}, title),
    element("span", { class: "dc-track", "aria-hidden": "true" }, fill), text);
  const draw = (used, total) => {
    showPart(fill, 0, used / total);
    say(text, `${amount(used)} of ${amount(total)} multiply-adds: ${percent(used / total)} spent, `
      + `${amount(total - used)} or ${percent(1 - used / total)} saved`);
  };
  return { node, draw };
};

const blockRow = ({ name, shape: [, h, w] }, size) => {
  const overlay = overlayOf(size, `image, closed positions of ${name} dark`);
  const [soft, hard, needed] = ["soft gate", "hard gate", "positions the first convolution computes"].map((what) => {
    const view = picture(h, w, `${what} of ${name}`);
    view.node.style.aspectRatio = `${w} / ${h}`;
    return view;
  });
  const cost = costBar(name);
  const node = element("div", { class: "dc-block" }, cost.node, element("div", { class: "dc-row dc-image-row" },
    captioned(overlay.node, "open positions"), captioned(soft.node, "soft gate"), captioned(hard.node, "hard gate"),
    captioned(needed.node, "needed: dilated")));
  const draw = (state, image, b) => {
    const part = (array) => array.subarray(b * h * w, (b + 1) * h * w), gate = part(state.gate), around = part(state.needed);
    overlay.draw(image, gate, h, w);
    soft.draw(part(state.soft), "viridis", 0, 1);
    hard.draw(gate, "viridis", 0, 1);
    needed.draw(around.map((v, i) => (v + gate[i]) / 2), "viridis", 0, 1);
    cost.draw(state.used[b], state.total);
  };
  return { node, draw };
};

const render = ({ model, el }) => {
  const { names, images: text, image_shape: size, blocks: raw } = JSON.parse(model.get("data"));
  const blocks = raw.map((block) => ({ ...block, logits: decode(block.logits) }));
  const pixels = decode(text), area = 3 * size[0] * size[1], positions = sum(blocks.map((block) => block.logits.length));
  const openAsTrained = sum(blocks.map(({ logits }) => logits.filter((z) => z >= 0).length)) / positions;
  const budget = budgetControl(model.get("budget"), openAsTrained, () => redraw(), () => store());
  const temperature = slider({
    label: "temperature T", min: 0.1, max: 100, step: 0.01, log: true, value: model.get("temperature"),
    changed: () => redraw(), settled: () => store(),
  });
  const image = choice({ label: "image", options: names, value: model.get("image"), changed: () => { redraw(); store(); } });
  const rows = blocks.map((block) => blockRow(block, size));
  const total = costBar("all blocks");

  const draw = () => {
    const b = names.indexOf(image.get()), at = { budget: budget.get(), temperature: temperature.get() };
    const states = blocks.map((block) => gatesState(block, at));
    const dense = sum(states.map((s) => s.total)), used = names.map((_, i) => sum(states.map((s) => s.used[i])));
    rows.forEach((row, k) => row.draw(states[k], pixels.subarray(b * area, (b + 1) * area), b));
    total.draw(used[b], dense);
    return sentence(b, states, at, used.map((u) => u / dense));
  };
  const sentence = (b, states, at, shares) => {
    const open = sum(states.map((s) => sum(s.gate))) / positions, needed = sum(states.map((s) => sum(s.needed))) / positions;
    const undecided = sum(states.map((s) => s.soft.filter((p) => p > 0.1 && p < 0.9).length)) / positions;
    const each = names.map((name, i) => `${name} ${percent(shares[i])}`).join(", ");
    const setting = at.budget === null ? "As trained" : `With a budget of ${percent(at.budget)}`;
    return `${setting}, the gates open ${percent(open)} of all positions; for them the first convolutions compute at `
      + `${percent(needed)}. ${names[b]} saves ${percent(1 - shares[b])} of its multiply-adds; spent are: ${each}. `
      + `At T = ${number(at.temperature)} the soft gate is between 0.1 and 0.9 at ${percent(undecided)} of the positions; `
      + "the hard gate and the cost do not depend on T.";
  };
  el.classList.add("dc-gates");
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: { budget, temperature, image },
    body: [
      element("div", { class: "dc-controls" }, ...budget.nodes, temperature.node, image.node),
      element("p", { class: "dc-legend" }, "needed: yellow is open, green is computed for an open neighbour, purple is skipped"),
      element("div", { class: "dc-blocks" }, ...rows.map((row) => row.node)), total.node,
    ],
  });
  return remove;
};

export default widget(render);

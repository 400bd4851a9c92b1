// Spatial gates: a live wire that ends in a mask. Where each block computes for an image, what that needs around it, what it saves.

import { diagram } from "./diagram.js";
import { thumbnails } from "./thumbnails.js";
import {
  amount,
  checkbox,
  decode,
  decoded,
  element,
  instrument,
  number,
  part,
  percent,
  photograph,
  say,
  shareSlider,
  showPart,
  sum,
  temperatureSlider,
} from "./toolkit.js";

// pure: the logit that keeps a share of all positions open; null stands for "as trained"
export const thresholdOf = (logits, budget) => {
  if (budget === null) return 0;
  const count = Math.floor(budget * logits.length + 0.5);
  return count ? logits.slice().sort()[logits.length - count] : Infinity;
};

// marks position i of maps of h × w that lie one after the other, and its up to eight neighbours
const markAround = (out, i, h, w) => {
  const x = i % w;
  const y = Math.floor(i / w) % h;
  for (let down = y > 0 ? -1 : 0; down <= (y < h - 1 ? 1 : 0); down++) {
    for (let across = x > 0 ? -1 : 0; across <= (x < w - 1 ? 1 : 0); across++) out[i + down * w + across] = 1;
  }
};

// pure: a position is needed if it or one of its eight neighbours is open
export const dilate = (gate, [, h, w]) => {
  const out = new Float32Array(gate.length);
  gate.forEach((open, i) => {
    if (open) markAround(out, i, h, w);
  });
  return out;
};

// pure: everything about one block, for all images
export const gatesState = ({ logits, shape, macs: [first, second] }, { budget, temperature }) => {
  const [batch, h, w] = shape;
  const area = h * w;
  const threshold = thresholdOf(logits, budget);
  const gate = logits.map((z) => (z >= threshold ? 1 : 0));
  const needed = dilate(gate, shape);
  const costOf = (_, b) => sum(part(needed, b, area)) * first + sum(part(gate, b, area)) * second;
  const soft = logits.map((z) => 1 / (1 + Math.exp((threshold - z) / temperature)));
  return { threshold, gate, needed, soft, used: Array.from({ length: batch }, costOf), total: area * (first + second) };
};

const read = (raw) => {
  const blocks = raw.blocks.map((block) => decoded(block, "logits"));
  const positions = sum(blocks.map(({ logits }) => logits.length));
  const open = sum(blocks.map(({ logits }) => logits.filter((z) => z >= 0).length));
  const data = { ...raw, blocks, positions, openAsTrained: open / positions };
  return { ...data, images: decode(raw.images), area: 3 * raw.image_shape[0] * raw.image_shape[1] };
};

// pure: all blocks, the chosen image, and what each image spends of the dense cost
const state = (data, values) => {
  const blocks = data.blocks.map((block) => gatesState(block, values));
  const total = sum(blocks.map((one) => one.total));
  const used = data.names.map((_, b) => sum(blocks.map((one) => one.used[b])));
  return { blocks, total, used, image: data.names.indexOf(values.image) };
};

// The budget's slider, and a box that gives it back to the gates: null is "as trained", at which the slider shows what is open.
const budgetControl = (openAsTrained) => {
  const box = checkbox();
  const share = shareSlider("positions open");
  const set = (v) => {
    box.checked = v === null;
    share.set(v ?? openAsTrained);
  };
  box.addEventListener("input", () => set(box.checked ? null : share.get()));
  share.input.addEventListener("input", () => {
    box.checked = false;
  });
  const node = element("label", { class: "dc-choice" }, box, "as trained (threshold 0)");
  const valid = (v) => v === null || share.valid(v);
  return { nodes: [share.node, node], get: () => (box.checked ? null : share.get()), set, valid };
};

const controls = ({ names, openAsTrained, images, area, image_shape: size }) => {
  const spent = names.map(() => element("span", { class: "dc-spent-text" }));
  const image = { ...thumbnails("image"), spent };
  image.offer(names.map((name, b) => ({ name, size, array: part(images, b, area), below: spent[b] })));
  return { budget: budgetControl(openAsTrained), temperature: temperatureSlider(), image };
};

// The image with its closed positions dark.
const overlayOf = ([height, width], label) => {
  const { node, draw: drawPhoto } = photograph([height, width], label);
  const draw = (image, gate, h, w) =>
    drawPhoto(image, 0, 1, (i) => {
      const y = Math.floor((Math.floor(i / width) * h) / height);
      const x = Math.floor(((i % width) * w) / width);
      return gate[y * w + x] ? 1 : 60 / 255;
    });
  return { node, draw };
};

// How much of the dense cost is spent, as a bar and in words.
const costBar = (title) => {
  const fill = element("span", { class: "dc-fill dc-spent" });
  const text = element("span", { class: "dc-cost-text" });
  const track = element("span", { class: "dc-track", "aria-hidden": "true" }, fill);
  const node = element("div", { class: "dc-cost" }, element("strong", {}, title), track, text);
  const draw = (used, total) => {
    const spent = used / total;
    showPart(fill, 0, spent);
    say(
      text,
      `${amount(used)} of ${amount(total)} multiply-adds: ${percent(spent)} spent, `
        + `${amount(total - used)} or ${percent(1 - spent)} saved`,
    );
  };
  return { node, draw };
};

// One row a block: the image scores every position, a threshold makes a mask of it, and the block computes where the mask is open.
const figureOf = ({ blocks, image_shape }, overlays) => {
  const column = (name, title, note) => {
    // a block's maps may have a size of their own: each canvas is as large as its own
    const size = blocks.map(({ shape }) => shape.slice(1));
    return { tiles: name, size, full: 1, title, note, what: (k) => `${title} of ${blocks[k].name}` };
  };
  const figure = diagram({
    label: "spatial gates: the image decides where each block computes",
    stages: [
      { picture: "image", size: image_shape, title: "image", note: " " },
      {
        rows: blocks.length,
        class: "dc-maps",
        columns: [
          column("soft", "soft gate", "sigmoid((score − threshold) ÷ T)"),
          column("gate", "hard gate", "score ≥ threshold"),
          column("needed", "needed", "the gate, dilated"),
        ],
        beside: blocks.map(({ name }, k) => ({ piece: `open ${k}`, element: overlays[k].node, title: name })),
      },
    ],
    wires: [
      { from: "image", to: "soft", kind: "live" },
      { from: "soft", to: "gate", kind: "live" },
      { from: "gate", to: "needed", kind: "data" },
    ],
  });
  blocks.forEach((_, k) => figure.nouns[`open ${k}`].node.style.setProperty("--k", k));
  return figure;
};

const LEGEND = "needed: full colour is open, half is computed for an open neighbour, the rest is skipped";
const CHAIN =
  "; each block after the first reads what the one before it makes of the image: its scores stay as trained";

const view = (data, { budget, temperature, image }) => {
  const overlays = data.blocks.map(({ name }) =>
    overlayOf(data.image_shape, `image, closed positions of ${name} dark`),
  );
  const figure = figureOf(data, overlays);
  const costs = [...data.blocks.map(({ name }) => costBar(name)), costBar("all blocks")];
  const areaOf = ({ shape: [, h, w] }) => h * w;
  const draw = ({ blocks, used, total, image: b }) => {
    const photo = part(data.images, b, data.area);
    const of = (name) => blocks.map((block, k) => part(block[name], b, areaOf(data.blocks[k])));
    const gate = of("gate");
    const needed = of("needed").map((map, k) => map.map((v, i) => (v + gate[k][i]) / 2));
    figure.draw({ image: photo, soft: of("soft"), gate, needed }, b);
    figure.note("image", data.names[b]);
    overlays.forEach((one, k) => one.draw(photo, gate[k], ...data.blocks[k].shape.slice(1)));
    blocks.forEach((block, k) => costs[k].draw(block.used[b], block.total));
    costs.at(-1).draw(used[b], total);
    used.forEach((v, i) => say(image.spent[i], percent(v / total)));
  };
  const sliders = element("div", { class: "dc-controls" }, ...budget.nodes, temperature.node);
  const legend = element("p", { class: "dc-legend" }, LEGEND + (data.blocks.length > 1 ? CHAIN : ""));
  const table = element("div", { class: "dc-costs" }, ...costs.map((one) => one.node));
  return { body: [image.node, sliders, figure.node, legend, table], draw, remove: figure.remove };
};

const words = ({ names, positions }, { blocks, used, total, image }, { budget, temperature }) => {
  const share = (count) => percent(sum(blocks.map(count)) / positions);
  const undecided = share(({ soft }) => soft.filter((p) => p > 0.1 && p < 0.9).length);
  const spent = used.map((v) => v / total);
  const each = names.map((name, b) => `${percent(spent[b])} for ${name}`).join(", ");
  const open = share(({ gate }) => sum(gate));
  const setting =
    budget === null ? `As trained, with ${open} of the positions open` : `With ${open} of the positions open`;
  return (
    `${setting}, the first convolutions compute at ${share(({ needed }) => sum(needed))}. Picture “${names[image]}” saves ${percent(1 - spent[image])} of its multiply-adds; `
    + `spent on each image: ${each}. At T = ${number(temperature)} the soft gate is between 0.1 and 0.9 at ${undecided} of the positions; `
    + "the hard gate and the cost do not depend on T."
  );
};

export default instrument({ className: "dc-gates", read, controls, state, view, words });

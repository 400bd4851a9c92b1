// Spatial gates: where each block computes for an image, what that needs around it, and what it saves.

import {
  amount,
  captioned,
  checkbox,
  choice,
  decode,
  decoded,
  element,
  instrument,
  number,
  part,
  percent,
  photograph,
  picture,
  row,
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
  const share = shareSlider("budget: positions open");
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

const controls = ({ names, openAsTrained }) => ({
  budget: budgetControl(openAsTrained),
  temperature: temperatureSlider(),
  image: choice({ label: "image", options: names }),
});

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

const blockRow = ({ name, shape: [, h, w] }, size) => {
  const overlay = overlayOf(size, `image, closed positions of ${name} dark`);
  const soft = picture(h, w, `soft gate of ${name}`);
  const hard = picture(h, w, `hard gate of ${name}`);
  const needed = picture(h, w, `positions the first convolution computes of ${name}`);
  const cost = costBar(name);
  const pictures = row(
    "dc-image-row",
    captioned(overlay.node, "open positions"),
    captioned(soft.node, "soft gate"),
    captioned(hard.node, "hard gate"),
    captioned(needed.node, "needed: dilated"),
  );
  const draw = (block, photo, b) => {
    const gate = part(block.gate, b, h * w);
    overlay.draw(photo, gate, h, w);
    soft.draw(part(block.soft, b, h * w), "viridis", 0, 1);
    hard.draw(gate, "viridis", 0, 1);
    const around = part(block.needed, b, h * w).map((v, i) => (v + gate[i]) / 2);
    needed.draw(around, "viridis", 0, 1);
    cost.draw(block.used[b], block.total);
  };
  return { node: element("div", { class: "dc-block" }, cost.node, pictures), draw };
};

const COLOURS = "needed: yellow is open, green is computed for an open neighbour, purple is skipped";

const view = (data, { budget, temperature, image }) => {
  const rows = data.blocks.map((block) => blockRow(block, data.image_shape));
  const total = costBar("all blocks");
  return {
    body: [
      element("div", { class: "dc-controls" }, ...budget.nodes, temperature.node, image.node),
      element("p", { class: "dc-legend" }, COLOURS),
      element("div", { class: "dc-blocks" }, ...rows.map((one) => one.node)),
      total.node,
    ],
    draw: (now) => {
      const photo = part(data.images, now.image, data.area);
      rows.forEach((one, k) => one.draw(now.blocks[k], photo, now.image));
      total.draw(now.used[now.image], now.total);
    },
  };
};

const words = ({ names, positions }, { blocks, used, total, image }, { budget, temperature }) => {
  const share = (count) => percent(sum(blocks.map(count)) / positions);
  const undecided = share(({ soft }) => soft.filter((p) => p > 0.1 && p < 0.9).length);
  const spent = used.map((v) => v / total);
  const each = names.map((name, b) => `${name} ${percent(spent[b])}`).join(", ");
  const setting = budget === null ? "As trained" : `With a budget of ${percent(budget)}`;
  return (
    `${setting}, the gates open ${share(({ gate }) => sum(gate))} of all positions; for them the first convolutions compute at `
    + `${share(({ needed }) => sum(needed))}. ${names[image]} saves ${percent(1 - spent[image])} of its multiply-adds; `
    + `spent are: ${each}. At T = ${number(temperature)} the soft gate is between 0.1 and 0.9 at ${undecided} of the positions; `
    + "the hard gate and the cost do not depend on T."
  );
};

export default instrument({ className: "dc-gates", read, controls, state, view, words });

// U-GAT-IT's attention: the same channel weights for every image, its heatmap and logits, and AdaLIN of one channel.

import {
  captioned,
  choice,
  decoded,
  element,
  instrument,
  mix,
  number,
  part,
  percent,
  photograph,
  picture,
  radioGroup,
  range,
  rangeOfAll,
  row,
  shareSlider,
  signed,
  signedBar,
} from "./toolkit.js";

// pure: mean and variance of values[from … to), the variance with the divisor n - 1 as U-GAT-IT has it
export const meanAndVariance = (values, from, to) => {
  let mean = 0;
  let squares = 0;
  for (let i = from; i < to; i++) mean += values[i] / (to - from);
  for (let i = from; i < to; i++) squares += (values[i] - mean) ** 2;
  return [mean, squares / (to - from - 1)];
};

// the map of channel c of image b
const mapOf = ({ features, shape: [, channels, h, w] }, b, c) => part(features, b * channels + c, h * w);

// pure: one image's two logits: weighted means, and weighted largest values, of its channels
const logitsOf = (data, b) => {
  const logits = [0, 0];
  for (let c = 0; c < data.shape[1]; c++) {
    const map = mapOf(data, b, c);
    logits[0] += data.average[c] * meanAndVariance(map, 0, map.length)[0];
    logits[1] += data.maximum[c] * range(map)[1];
  }
  return logits;
};

// pure: what no control changes: each image's logits, and its heatmap under either branch, one after the other
export const branchesOf = (data) => {
  const { features, average, maximum, shape } = data;
  const [batch, channels, h, w] = shape;
  const area = h * w;
  return Array.from({ length: batch }, (_, b) => {
    const start = b * channels * area;
    const maps = new Float32Array(2 * area);
    maps.set(mix(features, average, area, start));
    maps.set(mix(features, maximum, area, start), area);
    return { logits: logitsOf(data, b), maps, layer: meanAndVariance(features, start, start + channels * area) };
  });
};

// pure: AdaLIN of channel c of image b
export const adalin = (data, b, c, rho, [layerMean, layerVariance]) => {
  const map = mapOf(data, b, c);
  const at = b * data.shape[1] + c;
  const [mean, variance] = meanAndVariance(map, 0, map.length);
  const instance = rho / Math.sqrt(variance + data.eps);
  const layer = (1 - rho) / Math.sqrt(layerVariance + data.eps);
  return map.map((v) => data.gamma[at] * (instance * (v - mean) + layer * (v - layerMean)) + data.beta[at]);
};

// pure: heatmap and normalised channel of every image; a blend of the weights is a blend of the maps
export const featureAttentionState = (data, { blend, channel, rho }) =>
  data.branches.map(({ maps, logits, layer }, b) => ({
    logits,
    heatmap: mix(maps, [1 - blend, blend], maps.length / 2),
    normalized: adalin(data, b, channel, rho, layer),
  }));

const read = (raw) => {
  const data = decoded(raw, "features", "average", "maximum", "gamma", "beta", "images");
  const branches = branchesOf(data);
  return { ...data, branches, heatRange: rangeOfAll(branches.map((b) => b.maps)) }; // a blend lies between its ends
};

const state = (data, values) => {
  const channel = data.strongest[values.rank - 1];
  const images = featureAttentionState(data, { ...values, channel });
  return { channel, images, chosen: data.names.indexOf(values.image) };
};

// A weight as a bar and a number: weights do not change, so it is drawn once.
const weightBar = (value, longest, branch) => {
  const bar = signedBar(`dc-${branch}`);
  bar.draw(value, longest);
  return element("span", { class: "dc-bar" }, bar.node, element("span", { class: "dc-bar-text" }, signed(value)));
};

// One radio button a channel, with its weights in both branches.
const channelList = ({ average, maximum, strongest }) => {
  const longest = Math.max(...strongest.flatMap((c) => [Math.abs(average[c]), Math.abs(maximum[c])]));
  const weights = (c) => [weightBar(average[c], longest, "average"), weightBar(maximum[c], longest, "maximum")];
  const name = (c) => element("span", { class: "dc-channel-name" }, `channel ${c}`);
  const pair = (c) => element("span", { class: "dc-pair" }, ...weights(c));
  const ranks = strongest.map((_, r) => r + 1);
  return radioGroup("channel shown", "dc-channels", ranks, (input, r) =>
    element("label", { class: "dc-channel" }, input, name(strongest[r]), pair(strongest[r])),
  );
};

const controls = (data) => ({
  blend: shareSlider("average ↔ max branch"),
  rho: shareSlider("rho (layer ↔ instance norm)", (v) => v.toFixed(2)),
  image: choice({ label: "image", options: data.names }),
  rank: channelList(data),
});

const logitsNode = ([average, maximum]) => {
  const lines = ["logits", `average ${signed(average)}`, `max ${signed(maximum)}`];
  return element("div", { class: "dc-logits" }, ...lines.map((text) => element("div", {}, text)));
};

const photoOf = ({ names, images, image_shape: [h, w] }, b) => {
  const photo = photograph([h, w], `image ${names[b]}`);
  photo.draw(part(images, b, 3 * h * w));
  return captioned(photo.node, element("strong", {}, names[b]));
};

const imageRow = (data, name, b) => {
  const [h, w] = data.shape.slice(2);
  const heatmap = picture(h, w, `heatmap of ${name}`);
  const single = picture(h, w, `the channel of ${name}`);
  const normalized = picture(h, w, `the channel of ${name} after AdaLIN`);
  const node = row(
    "dc-image-row",
    photoOf(data, b),
    captioned(heatmap.node, "heatmap"),
    captioned(single.node, "channel"),
    captioned(normalized.node, "after AdaLIN"),
    logitsNode(data.branches[b].logits),
  );
  return { node, heatmap, single, normalized };
};

const legend = () => {
  const mark = (branch) => element("span", { class: `dc-mark dc-${branch}` });
  const [average, maximum] = [mark("average"), mark("maximum")];
  return element("div", {}, average, " average branch, ", maximum, " max branch: the same weights for all images");
};

// one scale for all images and every rho
const normalizedRange = (data, channel) => {
  const ends = ({ layer }, b) => [0, 1].map((rho) => adalin(data, b, channel, rho, layer));
  return rangeOfAll(data.branches.flatMap(ends));
};

// The images' rows: the channel's own maps are drawn when another is chosen, the rest each time.
const imageRows = (data) => {
  const rows = data.names.map((name, b) => imageRow(data, name, b));
  let drawn;
  let limits;
  const drawChannel = (channel) => {
    if (channel === drawn) return;
    drawn = channel;
    limits = normalizedRange(data, channel);
    const singles = rows.map((_, b) => mapOf(data, b, channel));
    const singleRange = rangeOfAll(singles);
    rows.forEach((one, b) => one.single.draw(singles[b], "viridis", ...singleRange));
  };
  const draw = ({ channel, images, chosen }) => {
    drawChannel(channel);
    rows.forEach((one, b) => {
      one.node.classList.toggle("dc-picked", b === chosen);
      one.heatmap.draw(images[b].heatmap, "viridis", ...data.heatRange);
      one.normalized.draw(images[b].normalized, "viridis", ...limits);
    });
  };
  return { node: element("div", {}, ...rows.map((one) => one.node)), draw };
};

const view = (data, { blend, rho, image, rank }) => {
  const rows = imageRows(data);
  return {
    body: [
      element("div", { class: "dc-controls" }, blend.node, rho.node, image.node),
      element("div", { class: "dc-columns" }, captioned(rank.node, legend()), rows.node),
    ],
    draw: rows.draw,
  };
};

const words = (data, { channel, images, chosen }, { blend, rho }) => {
  const { heatmap, normalized, logits } = images[chosen];
  const [mean, variance] = meanAndVariance(normalized, 0, normalized.length);
  const others = images.map((one) => signed(one.logits[0])).join(", ");
  const [lowest, highest] = range(heatmap).map(signed);
  const [average, maximum] = logits.map(signed);
  return (
    `Every image meets the same weights: channel ${channel} gets ${signed(data.average[channel])} from the average branch `
    + `and ${signed(data.maximum[channel])} from the max branch. The average branch's logits, image by image: ${others}. `
    + `${data.names[chosen]}: logits ${average} and ${maximum}; with ${percent(blend)} max branch its heatmap goes from `
    + `${lowest} to ${highest}. At rho = ${rho.toFixed(2)} AdaLIN gives it channel ${channel} with mean ${signed(mean)} and `
    + `standard deviation ${number(Math.sqrt(variance))}.`
  );
};

export default instrument({ className: "dc-feature-attention", read, controls, state, view, words });

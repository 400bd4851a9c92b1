// U-GAT-IT's attention: the same channel weights for every image, its heatmap and logits, and AdaLIN of one channel.

import {
  captioned, choice, decode, element, instrument, mix, number, percent, photograph, picture, radios, range, signed,
  signedBar, slider, widget,
} from "./toolkit.js";

// pure: mean and variance of values[from … to), the variance with the divisor n - 1 as U-GAT-IT has it
export const meanAndVariance = (values, from, to) => {
  let mean = 0, squares = 0;
  for (let i = from; i < to; i++) mean += values[i] / (to - from);
  for (let i = from; i < to; i++) squares += (values[i] - mean) ** 2;
  return [mean, squares / (to - from - 1)];
};

// pure: what no control changes: each image's logits, and its heatmap under either branch, one after the other
export const branchesOf = ({ features, average, maximum, shape: [batch, channels, h, w] }) => {
  const area = h * w;
  return Array.from({ length: batch }, (_, b) => {
    const start = b * channels * area, logits = [0, 0], maps = new Float32Array(2 * area);
    for (let c = 0; c < channels; c++) {
      const map = features.subarray(start + c * area, start + (c + 1) * area);
      logits[0] += average[c] * meanAndVariance(map, 0, area)[0];
      logits[1] += maximum[c] * range(map)[1];
    }
    maps.set(mix(features, average, area, start));
    maps.set(mix(features, maximum, area, start), area);
    return { logits, maps, layer: meanAndVariance(features, start, start + channels * area) };
  });
};

const mapOf = ({ features, shape: [, channels, h, w] }, b, c) =>
  features.subarray((b * channels + c) * h * w, (b * channels + c + 1) * h * w);

// pure: AdaLIN of channel c of image b
export const adalin = (data, b, c, rho, [layerMean, layerVariance]) => {
  const map = mapOf(data, b, c), at = b * data.shape[1] + c, g = data.gamma[at], shift = data.beta[at];
  const [mean, variance] = meanAndVariance(map, 0, map.length);
  const instance = rho / Math.sqrt(variance + data.eps), layer = (1 - rho) / Math.sqrt(layerVariance + data.eps);
  return map.map((v) => g * (instance * (v - mean) + layer * (v - layerMean)) + shift);
};

// pure: heatmap and normalised channel of every image; a blend of the weights is a blend of the maps
export const featureAttentionState = (data, { blend, channel, rho }) => data.branches.map(({ maps, logits, layer }, b) => ({
  logits, heatmap: mix(maps, [1 - blend, blend], maps.length / 2), normalized: adalin(data, b, channel, rho, layer),
}));

// A weight as a bar and a number: weights do not change, so it is drawn once.
const weightBar = (value, longest, branch) => {
  const bar = signedBar(`dc-${branch}`);
  bar.draw(value, longest);
  return element("span", { class: "dc-bar" }, bar.node, element("span", { class: "dc-bar-text" }, signed(value)));
};

// One radio button a channel, with its weights in both branches.
const channelList = ({ average, maximum, strongest }, value, changed) => {
  const longest = Math.max(...strongest.flatMap((c) => [Math.abs(average[c]), Math.abs(maximum[c])]));
  const control = radios(strongest.map((_, r) => r + 1), value, changed);
  const rows = strongest.map((c, r) => element("label", { class: "dc-channel" }, control.inputs[r],
    element("span", { class: "dc-channel-name" }, `channel ${c}`),
    element("span", { class: "dc-pair" }, weightBar(average[c], longest, "average"), weightBar(maximum[c], longest, "maximum"))));
  const node = element("div", { class: "dc-channels", role: "radiogroup", "aria-label": "channel shown" }, ...rows);
  return { ...control, node };
};

const read = (raw) => {
  const names = ["features", "average", "maximum", "gamma", "beta", "images"];
  const data = { ...raw, ...Object.fromEntries(names.map((name) => [name, decode(raw[name])])) };
  return { ...data, branches: branchesOf(data) };
};

const imageRow = (data, name, b) => {
  const { shape: [, , h, w], image_shape: [H, W] } = data, [average, maximum] = data.branches[b].logits;
  const photo = photograph([H, W], `image ${name}`);
  photo.draw(data.images.subarray(b * 3 * H * W, (b + 1) * 3 * H * W));
  const heatmap = picture(h, w, `heatmap of ${name}`), single = picture(h, w, `the channel of ${name}`);
  const normalized = picture(h, w, `the channel of ${name} after AdaLIN`);
  [heatmap, single, normalized].forEach(({ node }) => { node.style.aspectRatio = `${w} / ${h}`; });
  const mark = element("strong", {}, name);
  const words = ["logits", `average ${signed(average)}`, `max ${signed(maximum)}`].map((text) => element("div", {}, text));
  const node = element("div", { class: "dc-row dc-image-row" }, captioned(photo.node, mark), captioned(heatmap.node, "heatmap"),
    captioned(single.node, "channel"), captioned(normalized.node, "after AdaLIN"), element("div", { class: "dc-logits" }, ...words));
  return { node, heatmap, single, normalized };
};

const legend = () => element("div", {}, element("span", { class: "dc-mark dc-average" }), " average branch, ",
  element("span", { class: "dc-mark dc-maximum" }), " max branch: the same weights for all images");

// the lowest and highest of many arrays
const rangeOfAll = (arrays) => range(arrays.flatMap((array) => range(array)));

const render = ({ model, el }) => {
  const data = read(JSON.parse(model.get("data"))), { names, strongest, branches } = data;
  const heatRange = rangeOfAll(branches.map((b) => b.maps)); // a blend lies between its ends
  const changed = () => { redraw(); store(); };
  const one = (label, name, show) => slider({
    label, min: 0, max: 1, step: 0.01, value: model.get(name), show, changed: () => redraw(), settled: () => store(),
  });
  const blend = one("average ↔ max branch", "blend", percent);
  const rho = one("rho (layer ↔ instance norm)", "rho", (v) => v.toFixed(2));
  const image = choice({ label: "image", options: names, value: model.get("image"), changed });
  const list = channelList(data, model.get("rank"), changed);
  const rows = names.map((name, b) => imageRow(data, name, b));

  let drawn, normalizedRange; // the channel whose own maps are shown, and one scale for all images and every rho
  const drawChannel = (channel) => {
    if (channel === drawn) return;
    drawn = channel;
    normalizedRange = rangeOfAll([0, 1].flatMap((end) => branches.map(({ layer }, i) => adalin(data, i, channel, end, layer))));
    const singles = names.map((_, i) => mapOf(data, i, channel)), singleRange = rangeOfAll(singles);
    rows.forEach((row, i) => row.single.draw(singles[i], "viridis", ...singleRange));
  };
  const draw = () => {
    const channel = strongest[list.get() - 1], b = names.indexOf(image.get());
    const at = { blend: blend.get(), channel, rho: rho.get() };
    const states = featureAttentionState(data, at);
    drawChannel(channel);
    rows.forEach((row, i) => {
      row.node.classList.toggle("dc-picked", i === b);
      row.heatmap.draw(states[i].heatmap, "viridis", ...heatRange);
      row.normalized.draw(states[i].normalized, "viridis", ...normalizedRange);
    });
    return sentence(channel, b, states, at);
  };
  const sentence = (channel, b, states, at) => {
    const { heatmap, normalized, logits } = states[b], [mean, variance] = meanAndVariance(normalized, 0, normalized.length);
    const others = states.map((s) => signed(s.logits[0])).join(", ");
    const [lowest, highest] = range(heatmap).map(signed), [average, maximum] = logits.map(signed);
    return `Every image meets the same weights: channel ${channel} gets ${signed(data.average[channel])} from the average branch `
      + `and ${signed(data.maximum[channel])} from the max branch. The average branch's logits, image by image: ${others}. `
      + `${names[b]}: logits ${average} and ${maximum}; with ${percent(at.blend)} max branch its heatmap goes from ${lowest} to `
      + `${highest}. At rho = ${at.rho.toFixed(2)} AdaLIN gives it channel ${channel} with mean ${signed(mean)} and standard `
      + `deviation ${number(Math.sqrt(variance))}.`;
  };
  el.classList.add("dc-feature-attention");
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: { blend, rho, image, rank: list },
    body: [
      element("div", { class: "dc-controls" }, blend.node, rho.node, image.node),
      element("div", { class: "dc-columns" }, captioned(list.node, legend()), element("div", {}, ...rows.map((r) => r.node))),
    ],
  });
  return remove;
};

export default widget(render);

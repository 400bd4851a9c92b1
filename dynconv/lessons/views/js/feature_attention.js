// U-GAT-IT's attention: the same channel weights for every image, its weighted sum and logits, and AdaLIN of one channel.

import { channelRadios, sharedWeights } from "./shared_weights.js";
import {
  choice,
  decoded,
  element,
  instrument,
  largestSize,
  mix,
  number,
  part,
  percent,
  range,
  rangeOfAll,
  shareSlider,
  signed,
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
  const photos = data.names.map((_, b) => part(data.images, b, 3 * raw.image_shape[0] * raw.image_shape[1]));
  // a blend lies between its ends: what bounds these bounds all
  const heat = largestSize(rangeOfAll(branches.map((b) => b.maps)));
  const reach = Math.max(...data.strongest.flatMap((c) => [Math.abs(data.average[c]), Math.abs(data.maximum[c])]));
  return { ...data, branches, photos, heat, reach };
};

const state = (data, values) => {
  const channel = data.strongest[values.rank - 1];
  const images = featureAttentionState(data, { ...values, channel });
  const weightOf = (c) => (1 - values.blend) * data.average[c] + values.blend * data.maximum[c];
  return { channel, images, weights: data.strongest.map(weightOf), chosen: data.names.indexOf(values.image) };
};

const controls = (data) => ({
  blend: shareSlider("average ↔ maximum"),
  rho: shareSlider("rho (layer ↔ instance norm)", (v) => v.toFixed(2)),
  image: { ...choice({ label: "image", options: data.names }), fixed: () => data.names.length < 2 },
  rank: channelRadios(data.strongest.length),
});

// one scale for all images and every rho
const normalizedReach = (data, channel) => {
  const ends = ({ layer }, b) => [0, 1].map((rho) => adalin(data, b, channel, rho, layer));
  return largestSize(rangeOfAll(data.branches.flatMap(ends)));
};

const figureOf = (data) =>
  sharedWeights({
    label: "weights of two classifiers, the same for all images, and the weighted sum that they make of each",
    source: "two classifiers",
    names: data.names,
    rows: data.strongest.map((c) => `ch. ${c}`),
    count: data.strongest.length,
    reach: data.reach,
    imageSize: data.image_shape,
    mapSize: data.shape.slice(2),
    full: largestSize(data.features),
    large: [
      { picture: "large", size: data.image_shape, title: " ", alt: "the chosen image" },
      {
        picture: "large map",
        size: data.shape.slice(2),
        signed: true,
        full: data.heat,
        title: "its sum",
        alt: "its weighted sum",
      },
    ],
    scales: [
      { scale: "heat", full: data.heat, title: "sum" },
      { scale: "normal", full: 1, title: "AdaLIN" },
    ],
    results: (_, b) => {
      const map = { size: data.shape.slice(2), signed: true };
      const heatmap = { picture: `sum of ${b}`, ...map, full: data.heat, title: `all ${data.shape[1]}`, note: " " };
      return [heatmap, { picture: `normal ${b}`, ...map, full: 1, title: "AdaLIN", note: " " }];
    },
  });

const view = (data, { blend, rho, image, rank }) => {
  const figure = figureOf(data);
  const maps = data.names.map((_, b) => data.strongest.map((c) => mapOf(data, b, c)));
  const reaches = data.strongest.map((channel) => normalizedReach(data, channel));
  const draw = ({ channel, images, weights, chosen }, values) => {
    const reach = reaches[values.rank - 1] || 1;
    const shown = images.flatMap(({ heatmap, normalized }, b) => [
      [`image ${b}`, data.photos[b]],
      [`maps ${b}`, maps[b]],
      [`sum of ${b}`, heatmap],
      [`normal ${b}`, normalized.map((v) => v / reach)],
    ]);
    const large = { large: data.photos[chosen], "large map": images[chosen].heatmap, normal: reach };
    figure.draw({ w: weights, ...large, ...Object.fromEntries(shown) }, `${values.rank} ${values.image}`);
    if (images.length > 1) figure.title("large", data.names[chosen]);
    images.forEach(({ logits }, b) => {
      figure.note(`sum of ${b}`, `logits ${logits.map(signed).join(", ")}`);
      figure.note(`normal ${b}`, `ch. ${channel}`); // so short that its number stands on a phone
      figure.nouns[`image ${b}`].node.classList.toggle("dc-chosen", b === chosen);
    });
    rank.draw(data.strongest, weights.map((v) => signed(v))); // prettier-ignore
    figure.pick(values.rank - 1);
  };
  const shown = [blend, rho, ...(data.names.length > 1 ? [image] : [])];
  const sliders = element("div", { class: "dc-controls" }, ...shown.map((one) => one.node));
  return { body: [sliders, rank.node, figure.node], draw, remove: figure.remove };
};

const words = (data, { channel, images, chosen }, { blend, rho }) => {
  const { heatmap, normalized, logits } = images[chosen];
  const [mean, variance] = meanAndVariance(normalized, 0, normalized.length);
  const others = images.map((one) => signed(one.logits[0])).join(", ");
  const [lowest, highest] = range(heatmap).map(signed);
  const [average, maximum] = logits.map(signed);
  return (
    `Every image meets the same weights: channel ${channel} gets ${signed(data.average[channel])} from the average branch `
    + `and ${signed(data.maximum[channel])} from the maximum branch. The average branch's logits, image by image: ${others}. `
    + `Image ${data.names[chosen]}: logits ${average} and ${maximum}; with ${percent(blend)} maximum branch its weighted sum goes from `
    + `${lowest} to ${highest}. At rho = ${rho.toFixed(2)} AdaLIN gives it channel ${channel} with mean ${signed(mean)} and `
    + `standard deviation ${number(Math.sqrt(variance))}.`
  );
};

export default instrument({ className: "dc-feature-attention", read, controls, state, view, words });

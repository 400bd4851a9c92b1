// Class activation maps: a classifier's weights, the same for every photo, and what they make of each photo's channels.

import { sharedWeights, channelRadios } from "./shared_weights.js";
import {
  choice,
  decodeBytes,
  decoded,
  element,
  fixed,
  instrument,
  largestSize,
  mean as meanOf,
  mix,
  part,
  percent,
  photograph,
  picture,
  rangeOfAll,
  shareSlider,
  signed,
} from "./toolkit.js";

const MOST = 8; // channels listed

// pure: the mean of each of `count` maps that lie one after the other
export const meansOf = (maps, count, area) => Array.from({ length: count }, (_, c) => meanOf(part(maps, c, area)));

// pure: the least number of channels that make half of the logit; 0 if all those of its sign cannot
export const channelsForHalf = (contributions, logit) => {
  const towards = contributions.map((v) => Math.max(0, logit >= 0 ? v : -v)).sort((a, b) => b - a);
  let total = 0;
  return towards.findIndex((v) => (total += v) >= Math.abs(logit) / 2) + 1;
};

// pure: everything that belongs to the class at place k
export const camState = ({ features, weight, bias, means, channels, area }, k) => {
  const own = part(weight, k, channels);
  const map = mix(features, own, area);
  const contributions = means.map((mean, c) => own[c] * mean);
  const mean = meanOf(map);
  const logit = mean + bias[k];
  const size = contributions.map(Math.abs);
  const order = size.map((_, c) => c).sort((a, b) => size[b] - size[a]);
  return {
    map,
    contributions,
    mean,
    logit,
    strongest: order.slice(0, MOST),
    half: channelsForHalf(contributions, logit),
  };
};

// pure: where each of `to` pixels lies between `from` pixel centres: the one before, the one after, how far between
const placesBetween = (from, to) =>
  Array.from({ length: to }, (_, i) => {
    const at = Math.max(0, ((i + 0.5) * from) / to - 0.5);
    const low = Math.floor(at);
    return [low, Math.min(low + 1, from - 1), at - low];
  });

// pure: bilinear interpolation between pixel centres, what torch calls align_corners=False
export const enlarge = (map, [h, w], [H, W]) => {
  const columns = placesBetween(w, W);
  const out = new Float32Array(H * W);
  placesBetween(h, H).forEach(([top, bottom, down], y) => {
    columns.forEach(([left, right, across], x) => {
      const above = map[top * w + left] * (1 - across) + map[top * w + right] * across;
      const below = map[bottom * w + left] * (1 - across) + map[bottom * w + right] * across;
      out[y * W + x] = above * (1 - down) + below * down;
    });
  });
  return out;
};

const read = (raw) => {
  const data = decoded(raw, "features", "weight", "bias", "logits");
  const area = raw.shape[0] * raw.shape[1];
  const photos = raw.photos.map((bytes) => decodeBytes(bytes));
  // each photo as camState takes it
  const each = photos.map((_, b) => {
    const features = part(data.features, b, raw.channels * area);
    return { ...data, area, features, means: meansOf(features, raw.channels, area) };
  });
  const all = raw.classes.map((_, k) => each.map((one) => camState(one, k)));
  // one colour scale: absent classes stay dark
  return { ...data, area, photos, each, all, limits: rangeOfAll(all.flat().map((one) => one.map)) };
};

const state = (data, { class_index, rank, image }) => {
  const k = data.classes.indexOf(class_index);
  const states = data.all[k];
  const { strongest } = states[0]; // whichever photo is spoken of: the rows stay
  const b = Math.max(0, data.photo_names.indexOf(image));
  const own = part(data.weight, k, data.channels);
  return { ...states[b], k, b, states, strongest, weights: strongest.map((c) => own[c]), channel: strongest[rank - 1] };
};

const controls = ({ classes, names, channels, photo_names }) => ({
  class_index: choice({ label: "class", options: classes.map((index, k) => [index, names[k]]) }),
  image: { ...choice({ label: "photo", options: photo_names }), fixed: () => photo_names.length < 2 },
  opacity: shareSlider("opacity of the map"),
  rank: channelRadios(Math.min(MOST, channels)),
});

// The map of a class over a photo.
const overlayOf = ({ photo_shape: size, shape, limits }, bytes) => {
  const photo = photograph(size, "the photo"); // this and the next are never on the page: what is laid over one another
  const coloured = picture(...size, "the map alone");
  const { node } = photograph(size, "");
  const context = node.getContext("2d");
  photo.draw(bytes, 0, 255);
  let covered; // the class whose map is in `coloured`: the opacity alone does not change it
  const draw = (k, map, opacity) => {
    if (k !== covered) coloured.draw(enlarge(map, shape, size), "viridis", ...limits);
    covered = k;
    context.globalAlpha = 1;
    context.drawImage(photo.node, 0, 0);
    context.globalAlpha = opacity;
    context.drawImage(coloured.node, 0, 0);
  };
  return { node, draw };
};

// All photos under a class's map: small ones, and the chosen one large.
const figureOf = (data, overlays, large) =>
  sharedWeights({
    label: "one class's weights, the same for all photos, and the map that they make of each",
    source: "the classifier's row",
    names: data.photo_names,
    count: Math.min(MOST, data.channels),
    reach: largestSize(data.weight),
    imageSize: data.photo_shape,
    mapSize: data.shape,
    full: largestSize(data.features),
    large: [{ piece: "large", element: large.node, title: " ", note: " " }],
    scales: [{ scale: "scale", ends: data.limits, title: "map" }],
    results: (_, b) => [{ piece: `sum of ${b}`, element: overlays[b].node, title: "map", note: " " }],
  });

const view = (data, { class_index, image, opacity, rank }) => {
  const overlays = data.photos.map((bytes) => overlayOf(data, bytes));
  const large = photograph(data.photo_shape, "the chosen photo under its map");
  const figure = figureOf(data, overlays, large);
  const photos = data.photos.map((bytes) => Float32Array.from(bytes, (v) => v / 255));
  const draw = ({ k, b, states, strongest, weights, contributions }, values) => {
    const maps = photos.map((_, i) => strongest.map((c) => part(data.each[i].features, c, data.area)));
    const images = photos.flatMap((photo, i) => [
      [`image ${i}`, photo],
      [`maps ${i}`, maps[i]],
    ]);
    figure.draw({ w: weights, ...Object.fromEntries(images) }, k);
    overlays.forEach((one, i) => one.draw(k, states[i].map, values.opacity));
    if (states.length > 1) {
      large.node.getContext("2d").drawImage(overlays[b].node, 0, 0);
      figure.title("large", data.photo_names[b]);
      figure.note("large", `map of ${data.names[k]}`);
    }
    states.forEach(({ logit }, i) => {
      figure.note(`sum of ${i}`, `logit ${fixed(logit, 2)}`);
      figure.nouns[`image ${i}`].node.classList.toggle("dc-chosen", i === b && states.length > 1);
    });
    rank.draw(
      strongest,
      strongest.map((c) => signed(contributions[c])),
    );
    figure.pick(values.rank - 1);
  };
  const shown = [class_index, ...(data.photos.length > 1 ? [image] : []), opacity];
  const sliders = element("div", { class: "dc-controls" }, ...shown.map((one) => one.node));
  return { body: [sliders, rank.node, figure.node], draw, remove: figure.remove };
};

const halfInWords = (channels, half, bias) =>
  half
    ? `${half} of ${channels} channels are enough for half of it`
    : `All channels of its sign together do not make half of it, the bias (${signed(bias)}) makes more`;

const words = ({ names, photo_names, logits, bias, channels, limits }, shown, { opacity }) => {
  const { k, b, mean, logit, half, channel, contributions } = shown;
  const [low, high] = limits.map((v) => fixed(v, 1));
  const known = logits[b * names.length + k];
  const which = photo_names.length > 1 ? ` on ${photo_names[b]}` : "";
  const same = photo_names.length > 1 ? ` The weights are the same for all ${photo_names.length} photos.` : "";
  return (
    `${names[k]}${which}: the mean of the map, ${fixed(mean, 3)}, plus the bias, ${fixed(bias[k], 3)}, is ${fixed(logit, 3)}; `
    + `the classifier's logit is ${fixed(known, 3)}, a difference of ${Math.abs(logit - known).toExponential(0)}. `
    + `${halfInWords(channels, half, bias[k])}. Channel ${channel} adds ${signed(contributions[channel])}.${same} `
    + `The map covers the photo by ${percent(opacity)}; its colours go from ${low} to ${high} for every class.`
  );
};

export default instrument({ className: "dc-cam", read, controls, state, view, words });

// Class activation maps: the map of a class over the photo, and the channels that make the class's logit.

import {
  captioned,
  choice,
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
  radioGroup,
  range,
  rangeOfAll,
  row,
  say,
  shareSlider,
  signed,
  signedBar,
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
  const data = decoded(raw, "photo", "features", "weight", "bias", "logits");
  const area = raw.shape[0] * raw.shape[1];
  const whole = { ...data, area, means: meansOf(data.features, raw.channels, area) };
  // one colour scale: absent classes stay dark
  return { ...whole, limits: rangeOfAll(raw.classes.map((_, k) => camState(whole, k).map)) };
};

const state = (data, { class_index, rank }) => {
  const k = data.classes.indexOf(class_index);
  const shown = camState(data, k);
  return { ...shown, k, channel: shown.strongest[rank - 1] };
};

// One radio button a channel; beside it a bar from zero to the left or to the right, and the number.
const channelList = (count) => {
  const ranks = Array.from({ length: count }, (_, r) => r + 1);
  const rows = ranks.map(() => ({
    name: element("span", { class: "dc-channel-name" }),
    text: element("span", { class: "dc-bar-text" }),
    bar: signedBar(),
  }));
  const control = radioGroup("channel shown", "dc-channels", ranks, (input, r) =>
    element("label", { class: "dc-channel" }, input, rows[r].name, rows[r].bar.node, rows[r].text),
  );
  const draw = (channels, values) => {
    const longest = largestSize(values);
    rows.forEach(({ name, bar, text }, r) => {
      say(name, `channel ${channels[r]}`);
      say(text, signed(values[r]));
      bar.draw(values[r], longest);
    });
  };
  return { ...control, draw };
};

const controls = ({ classes, names, logits, channels }) => ({
  class_index: choice({
    label: "class (logit)",
    options: classes.map((index, k) => [index, `${names[k]} (${fixed(logits[k], 2)})`]),
  }),
  opacity: shareSlider("opacity of the map"),
  rank: channelList(Math.min(MOST, channels)),
});

// The map of a class over the photo.
const overlayOf = ({ photo_shape: size, shape, limits }, photo) => {
  const { node } = photograph(size, "the class activation map over the photo");
  const coloured = picture(...size, "the map alone"); // never on the page: what is laid over the photo
  const context = node.getContext("2d");
  let covered; // the class whose map is in `coloured`: the opacity alone does not change it
  const draw = (k, map, opacity) => {
    if (k !== covered) coloured.draw(enlarge(map, shape, size), "viridis", ...limits);
    covered = k;
    context.globalAlpha = 1;
    context.drawImage(photo, 0, 0);
    context.globalAlpha = opacity;
    context.drawImage(coloured.node, 0, 0);
  };
  return { node, draw };
};

// The map of one channel.
const channelOf = ({ features, shape, area }) => {
  const single = picture(...shape, "map of the chosen channel");
  const name = element("span");
  const draw = (channel) => {
    const map = part(features, channel, area);
    single.draw(map, "viridis", ...range(map));
    say(name, `channel ${channel}`);
  };
  return { node: captioned(single.node, name), draw };
};

const view = (data, { class_index, opacity, rank }) => {
  const photo = photograph(data.photo_shape, "the photo");
  photo.draw(data.photo);
  const overlay = overlayOf(data, photo.node);
  const single = channelOf(data);
  const pictures = row(
    "dc-top",
    captioned(photo.node, "photo"),
    captioned(overlay.node, "map of the class over it"),
    captioned(rank.node, "the strongest contributions to the logit"),
    single.node,
  );
  return {
    body: [element("div", { class: "dc-controls" }, class_index.node, opacity.node), pictures],
    draw: ({ k, map, strongest, contributions, channel }, { opacity: share }) => {
      overlay.draw(k, map, share);
      const values = strongest.map((c) => contributions[c]);
      rank.draw(strongest, values);
      single.draw(channel);
    },
  };
};

const halfInWords = (channels, half, bias) =>
  half
    ? `${half} of ${channels} channels are enough for half of it`
    : `All channels of its sign together do not make half of it, the bias (${signed(bias)}) makes more`;

const words = ({ names, logits, bias, channels, limits }, shown, { opacity }) => {
  const { k, mean, logit, half, channel, contributions } = shown;
  const [low, high] = limits.map((v) => fixed(v, 1));
  return (
    `${names[k]}: the mean of the map, ${fixed(mean, 3)}, plus the bias, ${fixed(bias[k], 3)}, is ${fixed(logit, 3)}; `
    + `the classifier's logit is ${fixed(logits[k], 3)}, a difference of ${Math.abs(logit - logits[k]).toExponential(0)}. `
    + `${halfInWords(channels, half, bias[k])}. Channel ${channel} adds ${signed(contributions[channel])}. `
    + `The map covers the photo by ${percent(opacity)}; its colours go from ${low} to ${high} for every class.`
  );
};

export default instrument({ className: "dc-cam", read, controls, state, view, words });

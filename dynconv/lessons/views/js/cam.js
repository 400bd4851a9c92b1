// Class activation maps: the map of a class over the photo, and the channels that make the class's logit.

import {
  captioned, choice, decode, element, fixed, instrument, mix, percent, photograph, picture, radios, range, signed, signedBar,
  slider, widget,
} from "./toolkit.js";

// pure: the mean of each of `count` maps that lie one after the other
export const meansOf = (maps, count, area) => Array.from({ length: count }, (_, c) => {
  let sum = 0;
  for (let i = c * area; i < (c + 1) * area; i++) sum += maps[i];
  return sum / area;
});

// pure: the least number of channels that make half of the logit; 0 if all those of its sign cannot
export const channelsForHalf = (contributions, logit) => {
  const towards = contributions.map((v) => Math.max(0, logit >= 0 ? v : -v)).sort((a, b) => b - a);
  let sum = 0;
  return towards.findIndex((v) => (sum += v) >= Math.abs(logit) / 2) + 1;
};

// pure: everything that belongs to the class at place k
export const camState = ({ features, weight, bias, means, channels, area }, k) => {
  const own = weight.subarray(k * channels, (k + 1) * channels);
  const map = mix(features, own, area);
  const contributions = means.map((mean, c) => own[c] * mean);
  const [mean] = meansOf(map, 1, area), logit = mean + bias[k];
  const size = contributions.map(Math.abs), strongest = size.map((_, c) => c).sort((a, b) => size[b] - size[a]).slice(0, 8);
  return { map, contributions, mean, logit, strongest, half: channelsForHalf(contributions, logit) };
};

// pure: bilinear interpolation between pixel centres, what torch calls align_corners=False
export const enlarge = (map, [h, w], [H, W]) => {
  const places = (from, to) => Array.from({ length: to }, (_, i) => {
    const at = Math.max(0, ((i + 0.5) * from) / to - 0.5), low = Math.floor(at);
    return [low, Math.min(low + 1, from - 1), at - low];
  });
  const columns = places(w, W), out = new Float32Array(H * W);
  places(h, H).forEach(([top, bottom, down], y) => {
    columns.forEach(([left, right, across], x) => {
      const above = map[top * w + left] * (1 - across) + map[top * w + right] * across;
      const below = map[bottom * w + left] * (1 - across) + map[bottom * w + right] * across;
      out[y * W + x] = above * (1 - down) + below * down;
    });
  });
  return out;
};

// One radio button a channel; beside it a bar from zero to the left or to the right, and the number.
const channelList = (count, value, changed) => {
  const ranks = Array.from({ length: count }, (_, r) => r + 1), control = radios(ranks, value, changed);
  const rows = control.inputs.map((input) => {
    const name = element("span", { class: "dc-channel-name" }), text = element("span", { class: "dc-bar-text" }), bar = signedBar();
    return { node: element("label", { class: "dc-channel" }, input, name, bar.node, text), name, bar, text };
  });
  const draw = (channels, values) => {
    const longest = Math.max(...values.map(Math.abs));
    rows.forEach(({ name, bar, text }, r) => {
      name.textContent = `channel ${channels[r]}`;
      text.textContent = signed(values[r]);
      bar.draw(values[r], longest);
    });
  };
  const node = element("div", { class: "dc-channels", role: "radiogroup", "aria-label": "channel shown" },
    ...rows.map((row) => row.node));
  return { ...control, node, draw };
};

const read = (raw) => {
  const arrays = Object.fromEntries(["photo", "features", "weight", "bias", "logits"].map((name) => [name, decode(raw[name])]));
  const area = raw.shape[0] * raw.shape[1];
  return { ...raw, ...arrays, area, means: meansOf(arrays.features, raw.channels, area) };
};

const render = ({ model, el }) => {
  const data = read(JSON.parse(model.get("data")));
  const { classes, names, logits, photo_shape: size, shape: [h, w], area } = data;
  const scales = classes.map((_, k) => range(camState(data, k).map)); // one colour scale: absent classes stay dark
  const low = Math.min(...scales.map((s) => s[0])), high = Math.max(...scales.map((s) => s[1]));
  const changed = () => { redraw(); store(); };

  const labels = classes.map((index, k) => [index, `${names[k]} (${fixed(logits[k], 2)})`]);
  const chosen = choice({ label: "class (logit)", options: labels, value: model.get("class_index"), changed });
  const opacity = slider({
    label: "opacity of the map", min: 0, max: 1, step: 0.01, value: model.get("opacity"), show: percent,
    changed: () => redraw(), settled: () => store(),
  });
  const list = channelList(Math.min(8, data.channels), model.get("rank"), changed);
  const { node: photo, draw: drawPhoto } = photograph(size, "the photo");
  const { node: overlay } = photograph(size, "the class activation map over the photo");
  drawPhoto(data.photo);
  const coloured = picture(...size, "the map alone"); // never on the page: what is laid over the photo
  const single = picture(h, w, "map of the chosen channel"), singleName = element("span");
  single.node.style.aspectRatio = `${w} / ${h}`;

  let covered; // the class whose map is in `coloured`: the opacity alone does not change it
  const drawOverlay = (k, map) => {
    const context = overlay.getContext("2d");
    if (k !== covered) coloured.draw(enlarge(map, [h, w], size), "viridis", low, high);
    covered = k;
    context.globalAlpha = 1;
    context.drawImage(photo, 0, 0);
    context.globalAlpha = opacity.get();
    context.drawImage(coloured.node, 0, 0);
  };
  const drawChannel = ({ strongest, contributions }) => {
    const channel = strongest[list.get() - 1], map = data.features.subarray(channel * area, (channel + 1) * area);
    list.draw(strongest, strongest.map((c) => contributions[c]));
    single.draw(map, "viridis", ...range(map));
    singleName.textContent = `channel ${channel}`;
    return `Channel ${channel} adds ${signed(contributions[channel])}`;
  };
  const draw = () => {
    const k = classes.indexOf(chosen.get()), state = camState(data, k), error = Math.abs(state.logit - logits[k]);
    drawOverlay(k, state.map);
    const half = state.half
      ? `${state.half} of ${data.channels} channels are enough for half of it`
      : `All channels of its sign together do not make half of it, the bias (${signed(data.bias[k])}) makes more`;
    return `${names[k]}: the mean of the map, ${fixed(state.mean, 3)}, plus the bias, ${fixed(data.bias[k], 3)}, is `
      + `${fixed(state.logit, 3)}; the classifier's logit is ${fixed(logits[k], 3)}, a difference of ${error.toExponential(0)}. `
      + `${half}. ${drawChannel(state)}. The map covers the photo by ${percent(opacity.get())}; its colours go from `
      + `${fixed(low, 1)} to ${fixed(high, 1)} for every class.`;
  };
  el.classList.add("dc-cam");
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: { class_index: chosen, opacity, rank: list },
    body: [
      element("div", { class: "dc-controls" }, chosen.node, opacity.node),
      element("div", { class: "dc-row dc-top" }, captioned(photo, "photo"), captioned(overlay, "map of the class over it"),
        captioned(list.node, "the strongest contributions to the logit"), captioned(single.node, singleName)),
    ],
  });
  return remove;
};

export default widget(render);

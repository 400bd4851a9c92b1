// One set of weights, several images: a row a channel, a column an image. The wire to the weights comes from a classifier, a band as
// wide as each weight runs behind all images' maps of that channel, and under each image stands the sum of what it is given.

import { diagram } from "./diagram.js";
import { radioGroup } from "./controls.js";
import { element, say } from "./elements.js";
import { fixed } from "./words.js";

const BAND = 26; // pixels, of the largest weight

const channel = (k) => `channel in row ${k + 1}`;

const columnOf = (b, size, full, name) => ({
  tiles: `maps ${b}`,
  size,
  full,
  what: (k) => `map of ${name}, ${channel(k)}`,
});

const beside = (given, names) =>
  names.flatMap((name, b) => [
    { picture: `image ${b}`, size: given.imageSize, title: name, class: "dc-above" },
    { op: `sum ${b}`, sign: "Σ", class: "dc-sum" },
    ...given.results(name, b).map((one, i) => ({ ...one, class: `dc-under dc-under-${i}` })),
  ]);

const barsOf = ({ rows: names, reach }) => {
  const words = { title: "weight", note: "for all" };
  return { bars: "w", names, reach, show: (v) => fixed(v, 2), what: channel, ...words };
};

// `given` is {label, source, names, rows, count, reach, imageSize, mapSize, full, results(name, b), large, scales}; the first result
// of image b must be called `sum of b`. `rows` are the channels' names, where these stay the same, `large` nouns that show one image
// again, where there is no room to show each of several large, and `scales` the colour bars.
export const sharedWeights = (given) => {
  const { names, count, mapSize, full } = given;
  const figure = diagram({
    label: given.label,
    class: "dc-shared",
    stages: [
      { box: "source", text: given.source, class: "dc-narrow" },
      {
        rows: count,
        class: "dc-maps",
        columns: [barsOf(given), ...names.map((name, b) => columnOf(b, mapSize, full, name))],
        beside: beside(given, names),
      },
    ],
    results: [
      ...(names.length > 1 ? given.large.map((one) => ({ ...one, class: "dc-large" })) : []),
      { scale: "maps", full, title: "channels" },
      ...given.scales,
    ],
    wires: [
      { from: "source", to: "w", kind: "grey", joined: true },
      ...names.flatMap((_, b) => [
        { from: `image ${b}`, to: `sum ${b}`, kind: "data", crossing: true },
        { from: `sum ${b}`, to: `sum of ${b}`, kind: "data", crossing: true },
      ]),
    ],
    ribbons: [{ from: "w", to: `maps ${names.length - 1}`, share: "w", band: BAND }],
  });
  figure.node.style.setProperty("--images", names.length);
  names.forEach((_, b) => {
    const own = [`image ${b}`, `sum ${b}`, ...given.results(names[b], b).map((one) => one.picture ?? one.piece)];
    own.forEach((name) => figure.nouns[name].node.style.setProperty("--c", b + 1));
  });
  const pick = (row) =>
    figure.node
      .querySelectorAll(".dc-cell")
      .forEach((cell) => cell.classList.toggle("dc-picked", Number(cell.dataset.k) === row));
  return { ...figure, pick };
};

// One radio button a channel: its number, and what it adds or weighs.
export const channelRadios = (count) => {
  const ranks = Array.from({ length: count }, (_, r) => r + 1);
  const texts = ranks.map(() => [
    element("span", { class: "dc-channel-name" }),
    element("span", { class: "dc-bar-text" }),
  ]);
  const control = radioGroup("channel", "dc-channels", ranks, (input, r) =>
    element("label", { class: "dc-channel" }, input, ...texts[r]),
  );
  const draw = (channels, values) =>
    texts.forEach(([name, value], r) => {
      say(name, `channel ${channels[r]}`);
      say(value, values[r]);
    });
  return { ...control, draw };
};

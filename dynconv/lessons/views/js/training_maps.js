// Maps over the training: each image, under it what a layer made of it at one moment, and curves with a mark at that moment.

import { curve, player } from "./playback.js";
import {
  captioned,
  chart,
  decoded,
  element,
  fixed,
  HEIGHT,
  instrument,
  mean,
  part,
  photograph,
  picture,
  range,
  setAttributes,
  svg,
  WIDTH,
} from "./toolkit.js";

// pure: every row's maps at one moment, image by image, and their mean; the curves' values there
export const momentState = ({ names, rows, curves }, moment) => ({
  rows: rows.map(({ maps, shape: [h, w] }) => {
    const all = part(maps, moment, names.length * h * w);
    return { maps: names.map((_, b) => part(all, b, h * w)), mean: mean(all) };
  }),
  values: curves.map(([, values]) => values[moment]),
});

const read = (raw) => {
  const data = decoded(raw, "images");
  const [h, w] = raw.image_shape;
  const photos = raw.names.map((_, b) => part(data.images, b, 3 * h * w));
  return { ...data, photos, rows: raw.rows.map((row) => decoded(row, "maps")) };
};

const controls = ({ steps, unit }) => ({ moment: player(steps.length - 1, unit, (i) => String(steps[i])) });

const state = (data, { moment }) => momentState(data, moment);

// One row: its name, and a canvas an image; pictures are grey, maps go from violet to yellow.
const rowOf = ({ name, shape: [h, w], grey }, names) => {
  const canvases = names.map((image) => picture(h, w, `${name} of ${image}`, "dc-pixels"));
  const draw = ({ maps }) => canvases.forEach((one, b) => one.draw(maps[b], grey ? "grey" : "viridis", 0, 1));
  const title = element("div", { class: "dc-name" }, name);
  return { nodes: [title, ...canvases.map((one) => one.node)], draw };
};

// The images, and beneath each its maps.
const tableOf = ({ names, photos, image_shape, rows }) => {
  const heads = names.map((name, b) => {
    const photo = photograph(image_shape, name);
    photo.draw(photos[b]);
    return element("figure", { class: "dc-head" }, element("figcaption", {}, name), photo.node);
  });
  const drawn = rows.map((one) => rowOf(one, names));
  const nodes = drawn.flatMap((one) => one.nodes);
  const node = element(
    "div",
    { class: "dc-moments" },
    element("div", { class: "dc-name" }, "image"),
    ...heads,
    ...nodes,
  );
  node.style.setProperty("--images", names.length);
  return { node, draw: (shown) => drawn.forEach((one, i) => one.draw(shown[i])) };
};

// pure: where a curve's axis ends: a little further out, but shares are never below 0 or above 1
export const endsOf = (low, high) => {
  const span = high - low || Math.abs(low) || 1;
  const ends = [low - 0.1 * span, high + 0.1 * span];
  return low >= 0 && high <= 1 ? [Math.max(0, ends[0]), Math.min(1, ends[1])] : ends;
};

// One curve over the whole training, and a dot where we are.
const curveOf = ([name, values], steps) => {
  const [low, high] = range(values);
  const ends = endsOf(low, high);
  const last = steps.at(-1) - steps[0];
  const pointsOf = (some) => curve(some.map((i) => [steps[i] - steps[0], values[i]]), last, ...ends, WIDTH, HEIGHT); // prettier-ignore
  const line = svg("polyline", { class: "dc-line", points: pointsOf(values.map((_, i) => i)) });
  const dot = svg("circle", { class: "dc-dot", r: 4.5 });
  const axis = chart({ 0: steps[0], 1: steps.at(-1) }, [line], [dot]);
  axis.ends(fixed(ends[0], 2), fixed(ends[1], 2));
  const mark = (moment) => {
    const [cx, cy] = pointsOf([moment]).split(",");
    setAttributes(dot, { cx, cy });
    axis.mark(cx);
    setAttributes(axis.node, { "aria-label": `${name}: ${fixed(values[moment], 3)}` });
  };
  return { node: captioned(axis.node, name), mark };
};

const view = (data, { moment }) => {
  const table = tableOf(data);
  const curves = data.curves.map((one) => curveOf(one, data.steps));
  return {
    body: [
      element("div", { class: "dc-controls dc-time" }, ...moment.nodes),
      table.node,
      element("div", { class: "dc-row" }, ...curves.map((one) => one.node)),
    ],
    draw: ({ rows }, values) => {
      table.draw(rows);
      curves.forEach((one) => one.mark(values.moment));
    },
  };
};

const words = ({ steps, unit, rows, curves, means }, now, { moment }) => {
  const said = curves.map(([name, [first]], i) => `${name} ${fixed(now.values[i], 3)} (at first ${fixed(first, 3)})`);
  const shares = rows.map(({ name }, i) => `${name} ${fixed(now.rows[i].mean, 2)}`);
  const meant = means ? `Mean over all images and positions: ${shares.join(", ")}` : "";
  const which = `${unit[0].toUpperCase()}${unit.slice(1)} ${steps[moment]} of ${steps.at(-1)}`;
  return `${which}: ${[said.join(", "), meant].filter(Boolean).join(". ")}.`;
};

export default instrument({ className: "dc-training-maps", read, controls, state, view, words });

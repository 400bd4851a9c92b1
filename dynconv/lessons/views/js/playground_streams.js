// Attention over the steps of training, one stream a damage: each kernel's share of the mix as a height, and all fill the stream.

import { element, kernelMark, say, setAttributes } from "./elements.js";
import { axisEnd } from "./playground_curves.js";
import { percent } from "./words.js";

const [WIDTH, HEIGHT, SHARP] = [320, 40, 2]; // SHARP: pixels of the canvas for one of the page
const TILE = 8;

// lines across a tile that go on in the next one, by the angle of the gradient that CSS hatches with
const LINES = { 0: [0, 4, 8, 4], 45: [0, 0, 8, 8], 90: [4, 0, 4, 8], 135: [0, 8, 8, 0] };

// The colour and hatch of a kernel's mark, as the style sheet has them, to paint with.
const paintOf = (mark, context) => {
  const image = getComputedStyle(mark).backgroundImage;
  const [ground, line] = [...new Set(image.match(/rgba?\([^)]*\)/g) ?? ["grey"])];
  const canvas = element("canvas", { width: TILE, height: TILE });
  const tile = canvas.getContext("2d");
  tile.fillStyle = ground;
  tile.fillRect(0, 0, TILE, TILE);
  const hatch = LINES[image.match(/([\d.]+)deg/)?.[1]];
  if (line && hatch) {
    tile.strokeStyle = line;
    tile.moveTo(hatch[0], hatch[1]);
    tile.lineTo(hatch[2], hatch[3]);
    tile.stroke();
  }
  return context.createPattern(canvas, "repeat");
};

// pure: for each point of the history the heights up to which kernels 0 … k reach, from 0 to 1
export const heaped = (history, damage) =>
  history.map(({ attention }) => {
    let height = 0;
    return attention[damage].map((share) => (height += share));
  });

const streamOf = (damage) => {
  const size = { width: SHARP * WIDTH, height: SHARP * HEIGHT };
  const canvas = element("canvas", { ...size, class: "dc-flow", role: "img" });
  const name = element("span", {});
  const context = canvas.getContext("2d");
  const layer = (places, heights, k) => {
    context.beginPath();
    context.moveTo(0, size.height);
    heights.forEach((reached, i) => context.lineTo(places[i], size.height * (1 - reached[k])));
    context.lineTo(places.at(-1), size.height);
    context.fill();
  };
  const draw = ({ history, step }, title, paints) => {
    const heights = heaped(history, damage);
    const places = history.map((one) => (size.width * one.step) / axisEnd(step));
    context.clearRect(0, 0, size.width, size.height);
    for (let k = heights[0].length - 1; k >= 0; k--) {
      context.fillStyle = paints[k];
      layer(places, heights, k);
    }
    say(name, title);
    const shares = history.at(-1).attention[damage].map((share, k) => `kernel ${k + 1} ${percent(share)}`);
    setAttributes(canvas, { "aria-label": `attention for ${title} over the steps; now ${shares.join(", ")}` });
  };
  return { nodes: [name, canvas], draw, context };
};

export const streams = (most) => {
  const all = [0, 1, 2, 3].map(streamOf);
  const marks = Array.from({ length: most }, (_, k) => kernelMark(k));
  const legend = element(
    "div",
    { class: "dc-flow-legend" },
    ...marks.map((mark, k) => element("span", {}, mark, ` ${k + 1}`)),
  );
  const node = element(
    "div",
    { class: "dc-flows" },
    ...all.flatMap((one) => one.nodes),
    element("span", {}, "kernel"),
    legend,
  );
  let paints;
  const draw = (news, names) => {
    paints ??= marks.map((mark) => paintOf(mark, all[0].context));
    marks.forEach((mark, k) => mark.parentElement.classList.toggle("dc-unused", k >= news.dynamic.K));
    all.forEach((one, damage) => one.draw(news, names[damage], paints));
  };
  return { node, draw };
};

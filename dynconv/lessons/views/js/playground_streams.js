// Attention over the steps of training, one stream a damage: each kernel's share of the mix as a height, and all fill the stream.

import { element, kernelMark, say, setAttributes, sheet, whenNew } from "./elements.js";
import { axisEnd } from "./playground_curves.js";
import { ribbonPaths } from "./wires.js";
import { percent } from "./words.js";

const [WIDTH, HEIGHT] = [320, 40];

// pure: for each point of the history how high kernels 0 … k reach, from 0 to 1
export const heaped = (history, damage) =>
  history.map(({ attention }) => {
    let height = 0;
    return attention[damage].map((share) => (height += share));
  });

// pure: the band of kernel k, along its upper edge and back along its lower one
export const band = (across, heights, k) => {
  const place = (x, reached) => `${x.toFixed(1)} ${(HEIGHT * (1 - reached)).toFixed(1)}`;
  const upper = across.map((x, i) => place(x, heights[i][k]));
  const lower = across.map((x, i) => place(x, k ? heights[i][k - 1] : 0));
  return `M${[...upper, ...lower.reverse()].join("L")}Z`;
};

const streamOf = (damage, most) => {
  const { patterns, paths } = ribbonPaths(most); // the ribbons' colours and hatches
  const label = "attention over the steps: no step yet";
  const node = sheet([0, 0, WIDTH, HEIGHT], { class: "dc-flow", role: "img", "aria-label": label }, patterns, ...paths);
  const name = element("span", {});
  const draw = ({ history, step }, title) => {
    const heights = heaped(history, damage);
    const across = history.map((one) => (WIDTH * one.step) / axisEnd(step));
    paths.forEach((path, k) => path.setAttribute("d", k < heights[0].length ? band(across, heights, k) : ""));
    say(name, title);
    const shares = history.at(-1).attention[damage].map((share, k) => `kernel ${k + 1} ${percent(share)}`);
    setAttributes(node, { "aria-label": `attention for ${title} over the steps; now ${shares.join(", ")}` });
  };
  return { nodes: [name, node], draw };
};

const legendOf = (most) => {
  const marks = Array.from({ length: most }, (_, k) => element("span", {}, kernelMark(k), ` ${k + 1}`));
  const node = element("div", { class: "dc-flow-legend" }, ...marks);
  const draw = (K) => marks.forEach((mark, k) => mark.classList.toggle("dc-unused", k >= K));
  return { node, draw };
};

export const streams = (most) => {
  const all = [0, 1, 2, 3].map((damage) => streamOf(damage, most));
  const legend = legendOf(most);
  const nodes = [...all.flatMap((one) => one.nodes), element("span", {}, "kernel"), legend.node];
  const keyOf = ({ number, history }, names) => [names, number, history.at(-1).step, history.length].join();
  const flow = whenNew(keyOf, (news, names) => all.forEach((one, damage) => one.draw(news, names[damage])));
  const draw = (news, names) => {
    flow(news, names);
    legend.draw(news.dynamic.K);
  };
  return { node: element("div", { class: "dc-flows" }, ...nodes), draw };
};

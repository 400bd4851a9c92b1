// Curves of the playground: held-out errors beside the lines of least squares, and lanes for T and the learning rate.

import { chartText, LANE, lane, points } from "./charts.js";
import { say, setAttributes, sheet, svg, whenNew } from "./elements.js";
import { between } from "./mathematics.js";
import { cooled, LAST, left } from "./trainer.js";
import { number } from "./words.js";

const [WIDTH, HEIGHT] = [330, 170];
const NETWORKS = ["plain", "mix", "dynamic"];
const APART = 12; // between the middles of two words

// pure: the axis runs to the end of a run, or to where a longer one is
export const axisEnd = (step) => Math.max(LAST, step);

// pure: [low, high] of the error axis: the untrained networks' errors would flatten all the rest, and run along the top
export const errorSpan = ({ one, each }) => [each - 0.15 * (one - each), one + 0.6 * (one - each)];

// pure: heights of words beside one another, pushed down where they would meet
export const spread = (heights, apart = APART) => {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a] - heights[b]);
  const out = [...heights];
  order.slice(1).forEach((i, before) => {
    out[i] = Math.max(out[i], out[order[before]] + apart);
  });
  return out;
};

// pure: [step, value] of what is planned from a step on
export const planned = (step, last, valueAt) =>
  Array.from({ length: 25 }, (_, i) => step + ((last - step) * i) / 24).map((at) => [at, valueAt(at)]);

const guide = (words) => {
  const line = svg("line", { class: "dc-guide", x1: 0, x2: WIDTH });
  const value = chartText(-5, 0, "end");
  const text = chartText(WIDTH, 0, "end", words);
  const draw = (y, v) => {
    setAttributes(line, { y1: y, y2: y });
    value.setAttribute("y", y + 4);
    text.setAttribute("y", y - 4);
    say(value, v.toFixed(3));
  };
  return { nodes: [line, value, text], draw };
};

const curveOf = (name) => {
  const line = svg("polyline", { class: `dc-error dc-error-${name}` });
  const text = chartText(0, 0, "start", name);
  return { line, text, nodes: [line, text] };
};

// The three networks' errors over the steps, on one axis.
const errorChart = () => {
  const guides = { one: guide("best single filter"), each: guide("a best filter for each damage") };
  const curves = NETWORKS.map(curveOf);
  const draw = (history, references, across) => {
    const [low, high] = errorSpan(references);
    const height = (v) => HEIGHT * (1 - between((v - low) / (high - low), 0, 1));
    Object.entries(references).forEach(([name, v]) => guides[name].draw(height(v), v));
    const ends = spread(NETWORKS.map((name) => height(history.at(-1)[name])));
    curves.forEach(({ line, text }, i) => {
      line.setAttribute("points", points(history.map((one) => [across(one.step), height(one[NETWORKS[i]])])));
      setAttributes(text, { x: across(history.at(-1).step) + 4, y: ends[i] + 4 });
    });
  };
  return { nodes: [...Object.values(guides), ...curves].flatMap((one) => one.nodes), draw };
};

// pure: between two points of the curves nothing changes but what a hand sets
const keyOf = ({ number: run, history, step }, { cooling, temperature, learning_rate: rate, batch_size: batch }) =>
  [run, history.length, history.at(-1).step, axisEnd(step), cooling || temperature, rate, batch].join();

// All of it over one axis of steps.
export const curvesOf = () => {
  const errors = errorChart();
  const heat = lane("heat", "T", HEIGHT + 16, [0.1, 100], WIDTH);
  const rate = lane("rate", "rate", HEIGHT + 56, [1e-5, 0.1], WIDTH);
  const bottom = HEIGHT + 56 + LANE;
  const ticks = [chartText(0, bottom + 15, "middle", "0"), chartText(WIDTH, bottom + 15, "end")];
  const box = [-50, -8, WIDTH + 105, bottom + 30];
  const nodes = [errors, heat, rate].flatMap((one) => one.nodes);
  const label = "error on photos held out: no step yet";
  const node = sheet(box, { class: "dc-chart dc-curves", role: "img", "aria-label": label }, ...nodes, ...ticks);
  const draw = ({ history, step, T, references }, { cooling, learning_rate: first, batch_size: batch }) => {
    const last = axisEnd(step);
    const across = (at) => (WIDTH * at) / last;
    const rateAt = (at) => first * left(at);
    errors.draw(history, references, across);
    heat.draw(
      history.map((one) => [one.step, one.T]),
      planned(step, last, (at) => (cooling ? cooled(at) : T)),
      across,
    );
    rate.draw(
      history.map((one) => [one.step, one.rate]),
      planned(step, last, rateAt),
      across,
    );
    say(ticks[1], `${last} steps of ${batch} patches`);
    const said = NETWORKS.map((name) => `${name} ${history.at(-1)[name].toFixed(4)}`).join(", ");
    node.setAttribute("aria-label", `error on photos held out, by step; at step ${step}: ${said}; T = ${number(T)}`);
  };
  return { node, draw: whenNew(keyOf, draw) };
};

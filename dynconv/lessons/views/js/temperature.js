// Temperature bench: the stages of a softmax, the gradients that come back through it, and both over all T.

import { diagram } from "./diagram.js";
import {
  between,
  captioned,
  chart,
  effectiveNumber,
  element,
  HEIGHT,
  indexOfMax,
  instrument,
  kernelMark,
  largestSize,
  logitSliders,
  logSlider,
  number,
  percent,
  points,
  realMinus,
  row,
  say,
  setAttributes,
  softmax,
  sum,
  svg,
  temperatureSlider,
  WIDTH,
} from "./toolkit.js";

// pure: every stage, from the logits and the two numbers that scale them
export const temperatureState = ({ upstream }, { logits, temperature, scale }) => {
  const sharpness = scale / temperature;
  const divided = logits.map((z) => z * sharpness);
  const top = Math.max(...divided);
  const powers = divided.map((z) => Math.exp(z - top));
  const weights = softmax(
    logits.map((z) => z * scale),
    temperature,
  );
  const mean = sum(weights.map((w, k) => w * upstream[k]));
  const gradient = weights.map((w, k) => sharpness * w * (upstream[k] - mean));
  const effective = effectiveNumber(weights);
  return { divided, powers, weights, gradient, entropy: Math.log(effective), effective };
};

// pure: the same at T = 0.1 … 100, evenly on a log scale
const TEMPERATURES = Array.from({ length: 61 }, (_, i) => 10 ** (i / 20 - 1));
export const overTemperatures = (data, values) =>
  TEMPERATURES.map((temperature) => temperatureState(data, { ...values, temperature }));

// the curves do not depend on T: made again only when the logits or s have moved
const read = (raw) => {
  let key;
  let kept;
  const curves = (values) => {
    const now = [...values.logits, values.scale].join();
    if (now !== key) kept = overTemperatures(raw, values);
    key = now;
    return kept;
  };
  return { ...raw, curves };
};

const state = (data, values) => ({ ...temperatureState(data, values), all: data.curves(values) });

const controls = ({ names }) => ({
  temperature: temperatureSlider(),
  scale: logSlider("scale of the logits s"),
  logits: logitSliders(names.length),
});

const compact = (v) => realMinus(Math.abs(v) >= 100 ? v.toFixed(0) : String(Number(v.toPrecision(2))));

const shown = (v) => {
  const tiny = v !== 0 && Math.abs(v) < 0.005;
  return realMinus(tiny ? v.toExponential(0) : v.toFixed(Math.abs(v) < 100 ? 2 : 0));
};

// One curve a kernel over T = 0.1 … 100, and a line where T is now.
const curveChart = (count, label) => {
  const lines = Array.from({ length: count }, (_, k) => svg("polyline", { class: `dc-curve dc-curve${k % 8}` }));
  const zero = svg("line", { class: "dc-guide", x1: 0, x2: WIDTH });
  const ticks = { 0: 0.1, [1 / 3]: 1, [2 / 3]: 10, 1: 100 };
  const { node, ends, mark } = chart(ticks, [zero, ...lines]);
  // all: K values for each of the temperatures
  const draw = (all, low, high) => {
    const y = (v) => ((high - v) / (high - low)) * HEIGHT;
    const step = WIDTH / (all.length - 1);
    lines.forEach((line, k) => line.setAttribute("points", points(all.map((v, i) => [i * step, y(v[k])]))));
    setAttributes(zero, { y1: y(0), y2: y(0) });
    ends(compact(low), compact(high));
    node.setAttribute("aria-label", `${label} over T = 0.1 to 100, between ${compact(low)} and ${compact(high)}`);
  };
  return { node, draw, mark: (temperature) => mark(between((Math.log10(temperature) + 1) / 3, 0, 1) * WIDTH) };
};

const legend = (names) => {
  const samples = names.map((name, k) => {
    const line = svg("line", { class: `dc-curve dc-curve${k % 8}`, x1: 0, x2: 34, y1: 5, y2: 5 });
    const sample = svg("svg", { viewBox: "0 0 34 10", width: 34, height: 10, "aria-hidden": "true" }, line);
    return element("li", {}, kernelMark(k), sample, name);
  });
  return element("ul", { class: "dc-legend" }, ...samples);
};

const reachOf = (least) => (values) => Math.max(least, largestSize(values));

// The stages, from logit to gradient, row by row. No image feeds the logits: their wire is unplugged.
const stages = (names, logits) =>
  diagram({
    label: "a softmax taken apart: logits, divided by the temperature, exponentials, weights, and what comes back",
    stages: [
      { box: "image", text: "no image", class: "dc-narrow" },
      {
        rows: names.length,
        columns: [
          { bars: "z", names, controls: logits, title: "logit z", note: "learned: drag" },
          { bars: "divided", reach: reachOf(5), show: shown, title: "s z ÷ T", note: "flatter or steeper" },
          { shares: "powers", title: "exp", note: "÷ the largest" },
          { shares: "weights", title: "weight π", note: "shares of their sum" },
          { bars: "gradient", reach: reachOf(0.5), show: shown, title: "gradient", note: "back to the logit" },
        ],
      },
    ],
    wires: [
      { from: "image", to: "z", kind: "grey" },
      ...["z-divided", "divided-powers", "powers-weights"].map((pair) => {
        const [from, to] = pair.split("-");
        return { from, to, kind: "grey", joined: true };
      }),
    ],
  });

// Weights and gradients over T.
const curvesView = (names) => {
  const weights = curveChart(names.length, "weights");
  const gradients = curveChart(names.length, "gradients of the logits");
  const figures = element("p", { class: "dc-figures" });
  const node = row(
    "dc-charts",
    captioned(weights.node, "weight over T, and share of the gradient"),
    captioned(gradients.node, "gradient of the logit over T"),
    element("div", {}, legend(names), figures),
  );
  let drawn;
  const draw = ({ all, entropy, effective }, temperature) => {
    if (all !== drawn) {
      const slopes = all.map((one) => one.gradient);
      const most = largestSize(slopes.flat()) || 1;
      gradients.draw(slopes, -most, most);
      const shares = all.map((one) => one.weights);
      weights.draw(shares, 0, 1);
    }
    drawn = all;
    weights.mark(temperature);
    gradients.mark(temperature);
    say(figures, `entropy ${entropy.toFixed(3)} nats\neffective kernels ${effective.toFixed(2)} of ${names.length}`);
  };
  return { node, draw };
};

const view = ({ names }, { temperature, scale, logits }) => {
  const figure = stages(names, logits.parts);
  const curves = curvesView(names);
  const draw = (now, values) => {
    const { divided, powers, weights, gradient } = now;
    figure.draw({ z: values.logits, divided, powers, weights, gradient });
    curves.draw(now, values.temperature);
  };
  const sliders = element("div", { class: "dc-controls" }, temperature.node, scale.node);
  return { body: [sliders, figure.node, curves.node], draw, remove: figure.remove };
};

const words = ({ names }, { weights, gradient, entropy, effective, all }, { temperature, scale }) => {
  const best = indexOfMax(weights);
  const strongest = all.map((one) => largestSize(one.gradient));
  const peak = indexOfMax(strongest);
  const cancel =
    scale === temperature && temperature !== 1
      ? "s and T cancel exactly: these are the weights of s = 1 and T = 1. "
      : "";
  if (names.length === 1) return `${cancel}One kernel has all the weight at every T, and its logit gets no gradient.`;
  return (
    `${cancel}At s / T = ${compact(scale / temperature)}, ${names[best]} gets ${percent(weights[best])} of the mix, and of the `
    + `gradient that reaches the kernels; entropy ${entropy.toFixed(2)} nats, so ${number(effective)} of ${names.length} kernels `
    + `are effectively in use. The strongest gradient of a logit is ${compact(largestSize(gradient))}; with these logits `
    + `and this s, T near ${number(TEMPERATURES[peak])} would give the most, ${compact(strongest[peak])}.`
  );
};

export default instrument({ className: "dc-temperature", read, controls, state, view, words });

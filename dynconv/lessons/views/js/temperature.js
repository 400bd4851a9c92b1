// Temperature bench: the stages of a softmax, the gradients that come back through it, and both over all T.

import {
  bars, captioned, effectiveNumber, element, fixed, indexOfMax, instrument, kernelMark, listOf, number, percent, say, sheet,
  signedBar, slider, softmax, svg, widget,
} from "./toolkit.js";

// pure: every stage, from the logits and the two numbers that scale them
export const temperatureState = ({ upstream }, { logits, temperature, scale }) => {
  const sharpness = scale / temperature, divided = logits.map((z) => z * sharpness);
  const top = Math.max(...divided), powers = divided.map((z) => Math.exp(z - top));
  const weights = softmax(logits.map((z) => z * scale), temperature);
  const mean = weights.reduce((sum, w, k) => sum + w * upstream[k], 0);
  const gradient = weights.map((w, k) => sharpness * w * (upstream[k] - mean));
  const effective = effectiveNumber(weights);
  return { divided, powers, weights, gradient, entropy: Math.log(effective), effective };
};

// pure: the same at T = 0.1 … 100, evenly on a log scale
const TEMPERATURES = Array.from({ length: 61 }, (_, i) => 10 ** (i / 20 - 1));
export const overTemperatures = (data, controls) =>
  TEMPERATURES.map((temperature) => temperatureState(data, { ...controls, temperature }));

const realMinus = (text) => text.replace(/^-/, "−");

const compact = (v) => realMinus(Math.abs(v) >= 100 ? v.toFixed(0) : String(Number(v.toPrecision(2))));

// One curve a kernel over T = 0.1 … 100, and a line where T is now.
const chart = (count, label) => {
  const width = 270, height = 130;
  const text = (x, y, anchor, words = "") => {
    const node = svg("text", { x, y, "text-anchor": anchor, class: "dc-guide-text" });
    node.textContent = words;
    return node;
  };
  const lines = Array.from({ length: count }, (_, k) => svg("polyline", { class: `dc-curve dc-curve${k % 8}` }));
  const now = svg("line", { class: "dc-now", y1: 0, y2: height });
  const zero = svg("line", { class: "dc-guide", x1: 0, x2: width });
  const top = text(-5, 8, "end"), bottom = text(-5, height, "end");
  const ticks = [0.1, 1, 10, 100].map((T, i) => text((i * width) / 3, height + 15, "middle", T));
  const node = sheet([-42, -6, width + 56, height + 26], { class: "dc-chart", role: "img" }, zero, ...lines, now, top, bottom, ...ticks);
  const draw = (all, low, high) => { // all: K values for each of the temperatures
    const y = (v) => ((high - v) / (high - low)) * height, step = width / (all.length - 1);
    lines.forEach((line, k) => {
      line.setAttribute("points", all.map((v, i) => `${(i * step).toFixed(1)},${y(v[k]).toFixed(1)}`).join(" "));
    });
    for (const end of ["y1", "y2"]) zero.setAttribute(end, y(0));
    say(top, compact(high));
    say(bottom, compact(low));
    node.setAttribute("aria-label", `${label} over T = 0.1 to 100, between ${compact(low)} and ${compact(high)}`);
  };
  const mark = (temperature) => {
    const x = Math.max(0, Math.min(1, (Math.log10(temperature) + 1) / 3)) * width;
    for (const end of ["x1", "x2"]) now.setAttribute(end, x);
  };
  return { node, draw, mark };
};

const shown = (v) => realMinus(v !== 0 && Math.abs(v) < 0.005 ? v.toExponential(0) : v.toFixed(Math.abs(v) < 100 ? 2 : 0));

// One bar a kernel, to the right or to the left of zero; `full` is the length of half a track.
const signedBars = (count, label) => {
  const tracks = Array.from({ length: count }, (_, k) => signedBar(`dc-k${k % 8}`));
  const texts = tracks.map(() => element("span", { class: "dc-bar-text" }));
  const node = element("div", { class: "dc-bars", role: "img" }, ...tracks.map((track, k) =>
    element("div", { class: "dc-bar" }, track.node, texts[k])));
  const draw = (values, full) => {
    values.forEach((value, k) => { tracks[k].draw(value, full); say(texts[k], shown(value)); });
    node.setAttribute("aria-label", `${label}: ${values.map((v, k) => `kernel ${k + 1} ${shown(v)}`).join(", ")}`);
  };
  return { node, draw };
};

const legend = (names) => element("ul", { class: "dc-legend" }, ...names.map((name, k) => {
  const line = svg("line", { class: `dc-curve dc-curve${k % 8}`, x1: 0, x2: 34, y1: 5, y2: 5 });
  const sample = svg("svg", { viewBox: "0 0 34 10", width: 34, height: 10, "aria-hidden": "true" }, line);
  return element("li", {}, kernelMark(k), sample, name);
}));

const largest = (values, least) => Math.max(least, ...values.map(Math.abs));

const words = (state, all, { names, temperature, scale }) => {
  const best = indexOfMax(state.weights), strongest = all.map((s) => largest(s.gradient, 0));
  const peak = indexOfMax(strongest), share = percent(state.weights[best]);
  const cancel = scale === temperature ? "s and T cancel exactly: these are the weights of s = 1 and T = 1. " : "";
  if (names.length === 1) return `${cancel}One kernel has all the weight at every T, and its logit gets no gradient.`;
  return `${cancel}At s / T = ${compact(scale / temperature)}, ${names[best]} gets ${share} of the mix, and of the gradient that `
    + `reaches the kernels; entropy ${state.entropy.toFixed(2)} nats, so ${number(state.effective)} of ${names.length} kernels `
    + `are effectively in use. The strongest gradient of a logit is ${compact(largest(state.gradient, 0))}; with these logits `
    + `and this s, T near ${number(TEMPERATURES[peak])} would give the most, ${compact(strongest[peak])}.`;
};

const render = ({ model, el }) => {
  const data = JSON.parse(model.get("data")), { names } = data, count = names.length;
  const log = { min: 0.1, max: 100, step: 0.01, log: true, changed: () => redraw(), settled: () => store() };
  const temperature = slider({ label: "temperature T", value: model.get("temperature"), ...log });
  const scale = slider({ label: "scale of the logits s", value: model.get("scale"), ...log });
  const logits = names.map((_, k) => slider({
    label: `logit ${k + 1}`, min: -5, max: 5, step: 0.1, value: model.get("logits")[k], show: (v) => fixed(v, 1),
    changed: () => redraw(), settled: () => store(),
  }));
  const divided = signedBars(count, "s z / T"), gradient = signedBars(count, "gradient of the logits");
  const powers = bars(count, "exp, largest = 1"), weights = bars(count, "weights");
  const weightChart = chart(count, "weights"), gradientChart = chart(count, "gradients of the logits");
  const figures = element("p", { class: "dc-figures" });
  const column = (title, ...nodes) => element("div", {}, element("div", { class: "dc-column-title" }, title), ...nodes);

  let all, drawn; // the curves do not depend on T: drawn again only when the logits or s have moved
  const drawCurves = ({ logits: z, scale: s }) => {
    const key = [...z, s].join();
    if (key === drawn) return;
    drawn = key;
    all = overTemperatures(data, { logits: z, scale: s });
    const most = largest(all.flatMap((state) => state.gradient), 0) || 1;
    weightChart.draw(all.map((state) => state.weights), 0, 1);
    gradientChart.draw(all.map((state) => state.gradient), -most, most);
  };

  const draw = () => {
    const now = { logits: logits.map((control) => control.get()), temperature: temperature.get(), scale: scale.get() };
    const state = temperatureState(data, now);
    divided.draw(state.divided, largest(state.divided, 5));
    gradient.draw(state.gradient, largest(state.gradient, 0.5));
    powers.draw(state.powers);
    weights.draw(state.weights);
    drawCurves(now);
    for (const { mark } of [weightChart, gradientChart]) mark(now.temperature);
    figures.textContent = `entropy ${state.entropy.toFixed(3)} nats\neffective kernels ${state.effective.toFixed(2)} of ${count}`;
    return words(state, all, { names, ...now });
  };
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: {
      temperature, scale, logits: listOf(logits),
    },
    body: [
      element("div", { class: "dc-controls" }, temperature.node, scale.node),
      element("div", { class: "dc-bench" },
        column("logit z", ...logits.map((c, k) => element("div", { class: "dc-logit" }, kernelMark(k), c.node))),
        column("s z / T", divided.node), column("exp, largest = 1", powers.node), column("weight", weights.node),
        column("gradient of the logit", gradient.node)),
      element("div", { class: "dc-row dc-charts" },
        captioned(weightChart.node, "weight over T, and share of the gradient"),
        captioned(gradientChart.node, "gradient of the logit over T"),
        element("div", {}, legend(names), figures)),
    ],
  });
  el.classList.add("dc-temperature");
  return remove;
};

export default widget(render);

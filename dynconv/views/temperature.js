// Temperature bench: the stages of a softmax, its weights over all temperatures, and the gradients that come back through it.

import { bars, captioned, effectiveNumber, element, indexOfMax, instrument, kernelMark, number, percent, slider, softmax } from "./toolkit.js";

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

const SVG = "http://www.w3.org/2000/svg";
const svg = (tag, attributes, ...children) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

// The weights of all kernels over T = 0.1 … 100, and where T is now.
const curves = (count) => {
  const width = 320, height = 150, steps = 60;
  const lines = Array.from({ length: count }, (_, k) => svg("polyline", { class: `dc-curve dc-curve${k % 8}` }));
  const ends = lines.map((_, k) => svg("text", { class: "dc-guide-text", x: 4 + 14 * k }));
  ends.forEach((end, k) => { end.textContent = k + 1; });
  const now = svg("line", { class: "dc-now", y1: 0, y2: height });
  const node = svg("svg", { viewBox: `-2 -4 ${width + 4} ${height + 8}`, class: "dc-chart", role: "img" }, ...lines, ...ends, now);
  const draw = (logits, scale, temperature) => {
    const all = Array.from({ length: steps + 1 }, (_, i) => softmax(logits.map((z) => z * scale), 10 ** ((3 * i) / steps - 1)));
    lines.forEach((line, k) => {
      line.setAttribute("points", all.map((w, i) => `${((i / steps) * width).toFixed(1)},${((1 - w[k]) * height).toFixed(1)}`).join(" "));
      ends[k].setAttribute("y", Math.min(height - 2, Math.max(10, (1 - all[0][k]) * height - 3)));
    });
    const x = ((Math.log10(temperature) + 1) / 3) * width;
    now.setAttribute("x1", x);
    now.setAttribute("x2", x);
    node.setAttribute("aria-label", `weights of ${count} kernels from T = 0.1, at the left, to T = 100; T is ${number(temperature)}`);
  };
  return { node, draw };
};

// A signed bar from the middle, with its number.
const signed = (k) => {
  const fill = kernelMark(k, "dc-fill"), text = element("span", { class: "dc-bar-text" });
  const node = element("div", { class: "dc-bar" }, element("span", { class: "dc-track dc-signed" }, fill), text);
  const draw = (value, most) => {
    const length = 50 * Math.min(1, Math.abs(value) / most);
    fill.style.width = `${length}%`;
    fill.style.marginLeft = `${value < 0 ? 50 - length : 50}%`;
    text.textContent = Math.abs(value) < 0.005 && value !== 0 ? value.toExponential(0) : value.toFixed(2);
  };
  return { node, draw };
};

const render = ({ model, el }) => {
  const data = JSON.parse(model.get("data")), { names } = data, count = names.length;
  const log = { min: 0.1, max: 100, step: 0.01, log: true, changed: () => redraw(), settled: () => store() };
  const temperature = slider({ label: "temperature T", value: model.get("temperature"), ...log });
  const scale = slider({ label: "scale of the logits s", value: model.get("scale"), ...log });
  const logits = names.map((name, k) => slider({
    label: `logit ${k + 1}`, min: -5, max: 5, step: 0.1, value: model.get("logits")[k], show: (v) => v.toFixed(1),
    changed: () => redraw(), settled: () => store(),
  }));
  const divided = names.map((_, k) => signed(k)), gradient = names.map((_, k) => signed(k));
  const powers = bars(count, "exp, largest = 1"), weights = bars(count, "weights");
  const chart = curves(count);
  const column = (title, nodes) => element("div", { class: "dc-column" }, element("div", { class: "dc-column-title" }, title), ...nodes);

  const draw = () => {
    const z = logits.map((control) => control.get()), T = temperature.get(), s = scale.get();
    const state = temperatureState(data, { logits: z, temperature: T, scale: s });
    divided.forEach((bar, k) => bar.draw(state.divided[k], 5));
    gradient.forEach((bar, k) => bar.draw(state.gradient[k], 0.5));
    powers.draw(state.powers);
    weights.draw(state.weights);
    chart.draw(z, s, T);
    const best = indexOfMax(state.weights), strongest = Math.max(...state.gradient.map(Math.abs));
    const cancels = Math.abs(s / T - 1) < 0.005 ? "Scale and temperature cancel: these are the weights of the plain softmax. " : "";
    return `${cancels}At s / T = ${(s / T).toPrecision(2)}, ${names[best]} gets ${percent(state.weights[best])} of the mix and of the gradient; entropy `
      + `${state.entropy.toFixed(2)} nats, so ${number(state.effective)} of ${count} kernels are effectively in use. The strongest gradient `
      + `of a logit is ${strongest.toPrecision(2)}.`;
  };
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: {
      temperature, scale,
      logits: { get: () => logits.map((c) => c.get()), set: (z) => logits.forEach((c, k) => c.set(z[k])) },
    },
    body: [
      element("div", { class: "dc-controls" }, temperature.node, scale.node),
      element("div", { class: "dc-bench" },
        column("logit z", logits.map((c, k) => element("div", { class: "dc-logit" }, kernelMark(k), c.node))),
        column("s z / T", divided.map((b) => b.node)), column("exp, largest = 1", [powers.node]), column("weights", [weights.node]),
        column("gradient of the logit", gradient.map((b) => b.node))),
      captioned(chart.node, "the weights from T = 0.1 to T = 100 (log); the line is T"),
    ],
  });
  el.classList.add("dc-temperature");
  return remove;
};

export default { render };

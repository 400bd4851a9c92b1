// Training: loss, attention by class and the K kernels, epoch by epoch, while a network learns and afterwards.

import { button, captioned, element, indexOfMax, kernelMark, number, percent, picture, slider } from "./toolkit.js";

const SVG = "http://www.w3.org/2000/svg";
const svg = (tag, attributes) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};

// pure: polyline points of one curve in a width × height box; what lies above `high` runs along the top
export const curve = (values, epochs, low, high, width, height) => values.map((v, i) => {
  const x = (i / Math.max(1, epochs - 1)) * width, y = (1 - (Math.min(v, high) - low) / (high - low || 1)) * height;
  return `${x.toFixed(1)},${y.toFixed(1)}`;
}).join(" ");

const chart = (references) => {
  const width = 320, height = 150;
  const node = svg("svg", { viewBox: `-2 -4 ${width + 4} ${height + 8}`, class: "dc-chart", role: "img", "aria-label": "test loss against epoch" });
  const line = svg("polyline", { class: "dc-line" }), now = svg("line", { class: "dc-now", y1: 0, y2: height });
  const guides = references.map(() => svg("line", { class: "dc-guide", x1: 0, x2: width }));
  const labels = references.map(([name]) => Object.assign(svg("text", { class: "dc-guide-text", x: width, "text-anchor": "end" }), { textContent: name }));
  node.append(...guides, ...labels, line, now);
  const draw = (losses, epochs, epoch) => {
    // the untrained network's loss would flatten all the rest
    const values = [...(losses.length > 1 ? losses.slice(1) : losses), ...references.map(([, v]) => v)];
    const low = Math.min(...values), high = low + 1.1 * (Math.max(...values) - low);
    line.setAttribute("points", curve(losses, epochs, low, high, width, height));
    references.forEach(([, v], i) => {
      const y = (1 - (v - low) / (high - low || 1)) * height;
      guides[i].setAttribute("y1", y);
      guides[i].setAttribute("y2", y);
      labels[i].setAttribute("y", y < 12 ? y + 11 : y - 3);
    });
    const x = (epoch / Math.max(1, epochs - 1)) * width;
    now.setAttribute("x1", x);
    now.setAttribute("x2", x);
  };
  return { node, draw };
};

const render = ({ model, el }) => {
  const { classes, epochs, num_kernels: K, kernel_shape: [kh, kw], references } = JSON.parse(model.get("data"));
  let records = [], playing = 0, follow = true;

  const progress = element("progress", { max: epochs, value: 0, "aria-label": "training progress" });
  const status = element("span", {});
  const scrubber = slider({
    label: "epoch", min: 0, max: epochs, step: 1, value: 0, show: (v) => v.toFixed(0),
    changed: (v) => { follow = v >= records.length - 1; draw(); },
  });
  const play = button("Play", () => (playing ? stop() : start()));
  const losses = chart(references);
  const stacks = classes.map((name) => {
    const parts = Array.from({ length: K }, (_, k) => kernelMark(k, "dc-part"));
    const node = element("div", { class: "dc-stack", role: "img", "aria-label": `attention for ${name}` }, ...parts);
    return { name, parts, node };
  });
  const kernels = Array.from({ length: K }, (_, k) => picture(kh, kw, `kernel ${k + 1}`, "dc-kernel"));
  const sentence = element("p", { class: "dc-summary", "aria-live": "polite" });

  const draw = () => {
    if (!records.length) { sentence.textContent = "Waiting for the first epoch."; return; }
    const epoch = Math.min(scrubber.get(), records.length - 1), record = records[epoch];
    losses.draw(records.map((r) => r.test_loss), epochs + 1, epoch);
    stacks.forEach(({ name, parts, node }, c) => {
      parts.forEach((part, k) => { part.style.width = `${100 * record.attention[c][k]}%`; });
      node.setAttribute("aria-label", `attention for ${name}: ${record.attention[c].map((w, k) => `kernel ${k + 1} ${percent(w)}`).join(", ")}`);
    });
    kernels.forEach((view, k) => view.drawSigned(record.kernels[k]));
    const top = record.attention.map(indexOfMax);
    sentence.textContent = `Epoch ${record.epoch} of ${epochs}, T = ${number(record.temperature)}: test loss ${record.test_loss.toFixed(4)}. `
      + classes.map((name, c) => `${name}: kernel ${top[c] + 1} leads with ${percent(record.attention[c][top[c]])}`).join("; ") + ".";
  };
  const stop = () => { clearInterval(playing); playing = 0; play.textContent = "Play"; };
  const start = () => {
    play.textContent = "Pause";
    scrubber.set(0);
    playing = setInterval(() => {
      if (scrubber.get() >= records.length - 1) { stop(); return; }
      scrubber.set(scrubber.get() + 1);
      draw();
    }, 150);
  };
  const heard = () => {
    records = JSON.parse(model.get("records"));
    const done = records.length ? records[records.length - 1].epoch : 0;
    progress.value = done;
    status.textContent = done < epochs ? ` training: epoch ${done} of ${epochs}` : ` trained ${epochs} epochs`;
    scrubber.input.max = Math.max(1, records.length - 1);
    if (follow && records.length) scrubber.set(records.length - 1);
    draw();
  };
  model.on("change:records", heard);
  el.classList.add("dynconv");
  el.append(
    element("div", { class: "dc-controls" }, element("div", {}, progress, status), scrubber.node, play),
    element("div", { class: "dc-row" }, captioned(losses.node, "test loss (MSE) by epoch; epoch 0 may lie above"),
      captioned(element("div", { class: "dc-stacks" }, ...stacks.flatMap((s) => [element("span", {}, s.name), s.node])), "mean attention by kind of image")),
    element("div", { class: "dc-row" }, ...kernels.map((view, k) => captioned(view.node, kernelMark(k), ` kernel ${k + 1}`))),
    sentence,
  );
  heard();
  return () => { stop(); model.off("change:records", heard); };
};

export default { render };

// Training: loss, attention by class and the K kernels, epoch by epoch, while a network learns and afterwards.

import { captioned, element, indexOfMax, instrument, number, percent, widget } from "./toolkit.js";
import { effectiveKernels, kernelRow, lossChart, lossRange, player, recordAt, stacks } from "./playback.js";

const words = (record, { classes, epochs, num_kernels: K }) => {
  const top = record.attention.map(indexOfMax), effective = effectiveKernels(record);
  const mean = effective.reduce((a, b) => a + b, 0) / effective.length;
  return `Epoch ${record.epoch} of ${epochs}, T = ${number(record.temperature)}: test loss ${record.test_loss.toFixed(4)}. `
    + classes.map((name, c) => `${name}: kernel ${top[c] + 1} leads with ${percent(record.attention[c][top[c]])}`).join("; ")
    + `. On average ${mean.toFixed(1)} of ${K} kernels are effectively in use.`;
};

const render = ({ model, el }) => {
  const data = JSON.parse(model.get("data")), { classes, epochs, num_kernels: K, references } = data;
  let records = [], follows = model.get("epoch") === null; // the newest, or the epoch that a hand has chosen

  const progress = element("progress", { max: epochs, value: 0, "aria-label": "training progress" });
  const status = element("span", {});
  const newest = () => (records.length ? records[records.length - 1].epoch : 0);
  const moved = () => { follows = time.get() >= newest(); redraw(); };
  const time = player({ last: 0, value: 0, moved, settled: () => store() });
  const epoch = {
    get: () => (follows ? null : time.get()),
    set: (value) => { follows = value === null; time.set(value ?? newest()); },
    valid: (value) => value === null || (records.length > 0 && time.valid(value)),
  };
  const losses = lossChart(references, epochs, "test loss"), attention = stacks(classes, K), kernels = kernelRow(K, data.kernel_shape);

  const load = () => {
    records = JSON.parse(model.get("records"));
    const done = newest();
    progress.value = done;
    status.textContent = done < epochs ? ` training: epoch ${done} of ${epochs}` : ` trained ${epochs} epochs`;
    time.reach(done);
    if (records.length) losses.draw(records, lossRange([records], references));
    if (follows) time.set(done);
  };
  const draw = () => {
    if (!records.length) return "Waiting for the first epoch.";
    const record = records[recordAt(records, time.get())];
    losses.mark(record);
    attention.draw(record);
    kernels.draw(record);
    el.querySelector(".dc-summary").setAttribute("aria-live", time.playing() ? "off" : "polite"); // too fast to listen to
    return words(record, data);
  };
  load();
  if (!follows) time.set(model.get("epoch"));
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: { epoch },
    body: [
      element("div", { class: "dc-controls" }, element("div", {}, progress, status), ...time.nodes),
      element("div", { class: "dc-row" }, captioned(losses.node, "test loss (MSE) by epoch; epoch 0 may lie above"),
        captioned(attention.node, "mean attention by kind of image, and how many kernels it effectively uses")),
      kernels.node,
    ],
  });
  const heard = () => { load(); redraw(); };
  model.on("change:records", heard);
  el.classList.add("dc-training");
  return () => { time.stop(); remove(); model.off("change:records", heard); };
};

export default widget(render);

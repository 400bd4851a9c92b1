// Training: loss, attention by class and the K kernels, epoch by epoch, while a network learns and afterwards.

import { captioned, element, indexOfMax, number, percent, widget } from "./toolkit.js";
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
  let records = [], follow = true;

  const progress = element("progress", { max: epochs, value: 0, "aria-label": "training progress" });
  const status = element("span", {});
  const time = player({ last: 0, value: 0, moved: () => { follow = time.get() >= records[records.length - 1]?.epoch; draw(); } });
  const losses = lossChart(references, epochs, "test loss"), attention = stacks(classes, K), kernels = kernelRow(K, data.kernel_shape);
  const sentence = element("p", { class: "dc-summary", "aria-live": "polite" });

  const draw = () => {
    if (!records.length) { sentence.textContent = "Waiting for the first epoch."; return; }
    const record = records[recordAt(records, time.get())];
    losses.mark(record);
    attention.draw(record);
    kernels.draw(record);
    sentence.setAttribute("aria-live", time.playing() ? "off" : "polite"); // nobody can listen as fast as it plays
    sentence.textContent = words(record, data);
  };
  const heard = () => {
    records = JSON.parse(model.get("records"));
    const done = records.length ? records[records.length - 1].epoch : 0;
    progress.value = done;
    status.textContent = done < epochs ? ` training: epoch ${done} of ${epochs}` : ` trained ${epochs} epochs`;
    time.reach(done);
    if (records.length) losses.draw(records, lossRange([records], references));
    if (follow) time.set(done);
    draw();
  };
  model.on("change:records", heard);
  el.classList.add("dynconv", "dc-training");
  el.append(
    element("div", { class: "dc-controls" }, element("div", {}, progress, status), ...time.nodes),
    element("div", { class: "dc-row" }, captioned(losses.node, "test loss (MSE) by epoch; epoch 0 may lie above"),
      captioned(attention.node, "mean attention by kind of image, and how many kernels it effectively uses")),
    kernels.node,
    sentence,
  );
  heard();
  return () => { time.stop(); model.off("change:records", heard); };
};

export default widget(render);

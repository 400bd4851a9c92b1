// Training: loss, attention by class and the K kernels, epoch by epoch, while a network learns and afterwards.

import { captioned, element, indexOfMax, instrument, mean, number, percent, row, say } from "./toolkit.js";
import { effectiveKernels, kernelRow, lossChart, lossRange, player, recordAt, stacks } from "./playback.js";

const read = (data, records) => ({ ...data, records, done: records.at(-1)?.epoch ?? 0 });

// The epoch that a hand has chosen, or null: the newest, whatever it will be.
const latestOrChosen = (time) => {
  let follows = true;
  const moved = () => {
    follows = time.get() >= time.end();
  };
  time.nodes.forEach((node) => node.addEventListener("input", moved));
  const set = (epoch) => {
    follows = epoch === null;
    time.set(epoch ?? time.end());
  };
  const reach = (epoch) => {
    time.reach(epoch);
    if (follows) time.set(epoch);
  };
  return { ...time, get: () => (follows ? null : time.get()), set, reach, valid: (v) => v === null || time.valid(v) };
};

const controls = () => ({ epoch: latestOrChosen(player(0)) });

// the record that is shown; none before the first
const state = ({ records }, { epoch }) => records[recordAt(records, epoch ?? Infinity)];

// How far it is.
const progressOf = (epochs) => {
  const bar = element("progress", { max: epochs, value: 0, "aria-label": "training progress" });
  const status = element("span", {});
  const draw = (done) => {
    bar.value = done;
    say(status, done < epochs ? ` training: epoch ${done} of ${epochs}` : ` trained ${epochs} epochs`);
  };
  return { node: element("div", {}, bar, status), draw };
};

const view = ({ classes, epochs, num_kernels, kernel_shape, references }, { epoch }) => {
  const progress = progressOf(epochs);
  const losses = lossChart(references, epochs, "test loss");
  const attention = stacks(classes, num_kernels);
  const kernels = kernelRow(num_kernels, kernel_shape);
  const charts = row(
    "",
    captioned(losses.node, "test loss (MSE) by epoch; epoch 0 may lie above"),
    captioned(attention.node, "mean attention by kind of image, and how many kernels it effectively uses"),
  );
  // at first, and after every epoch
  const load = ({ records, done }) => {
    progress.draw(done);
    epoch.reach(done);
    if (!records.length) return;
    losses.draw(records, lossRange([records], references));
    kernels.fit([records]);
  };
  const draw = (record) => {
    if (record) for (const one of [attention, kernels]) one.draw(record);
    if (record) losses.mark(record);
  };
  return {
    body: [element("div", { class: "dc-controls" }, progress.node, ...epoch.nodes), charts, kernels.node],
    load,
    draw,
    remove: kernels.remove,
  };
};

const leadersInWords = (record, classes) => {
  const said = classes.map((name, c) => {
    const top = indexOfMax(record.attention[c]);
    return `${name}: kernel ${top + 1} leads with ${percent(record.attention[c][top])}`;
  });
  return said.join("; ");
};

const words = ({ classes, epochs, num_kernels: K }, record) => {
  if (!record) return "Waiting for the first epoch.";
  return (
    `Epoch ${record.epoch} of ${epochs}, T = ${number(record.temperature)}: test loss ${record.test_loss.toFixed(4)}. `
    + `${leadersInWords(record, classes)}. On average ${mean(effectiveKernels(record)).toFixed(1)} of ${K} kernels are `
    + "effectively in use."
  );
};

export default instrument({ className: "dc-training", reads: ["data", "records"], read, controls, state, view, words });

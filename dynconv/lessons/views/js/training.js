// Training: loss, attention by class and the K kernels, epoch by epoch, while a network learns and afterwards.

import { captioned, element, fixed, indexOfMax, instrument, mean, number, percent, row, say } from "./toolkit.js";
import { effectiveKernels, kernelRow, lossChart, lossRange, player, recordAt, stacks } from "./playback.js";
import {
  errorInWords,
  givenAndWanted,
  pictureChoice,
  placeOf,
  readPictures,
  restoredBy,
  restoredPicture,
} from "./restored.js";

const read = (data, records) => {
  const pictures = readPictures(data.pictures, data.kernel_shape[0]);
  return { ...data, pictures, records, done: records.at(-1)?.epoch ?? 0 };
};

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

const controls = ({ pictures }) => ({ epoch: latestOrChosen(player(0)), image: pictureChoice(pictures) });

// the record that is shown, none before the first; and the chosen picture as it is restored there
const state = ({ records, pictures }, { epoch, image }) => {
  const record = records[recordAt(records, epoch ?? Infinity)];
  const b = placeOf(pictures, image);
  return { record, b, restored: record && pictures && restoredBy(record, pictures, b) };
};

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

// the picture chosen, what is wanted of it, and what it has become
const seenRestored = (pictures, image) => {
  if (!pictures) return { nodes: [], draw: () => {}, remove: () => {} };
  const [goal, now] = [givenAndWanted(pictures), restoredPicture(pictures, "the network")];
  const draw = ({ b, restored }, full) => {
    goal.draw(b);
    if (restored) now.draw(b, restored, full);
  };
  const remove = () => [goal, now].forEach((one) => one.remove());
  return { nodes: [row("", image.node, goal.node, now.node)], draw, remove };
};

const view = ({ classes, epochs, num_kernels, kernel_shape, references, pictures }, { epoch, image }, { el }) => {
  el.style.setProperty("--sentences", pictures ? 2 : 1);
  const progress = progressOf(epochs);
  const losses = lossChart(references, epochs, "test loss");
  const attention = stacks(classes, num_kernels);
  const kernels = kernelRow(num_kernels, kernel_shape);
  const seen = seenRestored(pictures, image);
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
  const draw = (now) => {
    seen.draw(now, kernels.full());
    if (now.record) for (const one of [attention, kernels]) one.draw(now.record);
    if (now.record) losses.mark(now.record);
  };
  const remove = () => [kernels, seen].forEach((one) => one.remove());
  const above = element("div", { class: "dc-controls" }, progress.node, ...epoch.nodes);
  return { body: [above, charts, ...seen.nodes, kernels.node], load, draw, remove };
};

const leadersInWords = (record, classes) => {
  const said = classes.map((name, c) => {
    const top = indexOfMax(record.attention[c]);
    return `${name}: kernel ${top + 1} leads with ${percent(record.attention[c][top])}`;
  });
  return said.join("; ");
};

const words = ({ classes, epochs, num_kernels: K, pictures }, { record, b, restored }) => {
  if (!record) return "Waiting for the first epoch.";
  return (
    `Epoch ${record.epoch} of ${epochs}, T = ${number(record.temperature)}: test loss ${record.test_loss.toFixed(4)}. `
    + `${leadersInWords(record, classes)}. On average ${mean(effectiveKernels(record)).toFixed(1)} of ${K} kernels are `
    + `effectively in use. ${restored ? errorInWords(pictures, b, [fixed(restored.error, 3)]) : ""}`
  ).trim();
};

export default instrument({ className: "dc-training", reads: ["data", "records"], read, controls, state, view, words });

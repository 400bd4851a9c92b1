// Time machine: recorded training runs side by side in step, under one scrubber.

import { captioned, decode, element, fixed, indexOfMax, instrument, mean, number, part, row, say } from "./toolkit.js";
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

// pure: what every run shows at an epoch, and which of them has the lowest test loss
export const timeState = (runs, epoch) => {
  const shown = runs.map(({ records }) => {
    const index = recordAt(records, epoch);
    const record = records[index];
    const effective = effectiveKernels(record);
    return { index, record, effective, mean: mean(effective), leaders: record.attention.map(indexOfMax) };
  });
  return { shown, best: indexOfMax(shown.map((s) => -s.record.test_loss)) };
};

// the records as they were: kernels travel apart from the rest, as one array a run
export const unpack = ({ name, records, kernels, num_kernels: K, size }) => {
  const stack = decode(kernels);
  const cut = (e) => Array.from({ length: K }, (_, k) => part(stack, e * K + k, size * size));
  const changing = records.some((record) => record.temperature !== records[0].temperature);
  return { name, K, size, changing, records: records.map((record, e) => ({ ...record, kernels: cut(e) })) };
};

const read = (raw) => {
  const runs = raw.runs.map(unpack);
  const last = Math.max(...runs.map((run) => run.records.at(-1).epoch));
  const records = runs.map((run) => run.records);
  const pictures = readPictures(raw.pictures, runs[0].size);
  return { ...raw, runs, last, span: lossRange(records, raw.references), pictures };
};

const controls = ({ last, pictures }) => ({ epoch: player(last), image: pictureChoice(pictures) });

const state = ({ runs, pictures }, { epoch, image }) => {
  const now = timeState(runs, epoch);
  if (!pictures) return now;
  const b = placeOf(pictures, image);
  return { ...now, b, restored: now.shown.map(({ record }) => restoredBy(record, pictures, b)) };
};

const lossText = (loss) => loss?.toFixed(4) ?? "–";

const column = ({ name, K, size, records }, { runs, classes, references, last, span, pictures }) => {
  const readout = element("p", { class: "dc-readout" });
  const chart = lossChart(references, last, `test loss of ${name}`);
  chart.draw(records, span);
  const attention = stacks(classes, K);
  const kernels = kernelRow(K, [size, size], name);
  kernels.fit(runs.map((run) => run.records));
  const picture = pictures && restoredPicture(pictures, name);
  const node = element(
    "section",
    { class: "dc-run", "aria-label": name },
    element("div", { class: "dc-run-title" }, name),
    readout,
    ...(picture ? [picture.node] : []),
    captioned(chart.node, "test loss by epoch, on the same axes for all runs; epoch 0 may lie above"),
    captioned(attention.node, "mean attention by kind of image; at the right, kernels effectively in use"),
    kernels.node,
  );
  const draw = ({ record }, b, restored) => {
    const losses = `test loss ${lossText(record.test_loss)} · training ${lossText(record.loss)}`;
    say(readout, `now T = ${number(record.temperature)}\n${losses}`);
    chart.mark(record);
    attention.draw(record);
    kernels.draw(record);
    picture?.draw(b, restored, kernels.full());
  };
  const remove = () => [kernels, picture].forEach((one) => one?.remove());
  return { node, draw, remove };
};

const view = (data, { epoch, image }, { el }) => {
  const columns = data.runs.map((run) => column(run, data));
  const goal = data.pictures && givenAndWanted(data.pictures);
  el.style.setProperty("--sentences", data.runs.length + (goal ? 1 : 0));
  const draw = ({ shown, b, restored = [] }) => {
    goal?.draw(b);
    columns.forEach((one, i) => one.draw(shown[i], b, restored[i]));
  };
  return {
    body: [
      element("div", { class: "dc-controls dc-time" }, ...epoch.nodes),
      ...(goal ? [row("", image.node, goal.node)] : []),
      element("div", { class: "dc-runs" }, ...columns.map((one) => one.node)),
    ],
    draw,
    remove: () => [...columns, goal].forEach((one) => one?.remove()),
  };
};

const verbOf = (runs, first) => {
  if (runs.length === 1) return "has";
  return first.length === 1 ? "leads with" : "lead with";
};

// who has the lowest test loss, and the others in order
const race = ({ shown, best }, runs) => {
  const losses = shown.map((s) => s.record.test_loss.toFixed(4));
  const order = runs.map((_, i) => i).sort((a, b) => losses[a] - losses[b]);
  const first = order.filter((i) => losses[i] === losses[best]).map((i) => runs[i].name); // as far as one can read
  const others = order.filter((i) => losses[i] !== losses[best]).map((i) => `${runs[i].name} with ${losses[i]}`);
  const rest = others.length ? `, ahead of ${others.join(", ")}` : "";
  return `${first.join(" and ")} ${verbOf(runs, first)} test loss ${losses[best]}${rest}.`;
};

const habits = ({ record, mean: used, leaders }, { name, changing, K }, classes) => {
  const ahead = new Set(leaders).size;
  const kinds = classes.length === 1 ? "the one kind of image" : `the ${classes.length} kinds of image`;
  const now = changing ? `, now at T = ${number(record.temperature)},` : "";
  const leading = ahead === 1 ? `kernel ${leaders[0] + 1} leads` : `${ahead} different ones lead`;
  return `${name}${now} effectively uses ${used.toFixed(1)} of ${K} kernels; ${leading} for ${kinds}.`;
};

const words = ({ runs, last, classes, pictures }, now, { epoch }) => {
  const said = now.shown.map((shown, i) => habits(shown, runs[i], classes));
  const errors = now.restored?.map(({ error }, i) => `${fixed(error, 3)} (${runs[i].name})`);
  const seen = errors ? [errorInWords(pictures, now.b, errors)] : [];
  return [`Epoch ${epoch} of ${last}: ${race(now, runs)}`, ...said, ...seen].join(" ");
};

export default instrument({ className: "dc-time-machine", read, controls, state, view, words });

// Time machine: recorded training runs side by side in step, under one scrubber.

import { captioned, decode, element, indexOfMax, instrument, number, widget } from "./toolkit.js";
import { effectiveKernels, kernelRow, lossChart, lossRange, player, recordAt, stacks } from "./playback.js";

// pure: what every run shows at an epoch, and which of them has the lowest test loss
export const timeState = (runs, epoch) => {
  const shown = runs.map(({ records }) => {
    const index = recordAt(records, epoch), record = records[index], effective = effectiveKernels(record);
    const mean = effective.reduce((a, b) => a + b, 0) / effective.length;
    return { index, record, effective, mean, leaders: record.attention.map(indexOfMax) };
  });
  return { shown, best: indexOfMax(shown.map((s) => -s.record.test_loss)) };
};

// the records as they were: kernels travel apart from the rest, as one array a run
export const unpack = ({ name, records, kernels, num_kernels: K, size }) => {
  const stack = decode(kernels), area = size * size;
  const cut = (e) => Array.from({ length: K }, (_, k) => stack.subarray((e * K + k) * area, (e * K + k + 1) * area));
  const changing = records.some((record) => record.temperature !== records[0].temperature);
  return { name, K, size, changing, records: records.map((record, e) => ({ ...record, kernels: cut(e) })) };
};

// who has the lowest test loss, and the others in order
const race = ({ shown, best }, runs) => {
  const losses = shown.map((s) => s.record.test_loss.toFixed(4));
  const order = runs.map((_, i) => i).sort((a, b) => losses[a] - losses[b]);
  const first = order.filter((i) => losses[i] === losses[best]).map((i) => runs[i].name); // as far as one can read
  const others = order.filter((i) => losses[i] !== losses[best]).map((i) => `${runs[i].name} with ${losses[i]}`);
  const verb = runs.length === 1 ? "has" : first.length === 1 ? "leads with" : "lead with";
  return `${first.join(" and ")} ${verb} test loss ${losses[best]}${others.length ? `, before ${others.join(", ")}` : ""}.`;
};

const habits = ({ record, mean, leaders }, { name, changing, K }, classes) => {
  const ahead = new Set(leaders).size, many = classes.length;
  const kinds = many === 1 ? "the one kind of image" : `the ${many} kinds of image`;
  const now = changing ? `, now at T = ${number(record.temperature)},` : "";
  return `${name}${now} effectively uses ${mean.toFixed(1)} of ${K} kernels; `
    + (ahead === 1 ? `kernel ${leaders[0] + 1} leads for ${kinds}.` : `${ahead} different ones lead for ${kinds}.`);
};

const column = ({ name, K, size, records }, { classes, references }, last, span) => {
  const readout = element("p", { class: "dc-readout" });
  const chart = lossChart(references, last, `test loss of ${name}`);
  chart.draw(records, span);
  const attention = stacks(classes, K), kernels = kernelRow(K, [size, size], ` of ${name}`);
  const node = element("section", { class: "dc-run", "aria-label": name },
    element("div", { class: "dc-run-title" }, name), readout,
    captioned(chart.node, "test loss by epoch, on the same axes for all runs; epoch 0 may lie above"),
    captioned(attention.node, "mean attention by kind of image; at the right, kernels effectively in use"), kernels.node);
  const draw = ({ record }) => {
    const [test, training] = [record.test_loss, record.loss].map((loss) => loss?.toFixed(4) ?? "–");
    readout.textContent = `now T = ${number(record.temperature)}\ntest loss ${test} · training ${training}`;
    chart.mark(record);
    attention.draw(record);
    kernels.draw(record);
  };
  return { node, draw };
};

const render = ({ model, el }) => {
  const data = JSON.parse(model.get("data")), { classes, references } = data;
  const runs = data.runs.map(unpack), span = lossRange(runs.map((run) => run.records), references);
  const last = Math.max(...runs.map(({ records }) => records[records.length - 1].epoch));
  const time = player({ last, value: model.get("epoch"), moved: () => redraw(), settled: () => store() });
  const columns = runs.map((run) => column(run, data, last, span));

  const draw = () => {
    const epoch = time.get(), state = timeState(runs, epoch);
    columns.forEach((one, i) => one.draw(state.shown[i]));
    el.querySelector(".dc-summary").setAttribute("aria-live", time.playing() ? "off" : "polite"); // too fast to listen to
    const said = state.shown.map((shown, i) => habits(shown, runs[i], classes));
    return `Epoch ${epoch} of ${last}: ${race(state, runs)} ${said.join(" ")}`;
  };
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: { epoch: time },
    body: [
      element("div", { class: "dc-controls dc-time" }, ...time.nodes),
      element("div", { class: "dc-runs" }, ...columns.map((one) => one.node)),
    ],
  });
  el.classList.add("dc-time-machine");
  el.style.setProperty("--runs", runs.length);
  return () => { time.stop(); remove(); };
};

export default widget(render);

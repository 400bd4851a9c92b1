// Playground: a plain convolution, the question's softmax mix and a dynamic convolution train here, side by side.

import { TASKS } from "./degradations.js";
import { chosen } from "./playground_chosen.js";
import { curvesOf } from "./playground_curves.js";
import { gallery } from "./playground_gallery.js";
import { scenesOf } from "./playground_scenes.js";
import { session } from "./playground_session.js";
import { streams } from "./playground_streams.js";
import { thumbnails } from "./thumbnails.js";
import { LAST } from "./trainer.js";
import {
  button,
  captioned,
  choice,
  decodeBytes,
  element,
  emit,
  indexOfMax,
  instrument,
  kernelsSlider,
  number,
  percent,
  radios,
  row,
  say,
  scaled,
  slider,
  temperatureSlider,
  toggle,
  wholeSlider,
} from "./toolkit.js";

const MOST = 8; // kernels
const TITLES = {
  damages: "one of four damages: it can be seen which",
  shifts: "one of four shifts: nothing shows which",
};
const [BUSY, IDLE] = [1, 5]; // milliseconds of a frame for the gallery, while it trains and else

const rateSlider = () =>
  slider({ label: "learning rate", min: 0.001, max: 0.1, step: 0.05, log: true, show: (v) => v.toFixed(3) });

const photosHeldOut = ({ held, size }, names) => {
  const control = thumbnails("photo held out");
  const pixels = (text) => scaled(Float32Array.from(decodeBytes(text)), [0, 255]);
  control.offer(names.map((name, i) => ({ name, size: [size, size], array: pixels(held[i]) })));
  return control;
};

const controls = ({ photos, names }) => {
  const temperature = temperatureSlider();
  const cooling = toggle("cool from 30 to 1");
  temperature.input.addEventListener("input", () => cooling.set(false)); // whoever moves T wants it to stay
  return {
    task: choice({ label: "photos arrive with", options: Object.entries(TITLES) }),
    temperature,
    cooling,
    num_kernels: kernelsSlider(MOST),
    learning_rate: rateSlider(),
    seed: wholeSlider("seed", 0, 9),
    batch_size: choice({ label: "patches a step", options: [16, 32] }),
    photo: photosHeldOut(photos, names),
    damage: radios([0, 1, 2, 3]),
  };
};

// what training has told last is put into `training` by the view
const read = (raw) => ({ ...raw, training: null });

const state = ({ training }) => training?.latest() ?? null;

// how far a network has come from the error of one filter to that of four
const wayOf = (error, { one, each }) => {
  const way = (one - error) / (one - each);
  return way < 0.005 ? "0 %" : percent(way);
};

// in short, for a bar that stays in sight
const statusOf = ({ step, history, references }, training) => {
  const way = `dynamic ${wayOf(history.at(-1).dynamic, references)}`;
  if (!training.playing()) return `step ${step} of ${LAST} · ${way}`;
  return `step ${step} · ${way} · ${training.speed().toFixed(0)} steps a second ${training.where()}`;
};

// The buttons that make it train, and how far it is.
const transport = (training) => {
  const play = button("Play", () => training.play(!training.playing()));
  const step = button("Step", training.step);
  const again = button("Start again", training.again);
  const status = element("span", { class: "dc-status" });
  const node = element("div", { class: "dc-transport" }, play, step, again, status);
  node.addEventListener("click", () => emit(node, "arrive"));
  const draw = (news) => {
    say(play, training.playing() ? "Pause" : "Play");
    say(status, news ? statusOf(news, training) : "making the patches ready …");
  };
  return { node, draw };
};

// Emits "frame" on `node` with the next frame, once however often it is asked.
const frames = (node) => {
  let asked = 0;
  const ask = () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      emit(node, "frame");
    });
  };
  return { ask, stop: () => cancelAnimationFrame(asked) };
};

// The scenes of the chosen photo and task, made when either changes.
const stage = ({ photos, names }) => {
  let [made, scenes] = ["", []];
  return ({ task, photo }) => {
    if (made !== `${task} ${photo}`) scenes = scenesOf(photos.held[names.indexOf(photo)], photos.size, task);
    made = `${task} ${photo}`;
    return scenes;
  };
};

const body = (desk, { curves, flows, one, all }, { photo, ...others }) => [
  desk,
  element("div", { class: "dc-controls" }, ...Object.values(others).flatMap((control) => control.node ?? [])),
  row(
    "dc-charts",
    captioned(curves.node, "mean squared error on photos held out; T; learning rate: by step"),
    captioned(flows.node, "attention of the dynamic layer by kind of photo, over the same steps"),
  ),
  photo.node,
  one.node,
  all.node,
];

const view = (data, given, { el }) => {
  const parts = { curves: curvesOf(), flows: streams(MOST), one: chosen(), all: gallery(given.damage) };
  const desk = element("div", { class: "dc-sticky" });
  const { ask, stop } = frames(desk);
  const training = session(data.photos, ask);
  const bar = transport(training);
  const scenesFor = stage(data);
  const paint = () => {
    if (training.isUnseen()) emit(desk, "arrive");
    const isLeft = parts.all.work(training.playing() ? BUSY : IDLE);
    el.setAttribute("aria-busy", String(!training.playing() && (isLeft || training.isWaiting())));
    if (isLeft) ask();
  };
  const drawNews = (news, values) => {
    const scenes = scenesFor(values);
    const names = Object.keys(TASKS[values.task]);
    if (values.cooling) given.temperature.set(news.T);
    parts.curves.draw(news, values);
    parts.flows.draw(news, names);
    parts.one.draw(news, scenes[values.damage], names[values.damage]);
    parts.all.show(news, scenes, names);
    training.seen();
  };
  const draw = (news, values) => {
    training.settle(values);
    bar.draw(news);
    if (news) drawNews(news, values);
    el.setAttribute("aria-busy", String(!training.playing()));
    ask();
  };
  const remove = () => [stop, training.end, parts.one.remove].forEach((end) => end());
  desk.append(bar.node);
  desk.addEventListener("frame", paint);
  data.training = training;
  return { body: body(desk, parts, given), draw, remove, restart: training.restart, playing: training.playing };
};

const words = ({ names }, news, { task, damage, learning_rate: rate }) => {
  if (!news) return "Three networks are about to train here, in the page.";
  const { step, T, history, references } = news;
  const now = history.at(-1);
  const [dynamic, mix, plain] = ["dynamic", "mix", "plain"].map((name) => wayOf(now[name], references));
  const shares = now.attention[damage];
  const leader = indexOfMax(shares);
  return (
    `Step ${step}, T = ${number(T)}, learning rate ${rate.toFixed(3)}. On photos held out (${names.join(", ")}), the error of the `
    + "dynamic convolution is "
    + `${now.dynamic.toFixed(4)}: ${dynamic} of the way from one filter to four; the softmax mix has gone ${mix}, the plain `
    + `convolution ${plain}. For “${Object.keys(TASKS[task])[damage]}”, kernel ${leader + 1} leads with ${percent(shares[leader])}.`
  );
};

export default instrument({ className: "dc-playground", read, controls, state, view, words });

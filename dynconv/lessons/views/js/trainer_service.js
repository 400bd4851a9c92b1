// The trainer behind messages: the same in a Web Worker and on the page's own thread.
//
// It hears {order, value, id}: photos, settings, play (true or false), step, again, seen. It tells what is to be drawn, with the
// id of the last order it knew, and not before the last that it told was seen, so that nothing queues up.

import { LAST, prepared, trainer } from "./trainer.js";

const EARLY = 500; // steps: until then a point of the curves
const OFTEN = 25; // steps after the last, and
const SELDOM = 50; // later, for a point costs as much as five steps
const PATIENCE = 1000; // milliseconds without being seen, in a hidden page: then it rests
const OF_THE_START = ["task", "num_kernels", "seed"]; // settings that a run cannot change on its way

// A run from step 0, and the points of its curves that were not told yet; `number` tells runs apart.
const runOf = (data, settings, number) => {
  const { now, step: train, set, measure, drawn } = trainer(data, settings);
  let points = [measure()];
  const step = (isLast) => {
    train();
    if (isLast || now.step % (now.step < EARLY ? OFTEN : SELDOM) === 0) points.push(measure());
  };
  const told = () => {
    const fresh = points;
    points = [];
    return { number, step: now.step, T: now.T, points: fresh, references: data.held.references, ...drawn() };
  };
  return { now, step, set, told };
};

// What is to be drawn: told when there is something new and the last was seen.
const teller = (tell, what) => {
  let [isNew, wasSeen, since] = [false, true, 0];
  const show = () => {
    if (!isNew || !wasSeen) return;
    [isNew, wasSeen, since] = [false, false, performance.now()];
    tell(what());
  };
  const news = () => {
    isNew = true;
    show();
  };
  const seen = () => {
    wasSeen = true;
    show();
  };
  return { news, seen, isUnseen: () => !wasSeen && performance.now() - since > PATIENCE };
};

// What each order does to `now`: its photos, settings and run, and whether it plays.
const ordersOf = (now, seen) => {
  const data = {}; // by task
  const again = () => {
    const { photos, settings } = now;
    data[settings.task] ??= prepared(photos, settings.task);
    now.runs += 1;
    now.run = runOf(data[settings.task], settings, now.runs);
  };
  const settle = (settings) => {
    const isAnother = !now.run || OF_THE_START.some((name) => settings[name] !== now.settings[name]);
    Object.assign(now, { settings });
    if (isAnother) again();
    else now.run.set(settings);
  };
  const photos = (given) => Object.assign(now, { photos: given });
  const play = (isPlaying) => Object.assign(now, { isPlaying });
  return { photos, settings: settle, again, step: () => now.run.step(true), play, seen };
};

const trainFor = (now, budget) => {
  const end = performance.now() + budget;
  while (now.isPlaying && performance.now() < end) {
    now.run.step(false);
    if (now.run.now.step === LAST) now.isPlaying = false;
  }
};

// `later` calls back once the messages that wait have been heard; `budget` is how many milliseconds to train in between.
export const service = (tell, later, budget) => {
  const now = { run: null, runs: 0, isPlaying: false, isWaiting: false, heard: 0 };
  const screen = teller(tell, () => ({ ...now.run.told(), heard: now.heard, playing: now.isPlaying }));
  const orders = ordersOf(now, screen.seen);
  const go = () => {
    if (!now.run || !now.isPlaying || now.isWaiting || screen.isUnseen()) return;
    now.isWaiting = true;
    later(() => {
      now.isWaiting = false;
      trainFor(now, budget);
      screen.news();
      go();
    });
  };
  return ({ order, value, id }) => {
    orders[order](value);
    if (order !== "seen") now.heard = id;
    if (order !== "seen" && now.run) screen.news();
    go();
  };
};

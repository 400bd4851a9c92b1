// A session of training as the page sees it: told of the settings when they change, and asked for no more than can be drawn.

import { trainerClient } from "./trainer_client.js";

const MANY = 400; // points of a curve: with more, every other one goes
const SETTINGS = ["task", "temperature", "cooling", "num_kernels", "learning_rate", "seed", "batch_size"];

// pure: the settings among all values. While it cools, T goes its own way.
export const settingsOf = (values) => {
  const own = Object.fromEntries(SETTINGS.map((name) => [name, values[name]]));
  return own.cooling ? { ...own, temperature: 1 } : own;
};

// pure: the points of a run's curves, with those that have arrived; those of another run go
export const longer = (before, news) => {
  const points = before?.number === news.number ? [...before.history, ...news.points] : news.points;
  return points.length > MANY ? points.filter((_, i) => i % 2 === 0 || i === points.length - 1) : points;
};

// Steps a second, smoothed; zero where no time has passed.
const speedometer = () => {
  let [speed, step, at] = [0, 0, 0];
  const tick = (now, time) => {
    speed = now > step ? 0.8 * speed + (200 * (now - step)) / (time - at) : 0;
    [step, at] = [now, time];
  };
  return { tick, speed: () => speed };
};

// Tells of settings when they change; `anew` says that training begins again with those that come next.
const briefing = (tell) => {
  let [told, isAnew] = ["", false];
  const settle = (values) => {
    const settings = settingsOf(values);
    if (JSON.stringify(settings) !== told) tell("settings", settings);
    if (isAnew) tell("again");
    [told, isAnew] = [JSON.stringify(settings), false];
  };
  const anew = () => {
    isAnew = true;
  };
  return { settle, anew };
};

// `arrived` is called when there is more to draw.
export const session = (photos, arrived) => {
  let [latest, isPlaying, isUnseen] = [null, false, false];
  const meter = speedometer();
  const client = trainerClient((news) => {
    latest = { ...news, history: longer(latest, news) };
    isUnseen = true;
    meter.tick(news.step, performance.now());
    if (client.isAnswered(news)) isPlaying = news.playing;
    arrived();
  });
  const { settle, anew } = briefing(client.tell);
  const play = (on) => {
    isPlaying = on;
    client.tell("play", on);
  };
  const restart = () => {
    anew();
    if (isPlaying) play(false);
  };
  const seen = () => {
    if (!isUnseen) return;
    isUnseen = false; // first: on the page's own thread the answer comes at once
    client.tell("seen");
  };
  const isWaiting = () => !isPlaying && !(latest && client.isAnswered(latest));
  const asked = {
    latest: () => latest,
    playing: () => isPlaying,
    isUnseen: () => isUnseen,
    isWaiting,
    speed: meter.speed,
  };
  const [step, again] = ["step", "again"].map((order) => () => client.tell(order));
  client.tell("photos", photos);
  return { ...asked, where: client.where, play, settle, restart, seen, step, again, end: client.end };
};

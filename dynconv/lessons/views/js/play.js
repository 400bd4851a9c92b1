// A button that plays: it moves what it is given on by one at every beat, up to the end.

import { element, emit, say } from "./elements.js";

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

const clock = (pace) => {
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
  };
  const start = (step) => {
    timer = setInterval(step, pace);
  };
  return { start, stop, running: () => timer !== 0 };
};

// `scrub` has get, set and the inputs whose own moves end the playing; with reduced motion a beat lasts a second and goes
// `stride` on. It tells at every step and once more when it stays.
export const playButton = (scrub, end, pace, stride = 1) => {
  const [beat, by] = still() ? [1000, stride] : [pace, 1];
  const time = clock(beat);
  const node = element("button", { type: "button", class: "dc-button dc-play" }, "Play");
  const stop = () => {
    time.stop();
    say(node, "Play");
  };
  const rest = () => {
    stop();
    emit(node, "input");
    emit(node, "change");
  };
  const step = () => {
    scrub.set(Math.min(scrub.get() + by, end()));
    if (scrub.get() >= end()) rest();
    else emit(node, "input");
  };
  const start = () => {
    say(node, "Pause");
    if (scrub.get() + by > end()) scrub.set(0); // no whole step is left
    time.start(step);
    emit(node, "input");
  };
  node.addEventListener("click", () => (time.running() ? rest() : start()));
  scrub.inputs.forEach((input) => input.addEventListener("input", stop));
  return { node, stop, playing: time.running };
};

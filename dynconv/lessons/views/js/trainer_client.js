// The page's side of the trainer: in a Web Worker where the page may start one, else on the page's own thread.

import { service } from "./trainer_service.js";

const BUDGET = 5; // milliseconds of a frame, where the page has to draw in the rest of it

const inPage = (heard) => {
  let isOver = false;
  const hear = service((news) => isOver || heard(news), requestAnimationFrame, BUDGET);
  const end = () => {
    isOver = true;
    hear({ order: "play", value: false });
  };
  return { hear, end };
};

// Whoever may not start a worker hears of it by an exception, or later by an event: then `failed` is called.
const inWorker = (heard, failed) => {
  const address = new URL("./trainer_worker.js", import.meta.url);
  const worker = new Worker(address);
  URL.revokeObjectURL(address);
  worker.onmessage = ({ data }) => heard(data);
  worker.onerror = (event) => {
    event.preventDefault();
    worker.terminate();
    failed();
  };
  return { hear: (message) => worker.postMessage(message), end: () => worker.terminate() };
};

// `heard` gets what is to be drawn. Orders that set something are kept: should the worker fail, the page's thread begins with them.
export const trainerClient = (heard) => {
  const kept = {};
  let [own, where, id] = [null, "in a worker", 0];
  const fall = () => {
    own = inPage(heard);
    where = "on the page's thread";
    Object.entries(kept).forEach(([order, value]) => own.hear({ order, value, id }));
  };
  try {
    own = inWorker(heard, fall);
  } catch {
    fall();
  }
  const tell = (order, value) => {
    if (["photos", "settings", "play"].includes(order)) kept[order] = value;
    if (order !== "seen") id += 1;
    own.hear({ order, value, id });
  };
  const isAnswered = (news) => news.heard === id;
  return { tell, isAnswered, where: () => where, end: () => own.end() };
};

// The trainer in a Web Worker: trainer_client.js starts it.

import { service } from "./trainer_service.js";

const BUDGET = 6; // milliseconds between two looks at the messages

// A message to oneself comes after those that wait; browsers hold timers back by 4 ms.
const later = (next) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    next();
  };
  port2.postMessage(null);
};

export const hear = service((news) => globalThis.postMessage(news), later, BUDGET);

globalThis.onmessage = ({ data }) => hear(data);

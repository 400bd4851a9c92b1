// The photos that were held out, damaged, and what the networks make of them.

import { cut, standardised, TASKS } from "./degradations.js";
import { dynamicNetwork, windows } from "./dynamic_network.js";
import { EDGE, KERNEL, TAPS } from "./gram.js";
import { conv2d, decodeBytes } from "./mathematics.js";
import { generator } from "./random.js";

const [WINDOW, SEED] = [120, 5]; // pixels of a photo that are looked at
export const VIEW = WINDOW - 2 * EDGE; // those that a filter reaches
export const GREYS = [-1.9, 2.4]; // from black to white, in standard deviations

const middle = (photo, size, window) => {
  const gap = (size - window) >> 1;
  return cut(photo, size, gap, gap, window);
};

const inner = (image) => middle(image, WINDOW, VIEW);

// One scene a damage: what the networks are given, what they see of it, and the damaged and the clean picture.
export const scenesOf = (text, size, task) => {
  const photo = standardised(decodeBytes(text));
  const random = generator(SEED);
  const clean = middle(photo, size, VIEW);
  return Object.values(TASKS[task]).map((damage) => {
    const given = middle(damage(photo, size, random), size, WINDOW);
    return { given, seen: windows(given, WINDOW), damaged: inner(given), clean };
  });
};

// what a filter makes of a scene: no padding, and the bias added
export const filtered = ({ given }, filter) =>
  inner(conv2d(given, WINDOW, WINDOW, filter.subarray(0, TAPS), KERNEL)).map((v) => v + filter[TAPS]);

export const errorOf = (picture, { clean }) =>
  picture.reduce((sum, v, i) => sum + (v - clean[i]) ** 2, 0) / picture.length;

// the dynamic network again, from the numbers that the trainer told
export const revived = ({ K, value, running }) => {
  const network = dynamicNetwork(K, generator(0), 1);
  network.own.value.all.set(value);
  return Object.assign(network, { running });
};

// K kernels and their mix, forwards and backwards: what the softmax mix and the dynamic convolution have in common.

import { WEIGHTS } from "./gram.js";

export const BOUND = 1 / 9; // of the first weights: 1 / √81

// softmax(z / T) of the K logits from `start` on, into the same place of `shares`
export const softmaxInto = (shares, logits, start, K, T) => {
  let top = -Infinity;
  let all = 0;
  for (let k = start; k < start + K; k++) top = Math.max(top, logits[k]);
  for (let k = start; k < start + K; k++) {
    shares[k] = Math.exp((logits[k] - top) / T);
    all += shares[k];
  }
  for (let k = start; k < start + K; k++) shares[k] /= all;
};

// Σ πₖ wₖ into `kernel`
export const mixInto = (kernel, kernels, shares, start, K) => {
  for (let i = 0; i < WEIGHTS; i++) {
    let v = 0;
    for (let k = 0; k < K; k++) v += shares[start + k] * kernels[k * WEIGHTS + i];
    kernel[i] = v;
  }
};

// From how the loss depends on the mixed kernel: adds to `slopes` how it depends on the K kernels; how on the K shares, into `towards`.
export const unmixInto = (slopes, towards, kernels, slope, shares) => {
  for (let k = 0; k < towards.length; k++) {
    const start = k * WEIGHTS;
    let v = 0;
    for (let i = 0; i < WEIGHTS; i++) {
      slopes[start + i] += shares[k] * slope[i];
      v += slope[i] * kernels[start + i];
    }
    towards[k] = v;
  }
};

// From there on: how the loss depends on the logits, in place.
export const throughSoftmax = (towards, shares, T) => {
  let inner = 0;
  for (let k = 0; k < towards.length; k++) inner += shares[k] * towards[k];
  for (let k = 0; k < towards.length; k++) towards[k] = (shares[k] * (towards[k] - inner)) / T;
};

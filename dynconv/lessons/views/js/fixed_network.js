// Networks whose weights come from parameters: one plain 9 × 9 convolution, and the question's softmax mix of K of them.
//
// Either is one kernel for the whole batch, so that one sum of Gram matrices serves all of it.

import { errorAndSlope, WEIGHTS } from "./gram.js";
import { BOUND, mixInto, softmaxInto, throughSoftmax, unmixInto } from "./kernels.js";
import { adamStep, drawInto, parameters } from "./parameters.js";

const scaled = (slope, factor) => {
  for (let i = 0; i < slope.length; i++) slope[i] *= factor;
};

export const plainNetwork = (random) => {
  const own = parameters({ kernel: WEIGHTS });
  drawInto(own.value.kernel, BOUND, random);
  return { own, kernel: () => own.value.kernel };
};

// One step on the sum of a batch: the mean squared error before it.
export const plainStep = ({ own }, total, rate) => {
  const error = errorAndSlope(total, own.value.kernel, own.slope.kernel);
  scaled(own.slope.kernel, 2 / total.pixels);
  adamStep(own, rate);
  return error / total.pixels;
};

export const mixNetwork = (K, random) => {
  const own = parameters({ logits: K, kernels: K * WEIGHTS }); // the logits begin at zero
  drawInto(own.value.kernels, BOUND, random);
  const [mixed, shares] = [new Float64Array(WEIGHTS), new Float64Array(K)];
  const kernel = (T) => {
    softmaxInto(shares, own.value.logits, 0, K, T);
    mixInto(mixed, own.value.kernels, shares, 0, K);
    return mixed; // the one kernel that it is
  };
  return { own, shares, kernel, slope: new Float64Array(WEIGHTS) };
};

export const mixStep = (network, total, T, rate) => {
  const { own, shares, slope } = network;
  const error = errorAndSlope(total, network.kernel(T), slope);
  scaled(slope, 2 / total.pixels);
  own.slope.kernels.fill(0);
  unmixInto(own.slope.kernels, own.slope.logits, own.value.kernels, slope, shares);
  throughSoftmax(own.slope.logits, shares, T);
  adamStep(own, rate);
  return error / total.pixels;
};

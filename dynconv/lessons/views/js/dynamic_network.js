// The dynamic convolution of lesson 05, with its gradient written out: a kernel for each image, mixed by attention.
//
//   image → instance norm → 16 filters 3 × 3, stride 2 → ReLU → mean → batch norm → 16 → ReLU → K logits → ÷ T → softmax → Σ πₖ wₖ
//
// Where a filter answers above zero its answer is linear: the sums of the pixels under its nine taps over those positions are all
// that the mean's gradient needs.

import { errorAndSlope, WEIGHTS } from "./gram.js";
import { BOUND, mixInto, softmaxInto, throughSoftmax, unmixInto } from "./kernels.js";
import { adamStep, drawInto, parameters } from "./parameters.js";

export const LOOK = 16; // filters it looks with, and numbers between
const [SIDE, STRIDE] = [3, 2];
const NINE = SIDE * SIDE;
const SUMS = NINE + 1; // and how many positions
const EPSILON = 1e-5; // of both norms

// a photo of mean 0 and standard deviation 1, as torch's InstanceNorm2d makes it
const instanceNorm = (image) => {
  const mean = image.reduce((sum, v) => sum + v, 0) / image.length;
  const variance = image.reduce((sum, v) => sum + (v - mean) ** 2, 0) / image.length;
  const scale = 1 / Math.sqrt(variance + EPSILON);
  return image.map((v) => (v - mean) * scale);
};

// What the filters see of a square image: at each position the nine pixels under them.
export const windows = (image, size) => {
  const normal = instanceNorm(image);
  const across = Math.floor((size - SIDE) / STRIDE) + 1;
  const out = new Float64Array(across * across * NINE);
  for (let y = 0, i = 0; y < across; y++) {
    for (let x = 0; x < across; x++) {
      const start = STRIDE * (y * size + x);
      for (let t = 0; t < NINE; t++, i++) out[i] = normal[start + Math.floor(t / SIDE) * size + (t % SIDE)];
    }
  }
  return out;
};

export const dynamicNetwork = (K, random, most) => {
  const sizes = { look: LOOK * NINE, lookBias: LOOK, gamma: LOOK, beta: LOOK, hidden: LOOK * LOOK };
  const own = parameters({ ...sizes, score: K * LOOK, scoreBias: K, kernels: K * WEIGHTS });
  for (const name of ["look", "lookBias"]) drawInto(own.value[name], 1 / 3, random);
  for (const name of ["hidden", "score", "scoreBias"]) drawInto(own.value[name], 1 / 4, random);
  drawInto(own.value.kernels, BOUND, random);
  own.value.gamma.fill(1);
  const room = (numbers) => new Float64Array(numbers); // for one batch
  return {
    K,
    own,
    running: { mean: room(LOOK), variance: room(LOOK).fill(1) },
    sums: room(most * LOOK * SUMS),
    where: [new Int32Array(0), new Int32Array(0)], // positions of one image
    means: room(most * LOOK),
    squeeze: room(most * LOOK), // after the batch norm
    deviation: room(LOOK),
    hidden: room(most * LOOK),
    logits: room(most * K),
    shares: room(most * K),
    kernel: room(WEIGHTS),
    slope: room(WEIGHTS),
    squeezeSlope: room(most * LOOK),
  };
};

// The mean answers of filters c and c + 1 on image b, after the ReLU: (v + |v|) / 2. Where one answers above zero, the beginnings of those
// positions in `seen` come into its `where`; how many is told. Nowhere a branch, which no processor could foresee.
const answers = ({ own, means, where }, c, b, seen) => {
  const [first, second] = where;
  const w = own.value.look.subarray(c * NINE, (c + 2) * NINE);
  const [bias, other] = own.value.lookBias.subarray(c, c + 2);
  let [count, twice, counted, doubled] = [0, 0, 0, 0];
  const [a1, a2, a3, a4, a5, a6, a7, a8, a9, b1, b2, b3, b4, b5, b6, b7, b8, b9] = w;
  for (let j = 0; j < seen.length; j += NINE) {
    const s1 = seen[j];
    const s2 = seen[j + 1];
    const s3 = seen[j + 2];
    const s4 = seen[j + 3];
    const s5 = seen[j + 4];
    const s6 = seen[j + 5];
    const s7 = seen[j + 6];
    const s8 = seen[j + 7];
    const s9 = seen[j + 8];
    const v = bias + (a1 * s1 + a2 * s2 + a3 * s3) + (a4 * s4 + a5 * s5 + a6 * s6) + (a7 * s7 + a8 * s8 + a9 * s9);
    const u = other + (b1 * s1 + b2 * s2 + b3 * s3) + (b4 * s4 + b5 * s5 + b6 * s6) + (b7 * s7 + b8 * s8 + b9 * s9);
    first[count] = j;
    count += Number(v > 0);
    twice += v + Math.abs(v);
    second[counted] = j;
    counted += Number(u > 0);
    doubled += u + Math.abs(u);
  }
  means[b * LOOK + c] = (twice * NINE) / (2 * seen.length);
  means[b * LOOK + c + 1] = (doubled * NINE) / (2 * seen.length);
  return [count, counted];
};

// The sums of the nine pixels at the first `count` positions of `where`, and how many they are.
const sumNine = (sums, i, seen, where, count) => {
  let [a, b, c, d, e, f, g, h, k] = [0, 0, 0, 0, 0, 0, 0, 0, 0];
  for (let p = 0; p < count; p++) {
    const j = where[p];
    a += seen[j];
    b += seen[j + 1];
    c += seen[j + 2];
    d += seen[j + 3];
    e += seen[j + 4];
    f += seen[j + 5];
    g += seen[j + 6];
    h += seen[j + 7];
    k += seen[j + 8];
  }
  sums.set([a, b, c, d, e, f, g, h, k, count], i);
};

// The mean answers of the 16 filters on image b of a batch; when it is learned from, the sums that the gradient needs, too.
const look = (network, b, seen, isLearning) => {
  if (network.where[0].length < seen.length / NINE)
    network.where = [0, 1].map(() => new Int32Array(seen.length / NINE));
  for (let c = 0; c < LOOK; c += 2) {
    const counts = answers(network, c, b, seen);
    for (let i = 0; i < 2 && isLearning; i++)
      sumNine(network.sums, (b * LOOK + c + i) * SUMS, seen, network.where[i], counts[i]);
  }
};

// Mean and variance of one channel over the batch; the running ones follow, as torch's do (momentum 0.1, variance by B − 1).
const statistics = ({ means, running }, c, B) => {
  let mean = 0;
  let variance = 0;
  for (let b = 0; b < B; b++) mean += means[b * LOOK + c] / B;
  for (let b = 0; b < B; b++) variance += (means[b * LOOK + c] - mean) ** 2 / B;
  running.mean[c] += 0.1 * (mean - running.mean[c]);
  running.variance[c] += 0.1 * ((variance * B) / (B - 1) - running.variance[c]);
  return { mean, variance };
};

// Batch norm in training; `means` becomes the normalised means.
const normalise = (network, B) => {
  const { means, squeeze, deviation, own } = network;
  const { gamma, beta } = own.value;
  for (let c = 0; c < LOOK; c++) {
    const { mean, variance } = statistics(network, c, B);
    deviation[c] = Math.sqrt(variance + EPSILON);
    for (let i = c; i < B * LOOK; i += LOOK) {
      means[i] = (means[i] - mean) / deviation[c];
      squeeze[i] = gamma[c] * means[i] + beta[c];
    }
  }
};

// Batch norm as trained.
const normaliseByRunning = ({ means, squeeze, running, own }) => {
  const { gamma, beta } = own.value;
  for (let c = 0; c < LOOK; c++) {
    const scale = gamma[c] / Math.sqrt(running.variance[c] + EPSILON);
    squeeze[c] = scale * (means[c] - running.mean[c]) + beta[c];
  }
};

// From the squeeze of image b to its logits, shares and kernel.
const decide = ({ K, own, squeeze, hidden, logits, shares, kernel }, b, T) => {
  const { value } = own;
  for (let j = 0; j < LOOK; j++) {
    let v = 0;
    for (let c = 0; c < LOOK; c++) v += value.hidden[j * LOOK + c] * squeeze[b * LOOK + c];
    hidden[b * LOOK + j] = Math.max(v, 0);
  }
  for (let k = 0; k < K; k++) {
    let v = value.scoreBias[k];
    for (let j = 0; j < LOOK; j++) v += value.score[k * LOOK + j] * hidden[b * LOOK + j];
    logits[b * K + k] = v;
  }
  softmaxInto(shares, logits, b * K, K, T);
  mixInto(kernel, value.kernels, shares, b * K, K);
};

// Backwards from the logits of image b to its squeeze; the two layers' slopes grow on the way.
const undecide = ({ own, squeeze, hidden, squeezeSlope }, b, towards) => {
  const { value, slope } = own;
  for (let k = 0; k < towards.length; k++) slope.scoreBias[k] += towards[k];
  for (let j = 0; j < LOOK; j++) {
    const h = hidden[b * LOOK + j];
    if (h === 0) continue; // below zero, the ReLU lets nothing through
    let v = 0;
    for (let k = 0; k < towards.length; k++) {
      slope.score[k * LOOK + j] += towards[k] * h;
      v += towards[k] * value.score[k * LOOK + j];
    }
    for (let c = 0; c < LOOK; c++) {
      slope.hidden[j * LOOK + c] += v * squeeze[b * LOOK + c];
      squeezeSlope[b * LOOK + c] += v * value.hidden[j * LOOK + c];
    }
  }
};

// Backwards through batch norm, mean, ReLU and the filter of channel c.
const unlook = ({ own, means, squeezeSlope, deviation, sums }, c, B, positions) => {
  const { value, slope } = own;
  for (let i = c; i < B * LOOK; i += LOOK) {
    slope.gamma[c] += squeezeSlope[i] * means[i];
    slope.beta[c] += squeezeSlope[i];
  }
  const scale = value.gamma[c] / deviation[c] / positions;
  for (let i = c; i < B * LOOK; i += LOOK) {
    const v = scale * (squeezeSlope[i] - (slope.beta[c] + means[i] * slope.gamma[c]) / B);
    for (let t = 0; t < NINE; t++) slope.look[c * NINE + t] += v * sums[i * SUMS + t];
    slope.lookBias[c] += v * sums[i * SUMS + NINE];
  }
};

// Image b's kernel, its error, and what it says about all parameters behind the squeeze.
const learnFrom = (network, b, form, T, scale) => {
  const { K, own, kernel, slope, shares } = network;
  decide(network, b, T);
  const error = errorAndSlope(form, kernel, slope);
  for (let i = 0; i < WEIGHTS; i++) slope[i] *= scale;
  const [mine, towards] = [shares.subarray(b * K, (b + 1) * K), new Float64Array(K)];
  unmixInto(own.slope.kernels, towards, own.value.kernels, slope, mine);
  throughSoftmax(towards, mine, T);
  undecide(network, b, towards);
  return error;
};

// One step on a batch of patches, each {seen, form}: the mean squared error before it.
export const dynamicStep = (network, batch, T, rate) => {
  const { own, squeezeSlope } = network;
  const pixels = batch.length * batch[0].form.pixels;
  batch.forEach(({ seen }, b) => look(network, b, seen, true));
  normalise(network, batch.length);
  own.slope.all.fill(0);
  squeezeSlope.fill(0);
  const errors = batch.map(({ form }, b) => learnFrom(network, b, form, T, 2 / pixels));
  const positions = batch[0].seen.length / NINE;
  for (let c = 0; c < LOOK; c++) unlook(network, c, batch.length, positions);
  adamStep(own, rate);
  return errors.reduce((sum, v) => sum + v, 0) / pixels;
};

// What the trained layer makes of one image: squeeze, logits, shares and kernel, at the beginning of the network's room.
export const attend = (network, seen, T) => {
  look(network, 0, seen, false);
  normaliseByRunning(network);
  decide(network, 0, T);
  return network;
};

// Three networks that train side by side on the same batches: plain convolution, softmax mix, dynamic convolution.

import { cut, patches, SIZE, standardised, TASKS } from "./degradations.js";
import { attend, dynamicNetwork, dynamicStep, windows } from "./dynamic_network.js";
import { mixNetwork, mixStep, plainNetwork, plainStep } from "./fixed_network.js";
import { EDGE, emptySum, leastSquares, meanError, quadratic, sumInto } from "./gram.js";
import { decodeBytes, mean } from "./mathematics.js";
import { generator } from "./random.js";

const LARGEST = 32; // batch
export const HOTTEST = 30; // T, where cooling begins
export const LAST = 3000; // steps of a run; the learning rate falls until then
const COOLING = 800; // steps until T is 1
export const PATCHES = { train: 24, held: 16 }; // of each photo and damage
export const SEEDS = { train: 11, held: 12, batches: 1000 };

// pure: T at a step, while it cools
export const cooled = (step) => Math.max(1, HOTTEST - ((HOTTEST - 1) * step) / COOLING);

// pure: what of the learning rate is left at a step: a half cosine down to a fiftieth
export const left = (step) => 0.02 + 0.49 * (1 + Math.cos(Math.PI * Math.min(1, step / LAST)));

const photosOf = (texts) => texts.map((text) => standardised(decodeBytes(text)));

const ready = ({ given, wanted, kind }) => {
  const inner = cut(wanted, SIZE, EDGE, EDGE, SIZE - 2 * EDGE);
  return { kind, seen: windows(given, SIZE), form: quadratic(given, inner, SIZE) };
};

const formsOf = (set, kind) => set.filter((one) => kind === undefined || one.kind === kind).map((one) => one.form);

const summed = (set, kind) => sumInto(emptySum(), formsOf(set, kind));

// Patches, all of them as if they were one, and the two lines to compare with: the errors on them of one filter for all, and of
// one for each damage, found by least squares on the patches to train on.
const sideOf = (set, train, kinds) => {
  const error = (kind) => meanError(summed(set, kind), leastSquares(summed(train, kind)));
  return { patches: set, sum: summed(set), references: { one: error(), each: mean(kinds.map(error)) } };
};

// pure: all that training needs of a task; `photos` are {train, held, size}, the pixels of the square photos as base64
export const prepared = (photos, task) => {
  const damages = Object.values(TASKS[task]);
  const [train, held] = ["train", "held"].map((side) =>
    patches(photosOf(photos[side]), photos.size, damages, PATCHES[side], SEEDS[side]).map(ready),
  );
  const kinds = damages.map((_, k) => k);
  return { kinds, train: sideOf(train, train, kinds), held: sideOf(held, train, kinds) };
};

const networks = (K, seed) => ({
  plain: plainNetwork(generator(seed)),
  mix: mixNetwork(K, generator(seed)),
  dynamic: dynamicNetwork(K, generator(seed), LARGEST),
});

// Mean error of the dynamic layer on patches, as trained, and its mean attention by damage.
const evaluate = (network, set, kinds, T) => {
  let error = 0;
  const attention = kinds.map(() => new Array(network.K).fill(0));
  for (const { kind, seen, form } of set) {
    attend(network, seen, T);
    error += meanError(form, network.kernel) / set.length;
    for (let k = 0; k < network.K; k++) attention[kind][k] += (network.shares[k] * kinds.length) / set.length;
  }
  return { error, attention };
};

// Mean errors on one side's patches, attention by damage and T: one point of the curves.
const measured = ({ nets, step, T }, side, kinds) => {
  const { error, attention } = evaluate(nets.dynamic, side.patches, kinds, T);
  const [plain, mix] = [nets.plain, nets.mix].map((one) => meanError(side.sum, one.kernel(T)));
  return { step, T, plain, mix, dynamic: error, attention };
};

// What is drawn of the three networks: copies, for training goes on.
const drawn = ({ plain, mix, dynamic }, T) => ({
  plain: plain.kernel(T).slice(),
  mix: mix.kernel(T).slice(),
  dynamic: { K: dynamic.K, value: dynamic.own.value.all.slice(), running: structuredClone(dynamic.running) },
});

// A run from step 0: `now` holds its networks, step and T. Settings are {temperature, cooling, num_kernels, learning_rate, seed,
// batch_size}; all but num_kernels and seed can change on the way.
export const trainer = (data, first) => {
  let settings = first;
  const train = data.train.patches;
  const random = generator(SEEDS.batches + first.seed);
  const total = emptySum();
  const now = { nets: networks(first.num_kernels, first.seed), step: 0, T: 0 };
  const heat = () => {
    now.T = settings.cooling ? cooled(now.step) : settings.temperature;
  };
  heat();
  const rate = () => settings.learning_rate * left(now.step);
  const step = () => {
    const batch = Array.from({ length: settings.batch_size }, () => train[random.below(train.length)]);
    sumInto(
      total,
      batch.map((one) => one.form),
    );
    plainStep(now.nets.plain, total, rate());
    mixStep(now.nets.mix, total, now.T, rate());
    dynamicStep(now.nets.dynamic, batch, now.T, rate());
    now.step += 1;
    heat();
  };
  const set = (changed) => {
    settings = changed;
    heat();
  };
  const measure = (side = "held") => ({ ...measured(now, data[side], data.kinds), rate: rate() });
  return { now, step, set, measure, drawn: () => drawn(now.nets, now.T) };
};

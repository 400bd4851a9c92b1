// Small mathematics on plain arrays, checked against torch by the tests.

export const decodeBytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

// arrays travel as base64 of little-endian float32
export const decode = (text) => new Float32Array(decodeBytes(text).buffer);

// what Python sent, the named arrays in it decoded: one, a list of them, or none at all
export const decoded = (raw, ...names) => {
  const any = (value) => (Array.isArray(value) ? value.map(any) : value && decode(value));
  return { ...raw, ...Object.fromEntries(names.map((name) => [name, any(raw[name])])) };
};

// of many arrays of `size` numbers that lie one after the other, the one at place i
export const part = (array, i, size) => array.subarray(i * size, (i + 1) * size);

export const sum = (values) => values.reduce((a, b) => a + b, 0);

export const mean = (values) => sum(values) / values.length;

export const softmax = (logits, temperature) => {
  const top = Math.max(...logits);
  const powers = logits.map((z) => Math.exp((z - top) / temperature));
  const all = sum(powers);
  return powers.map((p) => p / all);
};

// exp(entropy): how many kernels are really in use, between 1 and K
export const effectiveNumber = (weights) => Math.exp(-sum(weights.map((w) => (w > 0 ? w * Math.log(w) : 0))));

// stack holds K arrays of `size` numbers one after the other
export const mix = (stack, weights, size, start = 0) => {
  const out = new Float32Array(size);
  weights.forEach((w, k) => {
    const offset = start + k * size;
    for (let i = 0; i < size; i++) out[i] += w * stack[offset + i];
  });
  return out;
};

// the sums of products of a kernel with four neighbouring patches of rows that are `wide`; one by one it takes twice as long
const fourSums = (padded, first, wide, kernel, size) => {
  let [a, b, c, d, tap] = [0, 0, 0, 0, 0];
  for (let i = 0; i < size; i++) {
    const start = first + i * wide;
    for (let p = start; p < start + size; p++) {
      const w = kernel[tap++];
      a += padded[p] * w;
      b += padded[p + 1] * w;
      c += padded[p + 2] * w;
      d += padded[p + 3] * w;
    }
  }
  return [a, b, c, d];
};

// cross-correlation with zero padding, "same" size: what torch calls conv2d. What a row has too much of, the next one writes over.
export const conv2d = (image, height, width, kernel, size) => {
  const pad = size >> 1;
  const wide = width + 2 * pad + 3;
  const padded = new Float32Array(wide * (height + 2 * pad));
  for (let y = 0; y < height; y++) padded.set(image.subarray(y * width, (y + 1) * width), (y + pad) * wide + pad);
  const out = new Float32Array(height * width + 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x += 4) {
      const at = y * width + x;
      [out[at], out[at + 1], out[at + 2], out[at + 3]] = fourSums(padded, y * wide + x, wide, kernel, size);
    }
  }
  return out.subarray(0, height * width);
};

export const range = (array) => {
  let low = Infinity;
  let high = -Infinity;
  for (const v of array) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return [low, high];
};

export const largestDifference = (a, b) => a.reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i])), 0);

// the mean of the squared differences
export const errorOf = (a, b) => a.reduce((total, v, i) => total + (v - b[i]) ** 2, 0) / a.length;

export const indexOfMax = (array) => array.reduce((best, v, i) => (v > array[best] ? i : best), 0);

export const largestSize = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);

// the lowest and the highest of many arrays
export const rangeOfAll = (arrays) => range(arrays.flatMap((array) => range(array)));

// onto 0 … 1, as pictures take it
export const scaled = (array, [low, high]) => {
  const out = array.slice();
  const reach = high - low || 1;
  for (let i = 0; i < out.length; i++) out[i] = (out[i] - low) / reach; // `map` takes ten times as long
  return out;
};

export const between = (v, low, high) => Math.max(low, Math.min(high, v));

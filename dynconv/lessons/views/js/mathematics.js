// Small mathematics on plain arrays, checked against torch by the tests, and numbers as words.

export const decode = (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer); // arrays travel as base64 of little-endian float32
};

export const softmax = (logits, temperature) => {
  const top = Math.max(...logits);
  const powers = logits.map((z) => Math.exp((z - top) / temperature));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
};

// exp(entropy): how many kernels are really in use, between 1 and K
export const effectiveNumber = (weights) => Math.exp(-weights.reduce((s, w) => s + (w > 0 ? w * Math.log(w) : 0), 0));

// stack holds K arrays of `size` numbers one after the other
export const mix = (stack, weights, size, start = 0) => {
  const out = new Float32Array(size);
  weights.forEach((w, k) => {
    const offset = start + k * size;
    for (let i = 0; i < size; i++) out[i] += w * stack[offset + i];
  });
  return out;
};

// cross-correlation with zero padding, "same" size: what torch calls conv2d
export const conv2d = (image, height, width, kernel, size) => {
  const pad = size >> 1, wide = width + 2 * pad;
  const padded = new Float32Array(wide * (height + 2 * pad));
  for (let y = 0; y < height; y++) padded.set(image.subarray(y * width, (y + 1) * width), (y + pad) * wide + pad);
  const out = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let i = 0; i < size; i++) {
        const row = (y + i) * wide + x;
        for (let j = 0; j < size; j++) sum += padded[row + j] * kernel[i * size + j];
      }
      out[y * width + x] = sum;
    }
  }
  return out;
};

export const range = (array) => {
  let low = Infinity, high = -Infinity;
  for (const v of array) { if (v < low) low = v; if (v > high) high = v; }
  return [low, high];
};

export const largestDifference = (a, b) => a.reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i])), 0);

export const indexOfMax = (array) => array.reduce((best, v, i) => (v > array[best] ? i : best), 0);

export const sum = (values) => values.reduce((a, b) => a + b, 0);

// ---------------------------------------------------------------- words

export const percent = (w) => `${(100 * w).toFixed(w > 0 && w < 0.0995 ? 1 : 0)} %`;

export const number = (v) => (v >= 10 ? v.toFixed(0) : v >= 1 ? v.toFixed(1) : v.toFixed(2));

export const signed = (v) => `${v < 0 ? "−" : "+"}${number(Math.abs(v))}`;

// so many decimals, a real minus sign, and no minus before zero
export const fixed = (v, digits) => (Math.abs(v) < 0.5 / 10 ** digits ? 0 : v).toFixed(digits).replace("-", "−");

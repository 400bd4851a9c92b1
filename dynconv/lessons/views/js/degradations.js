// What happens to photos before a network sees them: tasks of four damages each, and patches of damaged photos.

import { generator } from "./random.js";

export const SIZE = 24; // pixels of a patch, across and down

const mirrored = (i, n) => {
  if (i < 0) return -i;
  return i < n ? i : 2 * n - 2 - i;
};

// The mean over height × width pixels around each pixel of an n × n photo; beyond its edges it is mirrored.
const blur = (photo, n, height, width) => {
  const out = new Float64Array(n * n);
  const rows = Array.from({ length: height }, (_, i) => i - (height >> 1));
  const columns = Array.from({ length: width }, (_, j) => j - (width >> 1));
  for (let y = 0; y < n; y++) {
    for (let x = 0; x < n; x++) {
      let sum = 0;
      for (const i of rows) for (const j of columns) sum += photo[mirrored(y + i, n) * n + mirrored(x + j, n)];
      out[y * n + x] = sum / (height * width);
    }
  }
  return out;
};

const noisy = (photo, std, random) => photo.map((v) => v + std * random.normal());

const moved = (photo, n, down, right) =>
  photo.map((_, i) => photo[mirrored(Math.floor(i / n) - down, n) * n + mirrored((i % n) - right, n)]);

// task → damage → what it makes of an n × n photo of standard deviation 1. `damages` are those of DEGRADATIONS in Python.
// `shifts` leave no trace in the image that says which it was: there, choosing would help, and nobody can choose.
export const TASKS = {
  damages: {
    "horizontal blur": (photo, n) => blur(photo, n, 1, 7),
    "vertical blur": (photo, n) => blur(photo, n, 7, 1),
    "strong noise": (photo, _, random) => noisy(photo, 0.8, random),
    "box blur, weak noise": (photo, n, random) => noisy(blur(photo, n, 3, 3), 0.1, random),
  },
  shifts: {
    "moved left": (photo, n) => moved(photo, n, 0, -2),
    "moved right": (photo, n) => moved(photo, n, 0, 2),
    "moved up": (photo, n) => moved(photo, n, -2, 0),
    "moved down": (photo, n) => moved(photo, n, 2, 0),
  },
};

// bytes as a photo of mean 0 and standard deviation 1
export const standardised = (bytes) => {
  const photo = Float64Array.from(bytes);
  const mean = photo.reduce((sum, v) => sum + v, 0) / photo.length;
  const variance = photo.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (photo.length - 1);
  return photo.map((v) => (v - mean) / Math.sqrt(variance));
};

// of an n × n photo, the size × size pixels from (top, left) on
export const cut = (photo, n, top, left, size) => {
  const out = new Float64Array(size * size);
  for (let r = 0; r < size; r++) {
    const start = (top + r) * n + left;
    out.set(photo.subarray(start, start + size), r * size);
  }
  return out;
};

// `each` patches of every photo with every damage: what is given, what is wanted, and the number of the damage.
export const patches = (photos, n, damages, each, seed) => {
  const random = generator(seed);
  const place = () => random.below(n - SIZE + 1);
  const found = [];
  for (const photo of photos) {
    damages.forEach((damage, kind) => {
      const damaged = damage(photo, n, random);
      for (let e = 0; e < each; e++) {
        const [top, left] = [place(), place()];
        found.push({ given: cut(damaged, n, top, left, SIZE), wanted: cut(photo, n, top, left, SIZE), kind });
      }
    });
  }
  return found;
};

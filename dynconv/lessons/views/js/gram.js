// The squared error of a 9 × 9 filter with a bias on a patch, without convolving: a quadratic form in the filter.
//
//   Σ (x * w − y)²  =  wᵀ G w − 2 wᵀ m + e        with w: 81 taps and the bias, G = Σ c cᵀ, m = Σ c y, e = Σ y²
//
// where c are the 81 pixels under the filter and a one, at each position that it reaches without padding. G, m and e are
// computed once a patch; half the gradient is G w − m: exact, for a sixth of the multiplications. G is symmetric: its lower
// triangle is kept, row after row.

export const KERNEL = 9;
export const TAPS = KERNEL * KERNEL;
export const WEIGHTS = TAPS + 1; // and the bias
export const EDGE = KERNEL >> 1; // what a filter does not reach
const TRIANGLE = (WEIGHTS * (WEIGHTS + 1)) / 2;

const place = (row, column) => (row * (row + 1)) / 2 + column; // in the triangle

// Sums of an image over every rectangle from the upper left corner on, with a row and a column of zeros before it.
const integral = (image, size) => {
  const width = size + 1;
  const out = new Float64Array(width * width);
  for (let y = 0; y < size; y++) {
    let row = 0;
    for (let x = 0; x < size; x++) {
      row += image[y * size + x];
      out[(y + 1) * width + x + 1] = out[y * width + x + 1] + row;
    }
  }
  return out;
};

// the sum over the reach × reach pixels from (y, x) on
const boxSum = (sums, size, y, x, reach) => {
  const upper = y * (size + 1) + x;
  const lower = upper + reach * (size + 1);
  return sums[lower + reach] - sums[upper + reach] - sums[lower] + sums[upper];
};

// each pixel times the one that lies (down, right) from it; zero where there is none
const products = (image, size, down, right) => {
  const out = new Float64Array(size * size);
  for (let y = 0; y < size - down; y++) {
    const row = y * size;
    const other = row + down * size + right;
    for (let x = Math.max(0, -right); x < size - Math.max(0, right); x++)
      out[row + x] = image[row + x] * image[other + x];
  }
  return out;
};

// What all pairs of taps (down, right) apart add up to: one product image serves them all.
const pairs = (gram, image, size, down, right) => {
  const sums = integral(products(image, size, down, right), size);
  for (let i = 0; i + down < KERNEL; i++) {
    for (let j = Math.max(0, -right); j < KERNEL - Math.max(0, right); j++) {
      const p = i * KERNEL + j;
      gram[place(p + down * KERNEL + right, p)] = boxSum(sums, size, i, j, size - KERNEL + 1);
    }
  }
};

// the last row: pixels times the one that the bias meets
const withBias = (gram, image, size) => {
  const reach = size - KERNEL + 1;
  const sums = integral(image, size);
  for (let p = 0; p < TAPS; p++) {
    gram[place(TAPS, p)] = boxSum(sums, size, Math.floor(p / KERNEL), p % KERNEL, reach);
  }
  gram[place(TAPS, TAPS)] = reach * reach;
};

const gramOf = (image, size) => {
  const gram = new Float64Array(TRIANGLE);
  for (let down = 0; down < KERNEL; down++) {
    for (let right = down ? 1 - KERNEL : 0; right < KERNEL; right++) pairs(gram, image, size, down, right);
  }
  withBias(gram, image, size);
  return gram;
};

// what each pixel under the filter, and the one, have to do with the target
const momentOf = (image, target, size) => {
  const reach = size - KERNEL + 1;
  const moment = new Float64Array(WEIGHTS);
  for (let p = 0; p < TAPS; p++) {
    const start = Math.floor(p / KERNEL) * size + (p % KERNEL);
    for (let y = 0; y < reach; y++) {
      for (let x = 0; x < reach; x++) moment[p] += target[y * reach + x] * image[start + y * size + x];
    }
  }
  moment[TAPS] = target.reduce((sum, v) => sum + v, 0);
  return moment;
};

// G, m and e of one patch, and over how many pixels they sum; `target` are the pixels that a filter reaches.
export const quadratic = (image, target, size) => ({
  gram: gramOf(image, size),
  moment: momentOf(image, target, size),
  energy: target.reduce((sum, v) => sum + v * v, 0),
  pixels: target.length,
});

// The sum of squared errors of the filter w; half its gradient goes into `slope`. Two rows of the triangle at a time (82 are even).
export const errorAndSlope = ({ gram, moment, energy }, w, slope) => {
  for (let a = 0, i = 0; a < WEIGHTS; a += 2) {
    const j = i + a + 1; // the second row
    const w0 = w[a];
    const w1 = w[a + 1];
    let v0 = 0;
    let v1 = 0;
    for (let b = 0; b < a; b++) {
      const g0 = gram[i + b];
      const g1 = gram[j + b];
      const wb = w[b];
      v0 += g0 * wb;
      v1 += g1 * wb;
      slope[b] += g0 * w0 + g1 * w1;
    }
    const d0 = gram[i + a];
    const c = gram[j + a];
    const d1 = gram[j + a + 1];
    slope[a] = v0 - moment[a] + d0 * w0 + c * w1;
    slope[a + 1] = v1 - moment[a + 1] + c * w0 + d1 * w1;
    i = j + a + 2;
  }
  let error = energy;
  for (let a = 0; a < WEIGHTS; a++) error += w[a] * (slope[a] - moment[a]);
  return error;
};

// The mean squared error alone.
export const meanError = ({ gram, moment, energy, pixels }, w) => {
  let error = energy;
  for (let a = 0, i = 0; a < WEIGHTS; a += 2) {
    const j = i + a + 1; // the second row
    let v0 = -moment[a];
    let v1 = -moment[a + 1];
    for (let b = 0; b < a; b++) {
      v0 += gram[i + b] * w[b];
      v1 += gram[j + b] * w[b];
    }
    error += w[a] * (2 * v0 + gram[i + a] * w[a]);
    error += w[a + 1] * (2 * (v1 + gram[j + a] * w[a]) + gram[j + a + 1] * w[a + 1]);
    i = j + a + 2;
  }
  return error / pixels;
};

// an empty sum to add to, kept from step to step
export const emptySum = () => ({
  gram: new Float64Array(TRIANGLE),
  moment: new Float64Array(WEIGHTS),
  energy: 0,
  pixels: 0,
});

const addFour = (total, [one, two, three, four]) => {
  for (const name of ["gram", "moment"]) {
    const sum = total[name];
    const [a, b, c, d] = [one[name], two[name], three[name], four[name]];
    for (let i = 0; i < sum.length; i++) sum[i] += a[i] + b[i] + (c[i] + d[i]);
  }
  for (const name of ["energy", "pixels"]) total[name] += one[name] + two[name] + three[name] + four[name];
};

const NOTHING = emptySum();

// Many patches as if they were one, into `total`; four at once, for less of the way to memory.
export const sumInto = (total, forms) => {
  Object.assign(total, { energy: 0, pixels: 0 });
  total.gram.fill(0);
  total.moment.fill(0);
  for (let f = 0; f < forms.length; f += 4)
    addFour(
      total,
      [0, 1, 2, 3].map((i) => forms[f + i] ?? NOTHING),
    );
  return total;
};

// The lower triangle L with L Lᵀ = G (Cholesky).
const root = (gram) => {
  const L = new Float64Array(TRIANGLE);
  for (let a = 0; a < WEIGHTS; a++) {
    for (let b = 0; b <= a; b++) {
      let v = gram[place(a, b)];
      for (let k = 0; k < b; k++) v -= L[place(a, k)] * L[place(b, k)];
      L[place(a, b)] = a === b ? Math.sqrt(v) : v / L[place(b, b)];
    }
  }
  return L;
};

// The filter with the least squared error: G w = m.
export const leastSquares = ({ gram, moment }) => {
  const L = root(gram);
  const w = Float64Array.from(moment);
  for (let a = 0; a < WEIGHTS; a++) {
    for (let k = 0; k < a; k++) w[a] -= L[place(a, k)] * w[k];
    w[a] /= L[place(a, a)];
  }
  for (let a = WEIGHTS - 1; a >= 0; a--) {
    for (let k = a + 1; k < WEIGHTS; k++) w[a] -= L[place(k, a)] * w[k];
    w[a] /= L[place(a, a)];
  }
  return w;
};

// A network's parameters as one array with named parts, their gradient beside them, and Adam.
//
// Kingma and Ba, https://arxiv.org/abs/1412.6980, as torch.optim.Adam has it.

// The parts' views of one array; `sizes` is {name: numbers}.
const parted = (sizes) => {
  const all = new Float64Array(Object.values(sizes).reduce((sum, size) => sum + size, 0));
  let start = 0;
  const parts = Object.entries(sizes).map(([name, size]) => {
    start += size;
    return [name, all.subarray(start - size, start)];
  });
  return { all, ...Object.fromEntries(parts) };
};

export const parameters = (sizes) => ({
  value: parted(sizes),
  slope: parted(sizes),
  mean: parted(sizes).all,
  square: parted(sizes).all,
  steps: 0,
});

// even numbers between -bound and bound, as torch draws the first weights of a layer
export const drawInto = (part, bound, random) => part.forEach((_, i) => (part[i] = bound * (2 * random.uniform() - 1)));

export const adamStep = (own, rate) => {
  own.steps += 1;
  const { mean, square, steps } = own;
  const [value, slope] = [own.value.all, own.slope.all];
  const length = rate / (1 - 0.9 ** steps);
  const correction = Math.sqrt(1 - 0.999 ** steps);
  for (let i = 0; i < value.length; i++) {
    const g = slope[i];
    mean[i] += 0.1 * (g - mean[i]);
    square[i] = 0.999 * square[i] + 0.001 * g * g;
    value[i] -= (length * mean[i]) / (Math.sqrt(square[i]) / correction + 1e-8);
  }
};

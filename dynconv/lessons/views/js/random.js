// Random numbers out of a seed, the same in every browser: mulberry32, and normal numbers made of pairs of them (Box and Muller).

export const generator = (seed) => {
  let state = seed >>> 0;
  let spare = null;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    const a = Math.imul(state ^ (state >>> 15), state | 1);
    const b = (a + Math.imul(a ^ (a >>> 7), a | 61)) ^ a;
    return ((b ^ (b >>> 14)) >>> 0) / 2 ** 32;
  };
  const pair = () => {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  };
  const normal = () => {
    if (spare === null) {
      const [first, second] = pair();
      spare = second;
      return first;
    }
    const kept = spare;
    spare = null;
    return kept;
  };
  return { uniform, normal, below: (n) => Math.floor(n * uniform()) };
};

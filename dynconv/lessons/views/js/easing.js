// Values that go from what is shown to what is given, so that the eye can follow.

const DURATION = 220; // milliseconds

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// pure: the share u of the way from a to b; what is new, or has another shape, is there at once
export const onTheWay = (a, b, u) => {
  if (a === b || a === undefined) return b;
  if (typeof b === "number") return a + u * (b - a);
  return a.length === b.length ? b.map((v, i) => onTheWay(a[i], v, u)) : b;
};

const allOnTheWay = (from, to, u) =>
  Object.fromEntries(Object.entries(to).map(([name, value]) => [name, onTheWay(from[name], value, u)]));

// `show` gets all values, again and again while they are on their way; with reduced motion they are there at once.
export const easing = (show) => {
  let shown = {};
  let frame = 0;
  const put = (values) => {
    shown = values;
    show(shown);
  };
  const glide = (from, to) => {
    const began = performance.now();
    const step = (now) => {
      const t = Math.min(1, Math.max(0, (now - began) / DURATION));
      put(t < 1 ? allOnTheWay(from, to, t * t * (3 - 2 * t)) : to);
      if (t < 1) frame = requestAnimationFrame(step);
    };
    frame = requestAnimationFrame(step);
  };
  const to = (given, smooth) => {
    cancelAnimationFrame(frame);
    const target = { ...shown, ...given };
    if (smooth && !still()) glide(shown, target);
    else put(target);
  };
  return { to, again: () => show(shown), stop: () => cancelAnimationFrame(frame) };
};

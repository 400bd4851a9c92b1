// What this browser remembers of a learner: the lessons read to their end, and the bets. It stands in one place, under a name
// and a version of its own. Where a browser keeps nothing, or something else stands there, no page stops.

const KEY = "dynconv progress";
const VERSION = 1;

const isOurs = (kept) => kept?.version === VERSION && [kept.read, kept.bets].every((part) => part instanceof Object);

// {read: {page: true}, bets: {name: {option, right}}}
export const remembered = () => {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    if (isOurs(kept)) return kept;
  } catch {
    // not ours, or a browser that keeps nothing
  }
  return { version: VERSION, read: {}, bets: {} };
};

// One entry of a part; undefined strikes it out.
export const remember = (part, name, value) => {
  const kept = remembered();
  kept[part][name] = value;
  try {
    localStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // it is not remembered then
  }
};

export const forgetAll = () => {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // there is nothing to forget then
  }
};

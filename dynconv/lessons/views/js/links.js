// A link to the state of an instrument: written short, and read as what it is, text from anywhere.

const LONGEST = 4000;

// pure: the hash of a page's address that holds these values
export const stateLink = (name, state) => {
  const short = (_, v) => (typeof v === "number" ? Number(v.toPrecision(6)) : v);
  return `#dc.${name}=${encodeURIComponent(JSON.stringify(state, short)).replaceAll("%2C", ",").replaceAll("%3A", ":")}`;
};

const parsed = (text) => {
  try {
    const value = text.length > LONGEST ? null : JSON.parse(decodeURIComponent(text));
    return value && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null; // no JSON, or a % that encodes nothing
  }
};

// pure: of a state from anywhere, the values that the controls can take, and the names that mean nothing here.
// `controls` maps a name to {valid}.
export const fitting = (state, controls) => {
  const fits = ([key, value]) => Object.hasOwn(controls, key) && controls[key].valid(value) === true;
  const entries = Object.entries(state);
  const good = entries.filter(fits);
  const ignored = entries.filter((one) => !good.includes(one)).map(([key]) => key.slice(0, 30));
  return { values: Object.fromEntries(good), ignored };
};

// pure: what a hash holds for the instrument `name`, as above; null if it is not about this instrument.
export const readLink = (hash, name, controls) => {
  const start = `#dc.${name}=`;
  if (!hash.startsWith(start)) return null;
  const state = parsed(hash.slice(start.length));
  return state ? fitting(state, controls) : { values: {}, ignored: ["all of it"] };
};

// in words; of many ignored names the first few
export const ignoredInWords = ({ ignored }, where) => {
  if (!ignored.length) return "";
  const more = ignored.length > 3 ? ` and ${ignored.length - 3} more` : "";
  return `Ignored in ${where}, because it does not fit: ${ignored.slice(0, 3).join(", ")}${more}.`;
};

export const linkInWords = (read) => {
  const taken = Object.keys(read.values);
  const said = taken.length ? `From the address: ${taken.join(", ")}.` : "";
  return [said, ignoredInWords(read, "the address")].filter(Boolean).join(" ");
};

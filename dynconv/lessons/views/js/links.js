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

// pure: what a hash holds for the instrument `name`: valid values, and the names that mean nothing here.
// Null if it is not about this instrument; `controls` maps a name to {valid}.
export const readLink = (hash, name, controls) => {
  const start = `#dc.${name}=`;
  if (!hash.startsWith(start)) return null;
  const state = parsed(hash.slice(start.length));
  if (!state) return { values: {}, ignored: ["all of it"] };
  const fits = ([key, value]) => Object.hasOwn(controls, key) && controls[key].valid?.(value) === true;
  const entries = Object.entries(state), good = entries.filter(fits);
  return { values: Object.fromEntries(good), ignored: entries.filter((one) => !good.includes(one)).map(([key]) => key.slice(0, 30)) };
};

// in words; of many ignored names the first few
export const linkInWords = ({ values, ignored }) => {
  const taken = Object.keys(values), more = ignored.length > 3 ? ` and ${ignored.length - 3} more` : "";
  return [
    taken.length ? `From the address: ${taken.join(", ")}.` : "",
    ignored.length ? `Ignored in the address, because it does not fit: ${ignored.slice(0, 3).join(", ")}${more}.` : "",
  ].filter(Boolean).join(" ");
};

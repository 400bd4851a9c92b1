// Numbers as words.

export const percent = (w) => `${(100 * w).toFixed(w > 0 && w < 0.0995 ? 1 : 0)} %`;

export const number = (v) => {
  if (v >= 10) return v.toFixed(0);
  return v.toFixed(v >= 1 ? 1 : 2);
};

export const whole = (v) => v.toFixed(0);

export const signed = (v) => `${v < 0 ? "−" : "+"}${number(Math.abs(v))}`;

export const realMinus = (text) => text.replace(/^-/, "−");

// so many decimals, a real minus sign, and no minus before zero
export const fixed = (v, digits) => realMinus((Math.abs(v) < 0.5 / 10 ** digits ? 0 : v).toFixed(digits));

// 1234567 → "1.2 M"
export const amount = (v) => {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(v, 1)) / 3)));
  const scaled = v / 1000 ** power;
  return `${scaled.toFixed(power && scaled < 100 ? 1 : 0)}${["", " k", " M", " G", " T"][power]}`;
};

// Elements: made in one call, and written only where something changes.

// every instrument loads a module of its own: ids must differ between modules too
const family = Math.random().toString(36).slice(2);
let serial = 0;
export const uniqueId = (kind) => `dc-${kind}-${family}-${++serial}`;

// Attributes, words and classes written only where they change: the browser lays out or paints again whatever is written.
export const setAttributes = (node, attributes) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }
};

const fill = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else setAttributes(node, { [name]: value });
  }
  node.append(...children);
  return node;
};

export const element = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// The SVG of a chart, its inside from (x, y) on. A sheet that nobody sees, with a margin for thick lines, keeps the size of what
// is painted when lines move: a change of it would make the browser sort all layers of the page anew.
export const sheet = ([x, y, width, height], attributes, ...children) => {
  const left = x - 0.04 * width;
  const top = y - 0.04 * height;
  const paper = { x: left, y: top, width: 1.08 * width, height: 1.08 * height, fill: "transparent" };
  const viewBox = `${x} ${y} ${width} ${height}`;
  return svg("svg", { viewBox, ...attributes }, svg("rect", paper), ...children);
};

export const say = (node, text) => {
  if (node.textContent === text) return;
  const [only, ...more] = node.childNodes;
  if (only?.nodeType === Node.TEXT_NODE && !more.length)
    only.data = text; // nothing is taken out and put in
  else node.textContent = text;
};
export const dress = (node, className) => {
  if (node.className !== className) node.className = className;
};

// What a control of our own tells, as native ones do: "input" while it moves, "change" once it stays. It bubbles up to the
// instrument, which listens there for all of its controls.
export const emit = (node, type) => node.dispatchEvent(new Event(type, { bubbles: true }));

// JupyterLab and Notebook 7 leave the arrow keys alone where the focused element itself says so
export const OWN_KEYS = { "data-lm-suppress-shortcuts": "true" };

// each kernel has a colour (Okabe-Ito) and a hatch, so that colour is never the only sign
export const kernelMark = (k, className = "dc-mark") =>
  element("span", { class: `${className} dc-k${k % 8}`, "aria-hidden": "true" });

export const captioned = (node, ...caption) =>
  element("figure", { class: "dc-figure" }, node, element("figcaption", {}, ...caption));

export const row = (className, ...children) => element("div", { class: `dc-row ${className}`.trim() }, ...children);

export const button = (label, pressed) =>
  element("button", { type: "button", class: "dc-button", onclick: pressed }, label);

// Draws again only when what is given has another key.
export const whenNew = (keyOf, draw) => {
  let drawn;
  return (...given) => {
    const key = keyOf(...given);
    if (key !== drawn) draw(...given);
    drawn = key;
  };
};

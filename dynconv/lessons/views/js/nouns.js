// The nouns of a diagram: what stands in it. Each is made from its part of the spec and is {node, ports, set}: the element that
// goes into the page, the elements at which wires and ribbons end, and what shows a value. A wire leaves a column behind its
// numbers, at `leaves`. Heads of columns and pictures have
// a title and a note, which can be written anew.

import { showPart, signedBar } from "./bars.js";
import { element, kernelMark, say, setAttributes, svg } from "./elements.js";
import { photograph, picture as arrayPicture } from "./pictures.js";
import { fixed, percent } from "./words.js";

// What stands above a noun. A picture's name for those who do not see it is both.
const words = ({ title = "", note = "" }) => {
  const texts = { title: element("span", { class: "dc-name" }), note: element("span", { class: "dc-remark" }) };
  const write = (which, text) => say(texts[which], text);
  write("title", title);
  write("note", note);
  const node = element("div", { class: "dc-words" }, texts.title, texts.note);
  const both = () =>
    [texts.title, texts.note]
      .map((one) => one.textContent)
      .filter(Boolean)
      .join(", ");
  return { node, write, both };
};

const standing = (spec, port, set, ...below) => {
  const head = words(spec);
  const node = element("div", { class: `dc-node ${spec.class ?? ""}`.trim() }, head.node, port, ...below);
  const isNamed = port.getAttribute("role") === "img";
  const named = () => isNamed && setAttributes(port, { "aria-label": spec.alt ?? head.both() });
  const write = (which, text) => {
    head.write(which, text);
    named();
  };
  named();
  return { node, ports: [port], set, write };
};

// signed numbers: brown, the ground, teal, on the one scale that all kernels of the figure and their mix share, or on `full`
const signedPicture = (size, className, own) => {
  const { node, draw } = arrayPicture(...size, "", className);
  const set = (array, { full, dark }) => draw(array, dark ? "signedDark" : "signed", -(own ?? full), own ?? full);
  return { node, set };
};

const decimalsOf = (full) => [0.1, 10, 100].filter((most) => full < most).length;

const colourBar = (className = "") => {
  const ends = [element("span"), element("span")];
  const strip = element("i", { class: className });
  const node = element("div", { class: "dc-scale", "aria-hidden": "true" }, ends[0], strip, ends[1]);
  const write = ({ full, cut, ends: [low, high] = [-full, full] }) =>
    [low, high].forEach((end, i) => say(ends[i], `${cut ? "≤≥"[i] : ""} ${fixed(end, decimalsOf(high))}`.trim()));
  return { node, write };
};

const isSame = (a, b) => {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
};

// draws an array only when its numbers are others: to look takes a hundredth of the time
const anew = (draw) => {
  let last = [];
  return (array) => {
    if (!isSame(array, last)) draw(array);
    last = array;
  };
};

// {picture: name, size: [height, width], title, note, alt, class}: 0 … 1 as grey or colours; signed: true, or kernel: true for
// the mixed kernel with the colour bar of all kernels; full: a scale of its own
const picture = (spec) => {
  if (!spec.signed && !spec.kernel) {
    const { node, draw } = photograph(spec.size, "");
    return standing(spec, node, anew(draw));
  }
  const { node, set } = signedPicture(spec.size, spec.kernel ? "dc-mixed" : "", spec.full);
  if (!spec.kernel) return standing(spec, node, set);
  const bar = colourBar();
  const both = (array, scale) => {
    set(array, scale);
    bar.write(scale);
  };
  return standing(spec, node, both, bar.node);
};

// {vector: name, count, reach, title, note}: small bars, up and down; what is computed from the image, so in its wire's colour
const vector = (spec) => {
  const path = svg("path", { class: "dc-vector-bars" });
  const line = svg("path", { class: "dc-vector-zero", d: `M0 0H${spec.count}` });
  const view = { viewBox: `0 -1 ${spec.count} 2`, preserveAspectRatio: "none", class: "dc-vector", role: "img" };
  const height = (v, reach) => Math.max(-1, Math.min(1, v / reach));
  const set = (values) => {
    const bars = Array.from(values, (v, i) => `M${i + 0.1} 0V${-height(v, spec.reach)}h.8V0z`);
    path.setAttribute("d", bars.join(""));
  };
  return standing(spec, svg("svg", view, line, path), anew(set));
};

// {scale: name, full, cut, title}: the colour bar of signed pictures that share one scale, which ends at `full` or at the value given;
// {scale: name, ends: [low, high], title}: of pictures that go from the one to the other
const scaleBar = (spec) => {
  const bar = colourBar(spec.ends ? "dc-viridis" : "");
  bar.write(spec);
  return standing(spec, bar.node, (full) => bar.write({ full }));
};

// {op: name, sign} and {box: name, text}; {piece: name, element, set}: an element of the figure's own
const op = (spec) => standing(spec, element("div", { class: "dc-op" }, spec.sign), () => {});
const box = (spec) => standing(spec, element("div", { class: "dc-box" }, spec.text), () => {});
const piece = (spec) => standing(spec, spec.element, spec.set ?? (() => {}));

const cell = (className, k, ...children) =>
  element("div", { class: `dc-cell ${className}`.trim(), "data-k": k }, ...children);

const numbered = (name, k) => (name === `kernel ${k + 1}` ? name : `${k + 1} ${name}`);

const rowName = (names, what, k) => {
  if (!names) return "";
  return what ? names[k] : numbered(names[k], k);
};

const oneDecimal = (v) => fixed(v, 1);

// {bars: name, reach, show, names, controls, what}: one signed bar a kernel; with the kernels' sliders in `controls` each is
// dragged itself. `reach` is where a bar is full, or says so of all values; `show` writes a number. Rows that are no kernels say in
// `what`, k → name, what they are, and leave the kernels' colours alone.
const bars = ({ reach = 5, show = oneDecimal, names, controls, what }, k) => {
  const bar = signedBar(what ? undefined : `dc-k${k % 8}`);
  const text = element("b");
  const slider = controls?.[k];
  const which = element("span", { class: "dc-which", "aria-hidden": "true" }, rowName(names, what, k));
  const node = cell(slider ? "dc-bar-cell dc-drag" : "dc-bar-cell", k, which, bar.node, slider?.node ?? text);
  const set = (v, _, all) => {
    bar.draw(v, typeof reach === "function" ? reach(all) : reach);
    say(text, show(v));
  };
  const clear = () => {
    bar.draw(0, 1);
    say(text, "");
  };
  return { node, port: bar.node, set, clear };
};

// {shares: name, what, show}: one bar a kernel, from 0 to 100 %; with `what`, as bars have it, of rows that are no kernels
const shares = ({ what, show = percent }, k) => {
  const fill = what ? element("span", { class: "dc-fill dc-gate", "aria-hidden": "true" }) : kernelMark(k, "dc-fill");
  const track = element("span", { class: "dc-track" }, fill);
  const text = element("b");
  const set = (v) => {
    showPart(fill, 0, v);
    say(text, show(v));
  };
  const clear = () => {
    showPart(fill, 0, 0);
    say(text, "");
  };
  return { node: cell("dc-bar-cell dc-share", k, track, text), port: track, set, clear };
};

// {tiles: name, size, names, full, what}: one signed picture a kernel, in a frame of the kernel's colour and hatch; `size` is one for
// all or one for each
const tiles = ({ size, names, full, what }, k) => {
  const { node: canvas, set } = signedPicture(size[k]?.length ? size[k] : size, "dc-tile", full);
  const label = what?.(k) ?? `kernel ${k + 1}${names ? `, ${names[k]}` : ""}`;
  canvas.setAttribute("aria-hidden", "true");
  canvas.removeAttribute("role");
  const name = { role: "img", "aria-label": label, title: label, tabindex: what ? undefined : 0 };
  const frame = element("div", { class: `dc-frame ${what ? "" : `dc-k${k % 8}`}`.trim(), ...name }, canvas);
  return { node: cell("", k, frame), port: frame, set };
};

// {pieces: name, elements: [{node, set}]}: an element of the figure's own in each row
const pieces = ({ elements }, k) => ({ ...elements[k], node: cell("", k, elements[k].node), port: elements[k].node });

const COLUMNS = { bars, shares, tiles, pieces };

const kindOf = (spec, kinds) => Object.keys(kinds).find((kind) => spec[kind] !== undefined);

const column = (spec, c, count, grid) => {
  const kind = kindOf(spec, COLUMNS);
  const head = words(spec);
  head.node.style.setProperty("--c", c);
  if (spec.class) head.node.classList.add(spec.class);
  const cells = Array.from({ length: count }, (_, k) => COLUMNS[kind](spec, k));
  cells.forEach(({ node }, k) => node.setAttribute("style", `--k: ${k}; --c: ${c}`));
  grid.append(head.node, ...cells.map((one) => one.node));
  const set = (values, scale) =>
    cells.forEach((one, k) => {
      one.node.classList.toggle("dc-off", k >= values.length); // dimmed, not removed: nothing on the page may jump
      if (k < values.length) one.set(values[k], scale, values);
      else one.clear?.();
    });
  const isScaled = kind === "tiles" && !spec.full;
  const [ports, leaves] = [cells.map((one) => one.port), cells.map((one) => one.node)];
  return [spec[kind], { node: grid, ports, leaves, set, write: head.write, isScaled }];
};

// {rows: K, columns: […], beside: […]}: a row a kernel, from the logit to the tile; `beside` are nouns that the figure's own
// style sheet puts somewhere between the columns
const rows = ({ rows: count, columns, class: className = "" }, beside) => {
  const grid = element("div", { class: `dc-rows ${className} ${count > 4 ? "dc-eight" : ""}`, style: `--K: ${count}` });
  const named = columns.map((spec, c) => column(spec, c, count, grid));
  grid.append(...beside.map((one) => one.node));
  return { node: grid, named: [...named, ...beside.flatMap((one) => one.named)] };
};

const NOUNS = { picture, vector, scale: scaleBar, op, box, piece };

// What one stage of the spec stands for: an element, and its nouns by name. A list is a stack; an element stays itself.
export const build = (spec) => {
  if (spec instanceof Node) return { node: spec, named: [] };
  if (spec.rows) return rows(spec, (spec.beside ?? []).map(build));
  if (Array.isArray(spec)) {
    const parts = spec.map(build);
    const node = element("div", { class: "dc-pile" }, ...parts.map((part) => part.node));
    return { node, named: parts.flatMap((part) => part.named) };
  }
  const kind = kindOf(spec, NOUNS);
  const noun = NOUNS[kind](spec);
  return { node: noun.node, named: [[spec[kind], { ...noun, isScaled: Boolean(spec.kernel) }]] };
};

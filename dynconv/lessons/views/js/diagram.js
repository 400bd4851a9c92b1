// The grammar of all figures: nouns that stand in a row, and the verbs between them.
//
//   const figure = diagram({
//     label: "a dynamic convolution",
//     stages: [                                    in this order: source, logits, shares, kernels, mix, ∗; a list is a stack
//       { picture: "image", size: [128, 128], title: "image", note: "a cat" },
//       { vector: "squeeze", count: 16, reach: 2, title: "squeeze" },
//       { rows: 4, columns: [{ bars: "z", title: "logit z" }, { shares: "pi", title: "share π" }, { tiles: "kernel", size: [9, 9] }] },
//       { picture: "mixed", size: [9, 9], kernel: true, title: "mixed kernel" },
//       { op: "conv", sign: "∗" },
//     ],
//     results: [{ picture: "out", size: [120, 120], title: "restored" }],    beside the row where there is room, else beneath it
//     wires: [{ from: "image", to: "squeeze", kind: "live" }, { from: "image", to: "conv", kind: "data", around: true }],
//     ribbons: [{ from: "kernel", to: "mixed", share: "pi" }],
//   });
//   figure.draw({ image, squeeze, z, pi, kernel: [..K arrays], mixed, out }, key);
//   figure.wire("image-squeeze", "cut");   figure.note("out", "error 0.12");   figure.title("out", "restored");   figure.remove();
//
// Nouns: picture, vector, bars, shares, tiles, pieces, scale, op, box, piece; see nouns.js for what each takes. Grey pictures take 0 … 1; the kernels and
// their mix share one signed scale, which ends where only one tap in twenty is stronger.
// Wires are live (computed from the image: blue, and its dashes run while the figure is in use), grey (parameters: unplugged, or
// `joined` without the gap), cut, data (the image that is convolved) or none; {name, title, around, crossing, joined, far, handle},
// `handle` an element that stands on the wire. A wire to a column goes to each of its rows, `far` parts late; one from a column to a
// column goes row by row, and to a single noun from each row; one that is `crossing` goes downwards where the others go
// sideways, and sideways where they go downwards; one that is `down` always goes up or down.
// A ribbon with `band`, the width of its largest share or of `full`, runs straight from row to row, behind all that stands between.
// `draw` eases to the new values when `key`, what was chosen, is another one; what a hand drags follows at once.
// Hover or focus on anything of kernel k dims all others. The figure measures its own box (diagram.css): from 1000 px on the
// results stand at the end of the row, from 700 px on beneath it, and below that all runs downwards, and glance.js keeps
// small copies of the results in sight.

import { easing } from "./easing.js";
import { element, setAttributes, svg } from "./elements.js";
import { glance } from "./glance.js";
import { build } from "./nouns.js";
import { NIGHT, scheme } from "./scheme.js";
import { drawBands, drawRibbons, drawWire, placeOf, ribbonPaths } from "./wires.js";

// Whatever is of the kernel under the mouse, or in focus, stays; all else of kernels is dimmed.
const linkKernels = (node) => {
  const hot = (k) => {
    node.classList.toggle("dc-hot", k !== undefined);
    node.querySelectorAll("[data-k]").forEach((one) => one.classList.toggle("dc-warm", one.dataset.k === k));
  };
  // not while bars are dragged: that they are coupled is what is to be seen
  const enter = ({ target, buttons }) =>
    hot(buttons || target.closest(".dc-drag") ? undefined : target.closest("[data-k]")?.dataset.k);
  ["pointerover", "focusin"].forEach((event) => node.addEventListener(event, enter));
  ["pointerleave", "focusout"].forEach((event) => node.addEventListener(event, () => hot(undefined)));
};

// Where everything stands: asked once, whenever the figure's size has changed.
const measured = (node, main, results, nouns) => {
  const base = node.getBoundingClientRect();
  const [row, end] = [main, results].map((one) => placeOf(one, base));
  const form = {
    column: getComputedStyle(node).getPropertyValue("--column") === "1",
    beneath: end.t >= row.b - 1,
    floor: row.b - 8,
  };
  const placed = {
    ports: (name) => nouns[name].ports.map((port) => placeOf(port, base)),
    leaves: (name) => (nouns[name].leaves ?? nouns[name].ports).map((port) => placeOf(port, base)),
    whole: (name) => placeOf(nouns[name].node, base),
    isResult: (name) => results.contains(nouns[name].node),
  };
  return { form, placed, size: `0 0 ${base.width} ${base.height}` };
};

// pure: where the scale of some arrays ends, so that a single strong tap does not leave all others pale; and whether any is cut
export const scaleOf = (arrays) => {
  const sizes = arrays.flatMap((array) => Array.from(array, Math.abs)).sort((a, b) => a - b);
  const most = sizes.at(-1) || 1;
  const full = sizes[Math.floor(0.95 * (sizes.length - 1))] || most;
  return { full, cut: most > 1.001 * full };
};

const tilesIn = (nouns, values) =>
  Object.entries(values).flatMap(([name, arrays]) =>
    nouns[name]?.isScaled && nouns[name].ports.length > 1 ? arrays : [],
  );

// Each noun draws what is new to it: what does not change is not touched.
const painter = (nouns) => {
  let drawn = {};
  let last = "";
  return (values, dark) => {
    const scale = { ...scaleOf(tilesIn(nouns, values)), dark };
    const anew = last !== JSON.stringify(scale);
    for (const [name, value] of Object.entries(values)) {
      if (nouns[name] && (anew || drawn[name] !== value)) nouns[name].set(value, scale);
    }
    [drawn, last] = [values, JSON.stringify(scale)];
  };
};

// All wires and ribbons in one sheet behind the nouns.
const tangle = (spec, nouns) => {
  const wires = (spec.wires ?? []).map((wire) => ({ name: `${wire.from}-${wire.to}`, ...wire, group: svg("g") }));
  const ribbons = (spec.ribbons ?? []).map((one) => ({ ...one, ...ribbonPaths(nouns[one.from].ports.length) }));
  const paths = ribbons.flatMap((one) => [one.patterns, ...one.paths]);
  // as in elements.js' sheet: what is painted keeps its size while ribbons move; turned words and plugs stand between them and wires
  const paper = () => svg("rect", { width: "100%", height: "100%", fill: "transparent" });
  const groups = wires.map((wire) => wire.group);
  const node = svg("svg", { class: "dc-wires", "aria-hidden": "true" }, paper(), ...groups, paper(), ...paths);
  const route = ({ form, placed, size }) => {
    setAttributes(node, { viewBox: size });
    wires.forEach((wire) => drawWire(wire, wire.group, placed, form));
    ribbons.forEach((one) => {
      const tiles = one.band ? placed.leaves(one.from) : placed.ports(one.from);
      Object.assign(one, { tiles, ends: placed.ports(one.to), form });
    });
  };
  const share = (values) =>
    ribbons.forEach((one) => {
      const { paths: some, share: name, tiles, ends, form } = one;
      if (!values[name] || !tiles) return;
      if (one.band) drawBands(some, values[name], tiles, ends, one);
      else drawRibbons(some, values[name], tiles, ends[0], form.column);
    });
  const handles = wires.flatMap((wire) => wire.handle ?? []);
  handles.forEach((handle) => handle.classList.add("dc-handle"));
  return { node, handles, route, share, named: (name) => wires.find((wire) => wire.name === name) };
};

export const diagram = (spec) => {
  const [stages, ends] = [spec.stages, spec.results ?? []].map((list) => list.map(build));
  const nouns = Object.fromEntries([...stages, ...ends].flatMap((part) => part.named));
  const main = element("div", { class: "dc-main" }, ...stages.map((part) => part.node));
  const results = element("div", { class: "dc-results" }, ...ends.map((part) => part.node));
  const lines = tangle(spec, nouns);
  const small = glance(results, spec, nouns);
  const body = element("div", { class: "dc-stages" }, main, results);
  const attributes = { class: `dc-diagram ${spec.class ?? ""}`.trim(), role: "group", "aria-label": spec.label };
  const node = element("div", attributes, lines.node, body, ...lines.handles, small.node);
  const paint = painter(nouns);
  const values = easing((shown) => {
    paint(shown, node.classList.contains(NIGHT));
    lines.share(shown);
    small.draw();
  });
  const ground = scheme(node, values.again);
  const route = () => {
    ground.look();
    lines.route(measured(node, main, results, nouns));
    values.again();
  };
  let last;
  const draw = (given, key) => {
    values.to(given, last !== undefined && key !== last);
    last = key;
  };
  const wire = (name, kind) => {
    if (lines.named(name).kind === kind) return;
    lines.named(name).kind = kind;
    route();
  };
  const sizes = new ResizeObserver(route);
  for (const box of [node, ...[...stages, ...ends].map((one) => one.node)]) sizes.observe(box);
  linkKernels(node);
  const remove = () => [() => sizes.disconnect(), ground.remove, values.stop, small.remove].forEach((end) => end());
  const note = (name, text) => nouns[name].write("note", text);
  const title = (name, text) => nouns[name].write("title", text);
  return { node, nouns, draw, wire, note, title, route, remove };
};

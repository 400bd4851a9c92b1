// The verbs of a diagram, drawn between its nouns: wires that say where numbers come from, ribbons that say how much.
// A path is written in two directions: along the way (m) and across it (c), so that one that leads down is drawn as one that
// leads to the side.

import { setAttributes, svg, uniqueId } from "./elements.js";
import { sum } from "./mathematics.js";

// as .dc-k0 … have them
const HATCHES = [
  "",
  "M0 0 8 8",
  "M0 8 8 0",
  "M4 0V8",
  "M0 4H8",
  "M0 0 8 8M4-4 12 4M-4 4 4 12",
  "M2 0V8M6 0V8",
  "M0 8 8 0M-4 4 4-4M4 12 12 4",
];
const GAP = 30; // pixels between socket and plug

// where an element stands in the figure
export const placeOf = (node, base) => {
  const { left, right, top, bottom } = node.getBoundingClientRect();
  const [l, r, t, b] = [left - base.left, right - base.left, top - base.top, bottom - base.top];
  return { l, r, t, b, x: (l + r) / 2, y: (t + b) / 2 };
};

// along and across: [from, to, low, high, middle]
const sideways = ({ l, r, t, b, y }) => ({ from: l, to: r, low: t, high: b, mid: y });
const downwards = ({ t, b, l, r, x }) => ({ from: t, to: b, low: l, high: r, mid: x });

const pen = (down) => (m, c) => (down ? `${c} ${m}` : `${m} ${c}`);

const curve = (at, [m1, c1], [m2, c2]) => `C${at((m1 + m2) / 2, c1)} ${at((m1 + m2) / 2, c2)} ${at(m2, c2)}`;

const line = (at, a, b, className = "") => svg("path", { class: className, d: `M${at(...a)}${curve(at, a, b)}` });

const socket = (at, m, c) => {
  const [cx, cy] = at(m, c).split(" ");
  return svg("circle", { class: "dc-socket", cx, cy, r: 4 });
};

const plug = (at, m, c, turn) =>
  svg(
    "g",
    { class: "dc-plug", transform: `translate(${at(m, c)}) rotate(${turn})` },
    svg("path", { d: "M-11-4H-3M-11 4H-3" }),
    svg("path", { class: "dc-plug-body", d: "M-4-8h6a8 8 0 0 1 0 16h-6z" }),
  );

// Round the outside: below what stands side by side, at the left of what stands in a column.
const aroundPath = (a, b, { column, floor }) => {
  if (column) return `M${a.l} ${a.y}H22Q8 ${a.y} 8 ${a.y + 14}V${b.y - 14}Q8 ${b.y} 22 ${b.y}H${b.l}`;
  const x = a.l + 24;
  return `M${x} ${a.b}V${floor - 14}Q${x} ${floor} ${x + 14} ${floor}H${b.x - 14}Q${b.x} ${floor} ${b.x} ${floor - 14}V${b.b}`;
};

const around = (wire, a, b, form) => {
  const path = svg("path", { d: aroundPath(a, b, form) });
  if (!wire.title) return [path];
  const at = form.column
    ? `translate(4 ${(a.y + b.y) / 2}) rotate(-90)`
    : `translate(${(a.x + b.x) / 2} ${form.floor - 6})`;
  return [path, svg("text", { transform: at, "text-anchor": "middle" }, wire.title)];
};

// From the end of the row down to the results beneath it.
const elbow = (a, b, { floor }) => [
  svg("path", { d: `M${a.r} ${a.y}H${a.r + 8}Q${a.r + 14} ${a.y} ${a.r + 14} ${a.y + 6}V${floor + 8}H${b.x}V${b.t}` }),
];

// Where a wire leaves its source, where it is joined, and where it ends: [along, across] each; `way` is 1 or −1.
const course = (wire, a, ends) => {
  const way = ends[0].from + ends[0].to > a.from + a.to ? 1 : -1;
  const [leave, arrive] = way > 0 ? ["to", "from"] : ["from", "to"];
  const start = [a[leave], a.mid];
  const stops = ends.map((end) => [end[arrive], end.mid]);
  const share = wire.far ? 0.8 : 0.4;
  const room = ends.length > 1 ? Math.abs(stops[0][0] - start[0]) * (wire.handle ? 0.66 : share) : 0;
  const isOpen = wire.kind === "grey" && !wire.joined;
  const center = sum(ends.map((end) => end.mid)) / ends.length;
  const joint = [start[0] + way * Math.max(isOpen ? GAP : 0, room), ends.length > 1 ? center : start[1]];
  return { way, start, joint, stops, isOpen };
};

// From one noun to one, or to all rows of a column: a stem, and a thin wire to each.
const straight = (wire, source, targets, down) => {
  const at = pen(down);
  const turned = down ? downwards : sideways;
  const { way, start, joint, stops, isOpen } = course(wire, turned(source), targets.map(turned));
  const end = socket(at, start[0] + 6 * way, start[1]);
  const many = stops.length > 1;
  const [m, c] = many ? joint : stops[0];
  const middle = [(start[0] + m) / 2, (start[1] + c) / 2];
  if (wire.kind === "cut") return { paths: [end], middle: at(...middle) };
  const paths = stops.map((stop) =>
    line(at, isOpen ? [joint[0] + 10 * way, joint[1]] : joint, stop, many ? "dc-thin" : ""),
  );
  if (many) paths.forEach((path, k) => setAttributes(path, { "data-k": k }));
  if (isOpen) paths.push(end, plug(at, ...joint, (down ? 90 : 0) + (way > 0 ? 0 : 180)));
  else if (many) paths.push(line(at, start, joint));
  return { paths, middle: at(...middle) };
};

// From each row of a column to that row of another, or all to one.
const rowByRow = (wire, sources, targets, down) => {
  const all = sources.map((source, k) => straight(wire, source, [targets[k] ?? targets[0]], down));
  const paths = all.flatMap((one, k) => {
    one.paths.forEach((path) => setAttributes(path, { "data-k": k }));
    return one.paths;
  });
  paths.filter((path) => path.tagName === "path").forEach((path) => path.classList.add("dc-thin"));
  const middles = all.map((one) => one.middle.split(" ").map(Number));
  return { paths, middle: [0, 1].map((i) => sum(middles.map((one) => one[i])) / all.length).join(" ") };
};

const through = (wire, sources, targets, whole, down) => {
  if (sources.length > 1) return rowByRow(wire, sources, targets, down);
  return straight(wire, sources[0], down && targets.length === 1 ? [whole] : targets, down);
};

const moveHandle = (handle, middle) => {
  const [x, y] = middle.split(" ");
  handle.style.left = `${x}px`;
  handle.style.top = `${y}px`;
};

// One wire: {from, to, kind, name, joined, around, crossing, down, far, title, handle}.
export const drawWire = (wire, group, placed, form) => {
  group.replaceChildren();
  group.setAttribute("class", `dc-wire dc-${wire.kind}`);
  if (wire.kind === "none") return;
  const sources = placed.leaves(wire.from);
  const [source] = sources;
  const targets = placed.ports(wire.to);
  const isBeneath = form.beneath && placed.isResult(wire.to);
  if (wire.around) group.append(...around(wire, source, targets[0], form));
  else if (isBeneath && !form.column) group.append(...elbow(source, placed.whole(wire.to), form));
  else {
    const down = wire.down || form.column !== Boolean(wire.crossing);
    const { paths, middle } = through(wire, sources, targets, placed.whole(wire.to), down);
    group.append(...paths);
    if (wire.handle) moveHandle(wire.handle, middle);
  }
};

// The paths of one ribbon a kernel, each filled with its kernel's colour and hatch.
export const ribbonPaths = (count) => {
  const ids = HATCHES.map(() => uniqueId("hatch"));
  const tile = (id, k) =>
    svg(
      "pattern",
      { id, width: 8, height: 8, patternUnits: "userSpaceOnUse" },
      svg("rect", { width: 8, height: 8, class: `dc-hue${k}` }),
      svg("path", { d: HATCHES[k], class: "dc-hatch" }),
    );
  const patterns = svg("defs", {}, ...ids.map(tile));
  const paths = Array.from({ length: count }, (_, k) =>
    svg("path", { class: "dc-ribbon", fill: `url(#${ids[k % 8]})`, "data-k": k }),
  );
  return { patterns, paths };
};

// pure: where each share lies on the side of the mixed kernel, in pixels: [width, middle], stacked from `start` on
export const stacked = (shares, start, side) => {
  let at = start;
  return shares.map((share) => {
    const width = side * Math.abs(share);
    at += width;
    return [Math.max(0.7, width), at - width / 2];
  });
};

// Ribbons leave each tile as wide as its share of the mixed kernel's side, and stack to exactly that side.
export const drawRibbons = (paths, shares, tiles, target, down) => {
  const at = pen(down);
  const turned = down ? downwards : sideways;
  const end = turned(target);
  const way = end.from + end.to > turned(tiles[0]).from + turned(tiles[0]).to ? 1 : -1;
  const widths = stacked(shares, end.low, end.high - end.low);
  paths.forEach((path, k) => {
    path.classList.toggle("dc-none", k >= shares.length);
    if (k >= shares.length) return;
    const [tile, [width, mid]] = [turned(tiles[k]), widths[k]];
    const [m1, m2] = way > 0 ? [tile.to, end.from] : [tile.from, end.to];
    const edge = (side) => [m1, tile.mid + (side * width) / 2];
    const there = (side) => [m2, mid + (side * width) / 2];
    const back = `L${at(...there(1))}${curve(at, there(1), edge(1))}Z`;
    setAttributes(path, { d: `M${at(...edge(-1))}${curve(at, edge(-1), there(-1))}${back}` });
  });
};

// A band that runs from each row of a column to that of another, behind all that stands between: what many share. It is `width`
// pixels wide at `full`, or at the largest of all.
export const drawBands = (paths, weights, starts, ends, { band: width, full: most, form }) => {
  const at = pen(form.column);
  const turned = form.column ? downwards : sideways;
  const full = most ?? (Math.max(...weights.map(Math.abs)) || 1);
  paths.forEach((path, k) => {
    path.classList.toggle("dc-none", k >= weights.length);
    path.classList.toggle("dc-minus", weights[k] < 0);
    if (k >= weights.length) return;
    const [{ to, mid }, half] = [
      turned(starts[k]),
      Math.max(0.35, 0.5 * width * Math.min(1, Math.abs(weights[k]) / full)),
    ];
    const there = turned(ends[k]).from;
    const corners = [[to, mid - half], [there, mid - half], [there, mid + half], [to, mid + half]]; // prettier-ignore
    setAttributes(path, { d: `M${corners.map((corner) => at(...corner)).join("L")}Z` });
  });
};

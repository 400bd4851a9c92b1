// The parts of Trace: what is framed, what is written into a grid of pixels, what is picked with a finger.

import { diagram } from "./diagram.js";
import {
  between,
  dress,
  element,
  emit,
  fixed,
  largestSize,
  OWN_KEYS,
  part,
  picture,
  realMinus,
  say,
  setAttributes,
  sheet,
  svg,
} from "./toolkit.js";

// a number in as few signs as a cell has room for: −.25, 1.5, 12
const short = (v) => {
  const size = Math.abs(v);
  if (v === 0) return "0";
  if (size >= 9.95) return fixed(v, 0);
  return fixed(v, size >= 0.995 ? 1 : 2).replace("0.", ".");
};

const share = (v, all) => `${(100 * v) / all}%`;

const NONE = [0, 1].map(() => [0, 0]);

const box = (y, x, h, w) => `M${x} ${y}h${w}v${h}h${-w}z`;

// A canvas inside its padding, with a frame (drawn twice, dark under bright) around what is looked at, and a dot on each
// tap if dilation spreads them.
export const framed = (canvas, [height, width], [[top, bottom], [left, right]] = NONE) => {
  const high = height + top + bottom;
  const wide = width + left + right;
  canvas.style.cssText =
    `left: ${share(left, wide)}; top: ${share(top, high)}; `
    + `width: ${share(width, wide)}; height: ${share(height, high)}`;
  const lines = ["dc-frame-dark", "dc-frame-bright"].map((name) => svg("path", { class: name }));
  const dots = svg("path", { class: "dc-taps" });
  const attributes = { "aria-hidden": "true", preserveAspectRatio: "none" };
  const overlay = sheet([-left, -top, wide, high], attributes, ...lines, dots);
  const node = element("span", { class: "dc-framed", style: `aspect-ratio: ${wide} / ${high}` }, canvas, overlay);
  const draw = (rows, columns, spread) => {
    const frame = box(rows[0], columns[0], rows.at(-1) - rows[0] + 1, columns.at(-1) - columns[0] + 1);
    const taps = rows.flatMap((y) => columns.map((x) => box(y + 0.25, x + 0.25, 0.5, 0.5)));
    lines.forEach((line) => setAttributes(line, { d: frame }));
    setAttributes(dots, { d: spread ? taps.join("") : "" });
  };
  return { node, draw };
};

// from how far on the way to the end of its scale a cell is so strong that words on it change between bright and dark
const TURN = { grey: 0.08, signed: 0.77, signedDark: 0.6 };

// the colour of words on a cell
const onCell = (palette, level) => {
  const strength = 2 * Math.abs(level - 0.5);
  const isBright = palette === "grey" ? level < 0.46 : strength > TURN[palette] === (palette === "signed");
  return isBright ? "dc-bright" : "dc-dark";
};

// Values as colours, and in words while there is room for them: {values, low, high, palette, name, texts, outside}.
const grid = ([height, width]) => {
  const view = picture(height, width, "");
  const small = Math.max(height, width) <= 5;
  const cells = Array.from({ length: height * width }, () => element("span", {}));
  const numbers = element("div", { class: "dc-cells", "aria-hidden": "true" }, ...cells);
  const attributes = { class: `dc-grid${small ? "" : " dc-many"}`, style: `--columns: ${width}` };
  const draw = ({ values, palette, low, high, name, texts, outside = [] }) => {
    setAttributes(view.node, { "aria-label": name });
    view.draw(values, palette, low, high);
    cells.forEach((cell, i) => {
      const level = (values[i] - low) / (high - low || 1);
      say(cell, small ? texts[i] : "");
      dress(cell, `${onCell(palette, level)}${outside[i] ? " dc-outside" : ""}`);
    });
  };
  return { node: element("div", attributes, view.node, numbers), draw };
};

const wholes = (values) => Array.from(values, (v) => realMinus(String(Math.round(v))));

// pure: "in 0.0001", what the whole numbers in a column of grids are counted in
export const unitInWords = (decimals) => (decimals ? `in ${(10 ** -decimals).toFixed(decimals)}` : "");

// A column of grids, one an input channel; `cellsOf(c, now)` is what is special in that of channel c.
const gridColumn = ({ kernel_size, shown, area, channels }, name, cellsOf) => {
  let now;
  const one = (i) => {
    const { node, draw } = grid(kernel_size);
    const set = (values, { dark }) => {
      const c = now.from + i;
      const of = channels.length > 1 ? ` of ${channels[c]}` : "";
      draw({ palette: dark ? "signedDark" : "signed", name: `${name}${of}`, values, ...cellsOf(c, now, values) });
    };
    return { node, set };
  };
  const values = (all, from) => Array.from({ length: shown }, (_, i) => part(all, from + i, area));
  const look = (state) => {
    now = state;
  };
  return { elements: Array.from({ length: shown }, (_, i) => one(i)), values, look };
};

const aroundZero = (most) => ({ low: -most, high: most });

// The three columns of grids: patch × kernel = products.
const gridsOf = (data) => {
  const [low, high] = data.imageLimits;
  const patch = gridColumn(data, "patch", (_, { outside }, values) => {
    return { palette: "grey", low, high, outside, texts: Array.from(values, short) };
  });
  const kernel = gridColumn(data, "kernel", (_, { channel }, values) => {
    const unit = 10 ** channel.decimals.kernel;
    return { ...aroundZero(channel.strongest), texts: wholes(values.map((v) => v * unit)) };
  });
  const products = gridColumn(data, "products", (c, now) => {
    return { ...aroundZero(now.most), texts: wholes(now.printed.products[c - now.from]) };
  });
  return { patch, kernel, products };
};

const signs = (count, sign) =>
  Array.from({ length: count }, () => ({ node: element("span", { class: "dc-sign" }, sign), set: () => {} }));

const channelRows = (data, grids, show) => ({
  rows: data.shown,
  columns: [
    { pieces: "patch", elements: grids.patch.elements, title: "patch", note: "of the image" },
    { pieces: "times", elements: signs(data.shown, "×") },
    { pieces: "weights", elements: grids.kernel.elements, title: "kernel", note: " " },
    { pieces: "equals", elements: signs(data.shown, "=") },
    { pieces: "products", elements: grids.products.elements, title: "products", note: " " },
    { bars: "sums", reach: largestSize, show, what: (k) => `channel ${k}`, title: "their sum", note: " " },
  ],
  beside: [{ box: "source", text: data.isDynamic ? "mixed for this image" : "parameters", class: "dc-source" }],
});

const specOf = (data, image, map, rows) => {
  const others = data.isCut ? [{ box: "others", text: " ", class: "dc-addend" }] : [];
  return {
    label: "one pixel of a convolution: patch times kernel, channel by channel, and their sum",
    class: "dc-products",
    stages: [
      { piece: "image", element: image, title: "image", note: " " },
      rows,
      [...others, { box: "bias", text: " ", class: "dc-addend" }, { op: "sum", sign: "Σ" }],
    ],
    results: [{ piece: "map", element: map }],
    wires: [
      { from: "image", to: "patch", kind: "data" },
      { from: "source", to: "weights", kind: data.isDynamic ? "live" : "grey", joined: true, down: true },
      { from: "products", to: "sums", kind: "data" },
      { from: "sums", to: "sum", kind: "data" },
      { from: "bias", to: "sum", kind: "grey", joined: true, crossing: true },
      { from: "sum", to: "map", kind: "data" },
    ],
  };
};

// Image → patch × kernel = products → their sum, channel by channel → Σ → the pixel in its map.
export const sumFigure = (data, image, map) => {
  const grids = gridsOf(data);
  let decimals;
  const show = (v) => fixed(v, decimals);
  const figure = diagram(specOf(data, image, map, channelRows(data, grids, show)));
  const write = ({ printed, channel }) => {
    figure.note("weights", unitInWords(channel.decimals.kernel));
    figure.note("products", unitInWords(decimals));
    say(figure.nouns.bias.ports[0], `bias ${show(printed.bias)}`);
    if (data.isCut) say(figure.nouns.others.ports[0], `other ${printed.hidden}: ${show(printed.others)}`);
  };
  const draw = (now) => {
    const { patch, kernel, products, printed, from, channel } = now;
    decimals = channel.decimals.products;
    Object.values(grids).forEach((one) => one.look(now));
    write(now);
    figure.draw({
      patch: grids.patch.values(Float32Array.from(patch), from),
      weights: grids.kernel.values(kernel, from),
      products: grids.products.values(Float32Array.from(products), from),
      sums: printed.sums,
    });
  };
  return { ...figure, draw };
};

// The kernel of a dynamic layer: the image sets how much of each of the K it gets.
export const kernelFigure = ({ kernels, shown, kernel_size: [kh, kw] }) => {
  const size = [kh, shown * (kw + 1) - 1];
  const figure = diagram({
    label: "the kernel that this image mixes",
    class: "dc-mixing",
    stages: [
      { box: "image", text: "this image" },
      {
        rows: kernels,
        columns: [
          { bars: "z", reach: largestSize, title: "logit z", note: "from this image" },
          { shares: "pi", title: "share π", note: "softmax of z ÷ T" },
          { tiles: "kernel", size, title: "kernel", note: "one scale" },
        ],
      },
      { picture: "mixed", size, kernel: true, title: "mixed kernel", note: "Σ π k" },
    ],
    wires: [{ from: "image", to: "z", kind: "live" }],
    ribbons: [{ from: "kernel", to: "mixed", share: "pi" }],
  });
  // the input channels that are shown side by side, with an empty column between them
  const beside = (values, from) => {
    const out = new Float32Array(size[0] * size[1]);
    for (let i = 0; i < shown; i++) {
      const own = part(values, from + i, kh * kw);
      own.forEach((v, tap) => (out[Math.floor(tap / kw) * size[1] + i * (kw + 1) + (tap % kw)] = v));
    }
    return out;
  };
  const draw = ({ logits, attention, kernel, from, channel: { own } }) => {
    const tiles = attention.map((_, k) => beside(part(own, k, kernel.length), from));
    figure.draw({ z: logits, pi: attention, kernel: tiles, mixed: beside(kernel, from) });
  };
  return { ...figure, draw };
};

// The pixel as the sum of its channels and the bias.
export const equationOf = () => {
  const swatch = picture(1, 1, "colour of the pixel", "dc-swatch");
  const result = element("strong");
  const addends = element("span");
  const node = element("p", { class: "dc-equation" }, swatch.node, " ", result, addends);
  const draw = ({ total, channel, printed }) => {
    const size = (v) => fixed(v, channel.decimals.products);
    const plus = (v) => `${v < 0 ? "−" : "+"} ${size(Math.abs(v))}`;
    const [first, ...more] = printed.sums;
    const rest = printed.hidden ? [`${plus(printed.others)} (the other ${printed.hidden} channels)`] : [];
    swatch.draw([total], "viridis", ...channel.limits);
    say(result, size(printed.total));
    say(addends, ` = ${[size(first), ...more.map(plus), ...rest, plus(printed.bias)].join(" ")} (bias)`);
  };
  return { node, draw };
};

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// calls `point` with where in `target` a pointer goes, as shares of its height and width
const onDrag = (node, target, point) => {
  const tell = (event) => {
    const around = target.getBoundingClientRect();
    point((event.clientY - around.top) / around.height, (event.clientX - around.left) / around.width);
  };
  node.addEventListener("pointerdown", (event) => {
    if (event.clientY > target.getBoundingClientRect().bottom) return; // the words are no pixels
    node.setPointerCapture(event.pointerId);
    tell(event);
  });
  node.addEventListener("pointermove", (event) => {
    if (node.hasPointerCapture(event.pointerId)) tell(event);
  });
  node.addEventListener("pointerup", () => emit(node, "change"));
};

// The output map: a button, so that it takes the focus; a tap, a drag or an arrow key moves the controls of row and column.
export const pixelPicker = (framedMap, [rows, columns], { row: y, column: x }) => {
  const hint = element("span", { class: "dc-hint" }, "output map: tap a pixel, drag, or use the arrow keys");
  const node = element("button", { type: "button", class: "dc-picker", ...OWN_KEYS }, framedMap, hint);
  const pick = (r, c) => {
    y.set(between(r, 0, rows - 1));
    x.set(between(c, 0, columns - 1));
    emit(node, "input");
  };
  onDrag(node, framedMap, (down, across) => pick(Math.floor(down * rows), Math.floor(across * columns)));
  node.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault(); // the page must not scroll away under the map
    event.stopPropagation();
    pick(y.get() + step[0], x.get() + step[1]);
    emit(node, "change");
  });
  return node;
};

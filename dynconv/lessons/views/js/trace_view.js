// The parts of Trace: what is framed, what is written into a grid of pixels, what is picked with a finger.

import {
  bars,
  between,
  captioned,
  dress,
  element,
  emit,
  fixed,
  kernelMark,
  OWN_KEYS,
  part,
  percent,
  picture,
  row,
  say,
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
    lines.forEach((line) => line.setAttribute("d", frame));
    dots.setAttribute("d", spread ? taps.join("") : "");
  };
  return { node, draw };
};

// the colour of words on a cell, in both themes
const onCell = (palette, level) => {
  const dark = palette === "grey" ? level < 0.5 : Math.abs(level - 0.5) > 0.3;
  return dark ? "dc-bright" : "dc-dark";
};

// Values as colours, and as numbers while there is room for them.
const grid = (height, width) => {
  const view = picture(height, width, "");
  const small = Math.max(height, width) <= 5;
  const cells = Array.from({ length: height * width }, () => element("span", {}));
  const numbers = element("div", { class: "dc-cells", "aria-hidden": "true" }, ...cells);
  const attributes = { class: `dc-grid${small ? "" : " dc-many"}`, style: `--columns: ${width}` };
  const draw = (name, values, palette, low, high, outside = []) => {
    view.node.setAttribute("aria-label", name);
    view.draw(values, palette, low, high);
    cells.forEach((cell, i) => {
      const level = (values[i] - low) / (high - low || 1);
      say(cell, small ? short(values[i]) : "");
      dress(cell, `${onCell(palette, level)}${outside[i] ? " dc-outside" : ""}`);
    });
  };
  return { node: element("div", attributes, view.node, numbers), draw };
};

const sign = (text) => element("span", { class: "dc-sign" }, text);

// One input channel: patch × kernel = products, and their sum.
export const channelRow = ([kh, kw], names) => {
  const [patch, kernel, products] = [0, 1, 2].map(() => grid(kh, kw));
  const total = element("strong", { class: "dc-value" });
  const caption = element("span", {});
  const half = (...nodes) => element("div", { class: "dc-half" }, ...nodes);
  const left = half(captioned(patch.node, caption), sign("×"), captioned(kernel.node, "kernel"));
  const right = half(sign("="), captioned(products.node, "products"), sign("sum"), total);
  const draw = (c, values, { strongest, most, imageLimits, outside }) => {
    const name = names.length === 1 ? "" : ` of ${names[c]}`;
    say(caption, `patch${name}`);
    patch.draw(`patch${name}`, values.patch, "grey", ...imageLimits, outside);
    kernel.draw(`kernel${name}`, values.kernel, "rdbu", -strongest, strongest);
    products.draw(`products${name}`, values.products, "rdbu", -most, most);
    say(total, fixed(values.sum, 3));
  };
  return { node: element("div", { class: "dc-term" }, left, right), draw };
};

// One kernel: the input channels that are shown, one under the other.
const kernelStack = ({ kernel_size: [kh, kw], shown }, label) => {
  const views = Array.from({ length: shown }, () => picture(kh, kw, "", "dc-kernel"));
  const draw = (from, values, strongest) =>
    views.forEach((view, i) => {
      view.node.setAttribute("aria-label", `${label}, input channel ${from + i}`);
      view.drawSigned(part(values, from + i, kh * kw), strongest);
    });
  return { node: element("div", { class: "dc-kernel-stack" }, ...views.map((view) => view.node)), draw };
};

// The kernel of a dynamic layer: each of the K, what it counts, and the mix of them.
export const kernelSum = (data) => {
  const stacks = Array.from({ length: data.kernels }, (_, k) => kernelStack(data, `kernel ${k + 1}`));
  const mixed = kernelStack(data, "mixed kernel");
  const attention = bars(data.kernels, "attention of this image");
  const shares = stacks.map(() => element("span", { class: "dc-weight" }));
  const term = (before, figure) => element("div", { class: "dc-half" }, sign(before), figure); // a line breaks before a sign
  const terms = stacks.map(({ node }, k) => term(k ? "+" : "", captioned(node, kernelMark(k), " × ", shares[k])));
  const node = row(
    "dc-mixture",
    captioned(attention.node, "attention of this image"),
    ...terms,
    term("=", captioned(mixed.node, "mixed kernel")),
  );
  const draw = (from, { attention: weights, kernel, channel: { own, strongest } }) => {
    attention.draw(weights);
    stacks.forEach((stack, k) => stack.draw(from, part(own, k, kernel.length), strongest));
    shares.forEach((one, k) => say(one, percent(weights[k])));
    mixed.draw(from, kernel, strongest);
  };
  return { node, draw };
};

// The pixel as the sum of its channels and the bias.
export const equationOf = () => {
  const swatch = picture(1, 1, "colour of the pixel", "dc-swatch");
  const result = element("strong");
  const addends = element("span");
  const node = element("p", { class: "dc-equation" }, swatch.node, " ", result, addends);
  const plus = (v) => `${v < 0 ? "−" : "+"} ${fixed(Math.abs(v), 3)}`;
  const draw = ({ total, bias, channel }, { shown: [first, ...more], others, hidden }) => {
    const rest = hidden ? [`${plus(others)} (the other ${hidden} channels)`] : [];
    swatch.draw([total], "viridis", ...channel.limits);
    say(result, fixed(total, 4));
    say(addends, ` = ${[fixed(first, 3), ...more.map(plus), ...rest, plus(bias)].join(" ")} (bias)`);
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

// Trace: one output pixel of a convolution, back to the patch, the kernel, the products and the bias it is made of.

import {
  bars, captioned, decode, dress, element, fixed, indexOfMax, instrument, kernelMark, mix, number, percent, photograph, picture,
  range, say, sheet, slider, softmax, svg, widget,
} from "./toolkit.js";

const SHOWN = 3; // input channels side by side

// pure: the image with its zero padding around it
export const pad = (image, [channels, h, w], [[top, bottom], [left, right]]) => {
  const high = h + top + bottom, wide = w + left + right, out = new Float32Array(channels * high * wide);
  for (let c = 0; c < channels; c++) for (let y = 0; y < h; y++) {
    out.set(image.subarray((c * h + y) * w, (c * h + y + 1) * w), (c * high + y + top) * wide + left);
  }
  return out;
};

// pure: where in the padded image each tap of the kernel looks, seen from the patch's first pixel, channel by channel
export const tapsOf = ({ image_shape: [channels, h, w], padding, kernel_size: [kh, kw], dilation: [dy, dx] }) => {
  const high = h + padding[0][0] + padding[0][1], wide = w + padding[1][0] + padding[1][1], taps = [];
  for (let c = 0; c < channels; c++) for (let i = 0; i < kh; i++) for (let j = 0; j < kw; j++) {
    taps.push((c * high + i * dy) * wide + j * dx);
  }
  return { taps, wide };
};

// pure: all pixels of one output channel under one kernel
export const convolve = ({ padded, taps, wide, stride: [sy, sx], map_shape: [rows, columns] }, kernel, bias) => {
  const out = new Float32Array(rows * columns);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
    const start = r * sy * wide + c * sx;
    let sum = bias;
    for (let i = 0; i < taps.length; i++) sum += padded[start + taps[i]] * kernel[i];
    out[r * columns + c] = sum;
  }
  return out;
};

// pure: everything about one pixel
export const traceState = (data, { row, column, output_channel, temperature }) => {
  const { padded, taps, wide, weight, bias, logits, kernels, stride, image_shape: [channels] } = data;
  const attention = logits ? softmax(Array.from(logits), temperature) : [1];
  const kernel = mix(weight, attention, taps.length, output_channel * kernels * taps.length);
  const ownBias = attention.reduce((sum, w, k) => sum + w * bias[output_channel * kernels + k], 0);
  const start = row * stride[0] * wide + column * stride[1], area = taps.length / channels;
  const patch = taps.map((tap) => padded[start + tap]), products = patch.map((v, i) => v * kernel[i]);
  const sums = Array.from({ length: channels }, (_, c) => products.slice(c * area, (c + 1) * area).reduce((a, b) => a + b, 0));
  return { attention, kernel, patch, products, sums, bias: ownBias, total: sums.reduce((a, b) => a + b, ownBias) };
};

// pure: rows and columns of the image that the patch of a pixel looks at, and which taps lie outside
export const reach = ({ image_shape: [, h, w], padding, kernel_size: [kh, kw], stride, dilation }, row, column) => {
  const at = (start, taps, gap) => Array.from({ length: taps }, (_, i) => start + i * gap);
  const rows = at(row * stride[0] - padding[0][0], kh, dilation[0]);
  const columns = at(column * stride[1] - padding[1][0], kw, dilation[1]);
  const outside = rows.flatMap((y) => columns.map((x) => y < 0 || y >= h || x < 0 || x >= w));
  return { rows, columns, outside };
};

// a number in as few signs as a cell has room for: −.25, 1.5, 12
const short = (v) => {
  const size = Math.abs(v);
  return v === 0 ? "0" : fixed(v, size >= 9.95 ? 0 : size >= 0.995 ? 1 : 2).replace("0.", ".");
};

// A canvas inside its padding, with a frame (drawn twice, dark under bright) around what is looked at, and a dot on each
// tap if dilation spreads them.
const framed = (canvas, [height, width], [[top, bottom], [left, right]] = [[0, 0], [0, 0]]) => {
  const high = height + top + bottom, wide = width + left + right, share = (v, all) => `${(100 * v) / all}%`;
  canvas.style.cssText = `left: ${share(left, wide)}; top: ${share(top, high)}; width: ${share(width, wide)}; `
    + `height: ${share(height, high)}`;
  const overlay = sheet([-left, -top, wide, high], { "aria-hidden": "true", preserveAspectRatio: "none" });
  const lines = ["dc-frame-dark", "dc-frame-bright"].map((name) => svg("path", { class: name }));
  const dots = svg("path", { class: "dc-taps" });
  overlay.append(...lines, dots);
  const node = element("span", { class: "dc-framed", style: `aspect-ratio: ${wide} / ${high}` }, canvas, overlay);
  const box = (y, x, h, w) => `M${x} ${y}h${w}v${h}h${-w}z`;
  const draw = (rows, columns, spread) => {
    const last = rows.length - 1, end = columns.length - 1;
    const frame = box(rows[0], columns[0], rows[last] - rows[0] + 1, columns[end] - columns[0] + 1);
    lines.forEach((line) => line.setAttribute("d", frame));
    dots.setAttribute("d", spread ? rows.flatMap((y) => columns.map((x) => box(y + 0.25, x + 0.25, 0.5, 0.5))).join("") : "");
  };
  return { node, draw };
};

// Values as colours, and as numbers while there is room for them.
const grid = (height, width) => {
  const view = picture(height, width, ""), small = Math.max(height, width) <= 5;
  view.node.style.aspectRatio = `${width} / ${height}`;
  const cells = Array.from({ length: height * width }, () => element("span", {}));
  const node = element("div", { class: `dc-grid${small ? "" : " dc-many"}`, style: `--columns: ${width}` }, view.node,
    element("div", { class: "dc-cells", "aria-hidden": "true" }, ...cells));
  const draw = (name, values, palette, low, high, outside = []) => {
    view.node.setAttribute("aria-label", name);
    view.draw(values, palette, low, high);
    cells.forEach((cell, i) => {
      const level = (values[i] - low) / (high - low || 1);
      say(cell, small ? short(values[i]) : "");
      const dark = palette === "grey" ? level < 0.5 : Math.abs(level - 0.5) > 0.3;
      dress(cell, `${dark ? "dc-bright" : "dc-dark"}${outside[i] ? " dc-outside" : ""}`);
    });
  };
  return { node, draw };
};

const strongestOf = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);

const sign = (text) => element("span", { class: "dc-sign" }, text);

// One input channel: patch × kernel = products, and their sum.
const channelRow = ([kh, kw], channels) => {
  const [patch, kernel, products] = [0, 1, 2].map(() => grid(kh, kw));
  const sum = element("strong", { class: "dc-value" }), caption = element("span", {});
  const node = element("div", { class: "dc-term" },
    element("div", { class: "dc-half" }, captioned(patch.node, caption), sign("×"), captioned(kernel.node, "kernel")),
    element("div", { class: "dc-half" }, sign("="), captioned(products.node, "products"), sign("sum"), sum));
  const draw = (c, values, { strongest, most, imageLimits, outside }) => {
    const name = channels === 1 ? "" : ` of channel ${c}`;
    say(caption, `patch${name}`);
    patch.draw(`patch${name}`, values.patch, "grey", ...imageLimits, outside);
    kernel.draw(`kernel${name}`, values.kernel, "rdbu", -strongest, strongest);
    products.draw(`products${name}`, values.products, "rdbu", -most, most);
    say(sum, fixed(values.sum, 3));
  };
  return { node, draw };
};

// The kernel of a dynamic layer: each of the K, what it counts, and the mix of them.
const kernelSum = ({ kernels, image_shape: [channels], kernel_size: [kh, kw] }) => {
  const stackOf = (label) => {
    const views = Array.from({ length: Math.min(SHOWN, channels) }, () => picture(kh, kw, "", "dc-kernel"));
    views.forEach((view) => { view.node.style.aspectRatio = `${kw} / ${kh}`; });
    return { label, views, node: element("div", { class: "dc-kernel-stack" }, ...views.map((view) => view.node)) };
  };
  const stacks = Array.from({ length: kernels }, (_, k) => stackOf(`kernel ${k + 1}`)), mixed = stackOf("mixed kernel");
  const share = bars(kernels, "attention of this image");
  const shares = stacks.map(() => element("span", { class: "dc-weight" }));
  const term = (before, figure) => element("div", { class: "dc-half" }, sign(before), figure); // a line breaks before a sign
  const terms = stacks.map(({ node }, k) => term(k ? "+" : "", captioned(node, kernelMark(k), " × ", shares[k])));
  const node = element("div", { class: "dc-row dc-mixture" }, captioned(share.node, "attention of this image"), ...terms,
    term("=", captioned(mixed.node, "mixed kernel")));
  const drawStack = ({ label, views }, from, values, strongest) => views.forEach((view, i) => {
    const c = from + i;
    view.node.setAttribute("aria-label", `${label}, input channel ${c}`);
    view.draw(values.subarray(c * kh * kw, (c + 1) * kh * kw), "rdbu", -strongest, strongest);
  });
  const draw = (from, own, { attention, kernel }, strongest) => {
    share.draw(attention);
    stacks.forEach((stack, k) => {
      drawStack(stack, from, own.subarray(k * kernel.length, (k + 1) * kernel.length), strongest);
      say(shares[k], percent(attention[k]));
    });
    drawStack(mixed, from, kernel, strongest);
  };
  return { node, draw };
};

// What belongs to an output channel whatever its pixel and temperature: K kernels and maps, and the scales of their colours.
const channelCache = (data) => {
  const kept = new Map(), { weight, bias, kernels, taps, map_shape: [rows, columns] } = data;
  return (o) => {
    if (kept.has(o)) return kept.get(o);
    const own = weight.subarray(o * kernels * taps.length, (o + 1) * kernels * taps.length);
    const maps = new Float32Array(kernels * rows * columns);
    for (let k = 0; k < kernels; k++) {
      const kernel = own.subarray(k * taps.length, (k + 1) * taps.length);
      maps.set(convolve(data, kernel, bias[o * kernels + k]), k * rows * columns);
    }
    kept.set(o, { own, maps, limits: range(maps), strongest: strongestOf(own) });
    return kept.get(o);
  };
};

// The output map: a button, so that it takes the focus; a tap, a drag or an arrow key picks a pixel.
const pixelPicker = (framedMap, [rows, columns], get, set, settled) => {
  const pick = (r, c) => set(Math.max(0, Math.min(rows - 1, r)), Math.max(0, Math.min(columns - 1, c)));
  const node = element("button", {
    type: "button", class: "dc-picker", "data-lm-suppress-shortcuts": "true",
  }, framedMap, element("span", { class: "dc-hint" }, "output map: tap a pixel, drag, or use the arrow keys"));
  const point = (event, box = framedMap.getBoundingClientRect()) => {
    const down = (event.clientY - box.top) / box.height, across = (event.clientX - box.left) / box.width;
    pick(Math.floor(down * rows), Math.floor(across * columns));
  };
  node.addEventListener("pointerdown", (event) => {
    if (event.clientY > framedMap.getBoundingClientRect().bottom) return; // the words are no pixels
    node.setPointerCapture(event.pointerId);
    point(event);
  });
  node.addEventListener("pointermove", (event) => { if (node.hasPointerCapture(event.pointerId)) point(event); });
  node.addEventListener("pointerup", settled);
  node.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault(); // the page must not scroll away under the map
    event.stopPropagation();
    const [r, c] = get();
    pick(r + step[0], c + step[1]);
    settled();
  });
  return node;
};

// pure: the sums of the channels from `from` on that are shown, and of all others as one number, null if there are none
export const shownSums = (sums, from) => {
  const total = (values) => values.reduce((a, b) => a + b, 0), others = [...sums.slice(0, from), ...sums.slice(from + SHOWN)];
  return { shown: sums.slice(from, from + SHOWN), others: others.length ? total(others) : null, hidden: others.length };
};

const inWords = (data, { row, column, output_channel, input_channel, temperature }, state, { rows, columns, outside }) => {
  const span = (places) => [...new Set([places[0], places[places.length - 1]])].map((v) => fixed(v, 0)).join(" to ");
  const { shown, others, hidden } = shownSums(state.sums, input_channel);
  const parts = shown.map((v, i) => (state.sums.length > 1 ? `${fixed(v, 3)} from channel ${input_channel + i}` : fixed(v, 3)));
  if (hidden) parts.push(`${fixed(others, 3)} from the other ${hidden}`);
  const missing = outside.filter(Boolean).length, best = indexOfMax(state.attention);
  const padding = missing ? `; ${missing} of its ${outside.length} positions lie outside and count as zero` : "";
  const mixed = data.logits ? ` At T = ${number(temperature)} this image gives kernel ${best + 1} `
    + `${percent(state.attention[best])}; every pixel of the map has the same mixed kernel.` : "";
  return `The pixel in row ${row}, column ${column} of output channel ${output_channel} is ${fixed(state.total, 4)}: `
    + `the products sum to ${parts.join(", ")}, and the bias adds ${fixed(state.bias, 3)}. Its patch spans `
    + `image rows ${span(rows)} and columns ${span(columns)}${padding}.${mixed}`;
};

const render = ({ model, el }) => {
  const raw = JSON.parse(model.get("data")), { image_shape: shape, map_shape: [rows, columns], kernel_size: size } = raw;
  const [channels, h, w] = shape, area = size[0] * size[1];
  const image = decode(raw.image), padded = pad(image, shape, raw.padding);
  const arrays = { padded, weight: decode(raw.weight), bias: decode(raw.bias), logits: raw.logits && decode(raw.logits) };
  const data = { ...raw, ...tapsOf(raw), ...arrays }, imageLimits = range(padded), channelOf = channelCache(data);

  const place = (label, trait, most) => slider({
    label, min: 0, max: most - 1, step: 1, value: model.get(trait), show: (v) => v.toFixed(0),
    changed: () => redraw(), settled: () => store(),
  });
  const row = place("row", "row", rows), column = place("column", "column", columns);
  const output = place("output channel", "output_channel", data.outputs);
  const input = place("input channels from", "input_channel", Math.max(1, channels - SHOWN + 1));
  const temperature = data.logits && slider({
    label: "temperature T", min: 0.1, max: 100, step: 0.01, log: true, value: model.get("temperature"),
    changed: () => redraw(), settled: () => store(),
  });
  const seen = channels > SHOWN ? "first of the shown input channels" : "image";
  const photo = photograph([h, w], "the image", "dc-pixels");
  if (channels <= SHOWN) photo.draw(image, ...range(image));
  const map = picture(rows, columns, "the output map", "dc-pixels");
  const patchFrame = framed(photo.node, [h, w], data.padding), pixelFrame = framed(map.node, [rows, columns]);
  const picker = pixelPicker(pixelFrame.node, [rows, columns], () => [row.get(), column.get()],
    (r, c) => { row.set(r); column.set(c); redraw(); }, () => store());
  const mixture = data.logits && kernelSum(data);
  const terms = Array.from({ length: Math.min(SHOWN, channels) }, () => channelRow(size, channels));
  const swatch = picture(1, 1, "colour of the pixel", "dc-swatch"), total = element("strong"), addends = element("span");
  const equation = element("p", { class: "dc-equation" }, swatch.node, " ", total, addends);

  const drawTerms = (from, state, outside, { strongest }) => {
    const scales = { strongest, most: strongestOf(state.products), imageLimits, outside };
    terms.forEach((term, i) => {
      const c = from + i, part = (values) => values.slice(c * area, (c + 1) * area);
      const values = { patch: part(state.patch), kernel: part(state.kernel), products: part(state.products), sum: state.sums[c] };
      term.draw(c, values, scales);
    });
    const { shown, others, hidden } = shownSums(state.sums, from);
    const values = [...shown, ...(hidden ? [others] : []), state.bias].map((v, i) =>
      (i ? `${v < 0 ? "−" : "+"} ${fixed(Math.abs(v), 3)}` : fixed(v, 3)));
    if (hidden) values[values.length - 2] += ` (the other ${hidden} channels)`;
    say(total, fixed(state.total, 4));
    say(addends, ` = ${values.join(" ")} (bias)`);
  };
  const ownT = temperature && { // null stands for the layer's own
    get: temperature.get, set: (T) => temperature.set(T ?? data.temperature), valid: temperature.valid,
  };
  const draw = () => {
    const at = { row: row.get(), column: column.get(), output_channel: output.get(), input_channel: input.get(),
      temperature: temperature?.get() };
    const state = traceState(data, at), places = reach(data, at.row, at.column), channel = channelOf(at.output_channel);
    map.draw(mix(channel.maps, state.attention, rows * columns), "viridis", ...channel.limits);
    swatch.draw([state.total], "viridis", ...channel.limits);
    patchFrame.draw(places.rows, places.columns, Math.max(...data.dilation) > 1);
    pixelFrame.draw([at.row], [at.column], false);
    mixture?.draw(at.input_channel, channel.own, state, channel.strongest);
    drawTerms(at.input_channel, state, places.outside, channel);
    if (channels > SHOWN) photo.draw(image.subarray(at.input_channel * h * w, (at.input_channel + 1) * h * w), ...range(image));
    return inWords(data, at, state, places);
  };
  el.classList.add("dc-trace");
  const { redraw, store, remove } = instrument({
    model, el, draw,
    controls: { row, column, output_channel: output, input_channel: input, ...(ownT && { temperature: ownT }) },
    body: [
      element("div", { class: "dc-controls" }, row.node, column.node, ...(data.outputs > 1 ? [output.node] : []),
        ...(channels > SHOWN ? [input.node] : []), ...(temperature ? [temperature.node] : [])),
      element("div", { class: "dc-row" }, captioned(patchFrame.node, `${seen}: patch framed, zero padding striped`), picker),
      ...(mixture ? [mixture.node] : []), ...terms.map((term) => term.node), equation,
    ],
  });
  return remove;
};

export default widget(render);

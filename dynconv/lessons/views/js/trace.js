// Trace: one output pixel of a convolution, back to the patch, the kernel, the products and the bias it is made of.

import {
  between,
  decoded,
  element,
  fixed,
  indexOfMax,
  instrument,
  largestSize,
  mix,
  number,
  part,
  percent,
  photograph,
  picture,
  range,
  softmax,
  sum,
  temperatureSlider,
  wholeSlider,
} from "./toolkit.js";
import { playButton } from "./play.js";
import { equationOf, framed, kernelFigure, pixelPicker, sumFigure } from "./trace_view.js";

const SHOWN = 3; // input channels side by side
const [SLOWEST, WHOLE] = [150, 12_000]; // milliseconds a pixel, at most, and for all of a map

// pure: the image with its zero padding around it
export const pad = (image, [channels, h, w], [[top, bottom], [left, right]]) => {
  const high = h + top + bottom;
  const wide = w + left + right;
  const out = new Float32Array(channels * high * wide);
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < h; y++) out.set(part(image, c * h + y, w), (c * high + y + top) * wide + left);
  }
  return out;
};

const count = (length) => Array.from({ length }, (_, i) => i);

// pure: where in the padded image each tap of the kernel looks, seen from the patch's first pixel, channel by channel
export const tapsOf = ({ image_shape: [channels, h, w], padding, kernel_size: [kh, kw], dilation: [dy, dx] }) => {
  const high = h + padding[0][0] + padding[0][1];
  const wide = w + padding[1][0] + padding[1][1];
  const rowOf = (c, i) => count(kw).map((j) => (c * high + i * dy) * wide + j * dx);
  return { taps: count(channels).flatMap((c) => count(kh).flatMap((i) => rowOf(c, i))), wide };
};

// pure: all pixels of one output channel under one kernel
export const convolve = ({ padded, taps, wide, stride: [sy, sx], map_shape: [rows, columns] }, kernel, bias) => {
  const out = new Float32Array(rows * columns);
  for (let pixel = 0; pixel < out.length; pixel++) {
    const start = Math.floor(pixel / columns) * sy * wide + (pixel % columns) * sx;
    let total = bias;
    for (let i = 0; i < taps.length; i++) total += padded[start + taps[i]] * kernel[i];
    out[pixel] = total;
  }
  return out;
};

// pure: everything about one pixel
export const traceState = (data, { row: y, column: x, output_channel, temperature }) => {
  const { padded, taps, wide, weight, bias, logits, kernels, stride } = data;
  const [channels] = data.image_shape;
  const attention = logits ? softmax(Array.from(logits), temperature) : [1];
  const kernel = mix(part(weight, output_channel, kernels * taps.length), attention, taps.length);
  const ownBias = sum(attention.map((w, k) => w * bias[output_channel * kernels + k]));
  const start = y * stride[0] * wide + x * stride[1];
  const area = taps.length / channels;
  const patch = taps.map((tap) => padded[start + tap]);
  const products = patch.map((v, i) => v * kernel[i]);
  const sums = count(channels).map((c) => sum(products.slice(c * area, (c + 1) * area)));
  return { attention, kernel, patch, products, sums, bias: ownBias, total: sums.reduce((a, b) => a + b, ownBias) };
};

// pure: rows and columns of the image that the patch of a pixel looks at, and which taps lie outside
export const reach = ({ image_shape: [, h, w], padding, kernel_size: [kh, kw], stride, dilation }, y, x) => {
  const rows = count(kh).map((i) => y * stride[0] - padding[0][0] + i * dilation[0]);
  const columns = count(kw).map((j) => x * stride[1] - padding[1][0] + j * dilation[1]);
  const inside = (v, size) => v >= 0 && v < size;
  const outside = rows.flatMap((r) => columns.map((c) => !(inside(r, h) && inside(c, w))));
  return { rows, columns, outside };
};

// pure: the sums of the channels from `from` on that are shown, and of all others as one number, null if there are none
export const shownSums = (sums, from) => {
  const others = [...sums.slice(0, from), ...sums.slice(from + SHOWN)];
  return { shown: sums.slice(from, from + SHOWN), others: others.length ? sum(others) : null, hidden: others.length };
};

// pure: with how many decimals numbers up to `most` are written: in whole numbers of such units none has more than four digits
export const decimalsFor = (most) => {
  const power = Math.ceil(Math.log10(most || 1));
  return between(power > -3 ? 4 - Math.max(0, power) : 2 - power, 0, 9);
};

// pure: whole numbers with the sum `target`, none a whole one away from its value: those that would lose most are rounded up
export const roundedTo = (values, target) => {
  const whole = Array.from(values, Math.floor);
  const lost = whole.map((v, i) => values[i] - v);
  const order = lost.map((_, i) => i).sort((a, b) => lost[b] - lost[a]);
  for (const i of order.slice(0, target - sum(whole))) whole[i] += 1;
  return whole;
};

// pure: the numbers as they are printed. They add up: products (in whole units) to their channel's sum, sums and bias to the pixel.
export const printedOf = ({ products, sums, bias, total }, from, decimals) => {
  const unit = 10 ** decimals;
  const { shown, others, hidden } = shownSums(sums, from);
  const addends = [...shown, ...(hidden ? [others] : []), bias];
  const all = Math.round(total * unit);
  const whole = roundedTo(addends.map((v) => v * unit), all); // prettier-ignore
  const area = products.length / sums.length;
  const own = (i) => products.slice((from + i) * area, (from + i + 1) * area).map((v) => v * unit);
  const parts = whole.map((v) => v / unit);
  return {
    products: shown.map((_, i) => roundedTo(own(i), whole[i])),
    sums: parts.slice(0, shown.length),
    others: hidden ? parts[shown.length] : 0,
    bias: parts.at(-1),
    total: all / unit,
    hidden,
  };
};

// What belongs to an output channel whatever its pixel and temperature: K kernels and maps, and the scales of their colours.
const channelCache = (data) => {
  const { weight, bias, kernels, taps } = data;
  const [rows, columns] = data.map_shape;
  const kept = new Map();
  const make = (o) => {
    const own = part(weight, o, kernels * taps.length);
    const maps = new Float32Array(kernels * rows * columns);
    count(kernels).forEach((k) => {
      maps.set(convolve(data, part(own, k, taps.length), bias[o * kernels + k]), k * rows * columns);
    });
    const strongest = largestSize(own);
    const decimals = { kernel: decimalsFor(strongest), products: decimalsFor(strongest * data.brightest) };
    return { own, maps, limits: range(maps), strongest, decimals };
  };
  return (o) => {
    if (!kept.has(o)) kept.set(o, make(o));
    return kept.get(o);
  };
};

const read = (raw) => {
  const [channels, h, w] = raw.image_shape;
  const data = { ...decoded(raw, "image", "weight", "bias", "logits"), ...tapsOf(raw) };
  const padded = pad(data.image, [channels, h, w], raw.padding);
  const light = { imageLimits: range(padded), brightest: largestSize(padded) };
  const whole = { ...data, padded, ...light, area: raw.kernel_size[0] * raw.kernel_size[1] };
  const size = { shown: Math.min(SHOWN, channels), isCut: channels > SHOWN, isDynamic: Boolean(raw.logits) };
  return { ...whole, ...size, channelOf: channelCache(whole) };
};

const state = (data, values) => {
  const channel = data.channelOf(values.output_channel);
  const pixel = traceState(data, values);
  const area = data.map_shape[0] * data.map_shape[1];
  const map = mix(channel.maps, pixel.attention, area);
  const from = values.input_channel;
  const printed = printedOf(pixel, from, channel.decimals.products);
  const logits = data.logits && Array.from(data.logits);
  const most = largestSize(pixel.products);
  return { ...pixel, ...reach(data, values.row, values.column), channel, map, from, printed, logits, most };
};

// null stands for the layer's own
const temperatureOf = (own) => {
  const inner = temperatureSlider();
  return { ...inner, set: (T) => inner.set(T ?? own), valid: (T) => T === null || inner.valid(T) };
};

// A control that tells when anybody moves it, but for whoever plays.
const overheard = (inner) => {
  const own = { ...inner, play: inner.set, moved: () => {} };
  own.set = (value) => {
    own.moved();
    inner.set(value);
  };
  return own;
};

const controls = (data) => {
  const upTo = (label, most) => wholeSlider(label, 0, most - 1);
  const [rows, columns] = data.map_shape;
  return {
    row: overheard(upTo("row", rows)),
    column: overheard(upTo("column", columns)),
    output_channel: upTo("output channel", data.outputs),
    input_channel: upTo("input channels from", data.image_shape[0] - data.shown + 1),
    ...(data.isDynamic && { temperature: temperatureOf(data.temperature) }),
  };
};

// The image, whole or the first of the input channels that are shown, with the patch framed.
const imageView = (data) => {
  const { image, isCut } = data;
  const [, h, w] = data.image_shape;
  const photo = photograph([h, w], "the image", "dc-pixels");
  const frame = framed(photo.node, [h, w], data.padding);
  const spread = Math.max(...data.dilation) > 1;
  if (!isCut) photo.draw(image, ...range(image));
  const draw = ({ rows, columns, from }) => {
    frame.draw(rows, columns, spread);
    const channel = part(image, from, h * w);
    if (isCut) photo.draw(channel, ...range(channel));
  };
  return { node: frame.node, draw };
};

// The button that slides the kernel over the image, row by row, from the pixel that is picked.
const slideButton = ([rows, columns], { row: y, column: x }) => {
  const set = (pixel) => {
    y.play(Math.floor(pixel / columns));
    x.play(pixel % columns);
  };
  const scrub = { get: () => y.get() * columns + x.get(), set, inputs: [y.input, x.input] };
  const last = rows * columns - 1;
  const pace = Math.min(SLOWEST, WHOLE / (last + 1));
  const button = playButton(scrub, () => last, pace, columns);
  y.moved = button.stop;
  x.moved = button.stop;
  return button;
};

// takes away what the kernel has not come to
const clearAfter = (canvas, [rows, columns], { row: y, column: x }) => {
  const brush = canvas.getContext("2d");
  brush.clearRect(x + 1, y, columns, 1);
  brush.clearRect(0, y + 1, columns, rows);
};

// The output map, where a pixel is picked; while the kernel slides it fills.
const mapView = ({ map_shape }, { row: y, column: x }) => {
  const map = picture(...map_shape, "the output map", "dc-pixels");
  const frame = framed(map.node, map_shape);
  const node = pixelPicker(frame.node, map_shape, { row: y, column: x });
  const draw = (shown, limits, values, isFilling) => {
    map.draw(shown, "viridis", ...limits);
    if (isFilling) clearAfter(map.node, map_shape, values);
    frame.draw([values.row], [values.column], false);
  };
  return { node, draw };
};

// The sliders, and what comes out of them: the one stays beside the other on a phone, too.
const slidersOf = (data, all, ...below) => {
  const { row: y, column: x, output_channel, input_channel, temperature } = all;
  const many = [...(data.outputs > 1 ? [output_channel] : []), ...(data.isCut ? [input_channel] : [])];
  const shown = [y, x, ...many, ...(temperature ? [temperature] : [])];
  return element("div", { class: "dc-controls" }, ...shown.map((one) => one.node), ...below);
};

const view = (data, all) => {
  const image = imageView(data);
  const map = mapView(data, all);
  const slide = slideButton(data.map_shape, all);
  const figures = [...(data.isDynamic ? [kernelFigure(data)] : []), sumFigure(data, image.node, map.node)];
  const equation = equationOf();
  const seen = data.isCut ? (from) => `channel ${from}, patch framed` : () => "patch framed";
  return {
    body: [slidersOf(data, all, slide.node, equation.node), ...figures.map((one) => one.node)],
    draw: (now, values) => {
      image.draw(now);
      map.draw(now.map, now.channel.limits, values, slide.playing());
      figures.at(-1).note("image", seen(now.from));
      for (const one of figures) one.draw(now);
      equation.draw(now);
    },
    playing: slide.playing,
    remove: () => [slide.stop, ...figures.map((one) => one.remove)].forEach((end) => end()),
  };
};

// the products' sums, channel by channel
const partsInWords = ({ sums, others, hidden }, from, names, say) => {
  const named = (v, i) => (names.length > 1 ? `${say(v)} from ${names[from + i]}` : say(v));
  return [...sums.map(named), ...(hidden ? [`${say(others)} from the other ${hidden}`] : [])].join(", ");
};

const spanInWords = (places) => [...new Set([places[0], places.at(-1)])].map((v) => fixed(v, 0)).join(" to ");

const patchInWords = ({ rows, columns, outside }) => {
  const missing = outside.filter(Boolean).length;
  const padding = missing ? `; ${missing} of its ${outside.length} positions lie outside and count as zero` : "";
  return `Its patch spans image rows ${spanInWords(rows)} and columns ${spanInWords(columns)}${padding}.`;
};

const mixInWords = ({ attention }, temperature) => {
  const best = indexOfMax(attention);
  return (
    ` At T = ${number(temperature)} this image gives ${percent(attention[best])} to kernel ${best + 1}; `
    + "every pixel of the map has the same mixed kernel."
  );
};

const words = (data, now, { row: y, column: x, output_channel, temperature }) => {
  const { printed, channel, from } = now;
  const text = (v) => fixed(v, channel.decimals.products);
  return (
    `The pixel in row ${y}, column ${x} of output channel ${output_channel} is ${text(printed.total)}: the products sum to `
    + `${partsInWords(printed, from, data.channels, text)}, and the bias adds ${text(printed.bias)}. `
    + `${patchInWords(now)}${data.isDynamic ? mixInWords(now, temperature) : ""}`
  );
};

export default instrument({ className: "dc-trace", read, controls, state, view, words });

// Dynamic convolution: one image on its way through the layer, with the wire that leads from it to its kernel; beside it the
// shares of the others, to choose from; one's own images too.

import { diagram } from "./diagram.js";
import { thumbnails } from "./thumbnails.js";
import {
  decoded,
  effectiveNumber,
  element,
  errorOf,
  indexOfMax,
  instrument,
  kernelMark,
  kernelsSlider,
  largestSize,
  mix,
  number,
  part,
  percent,
  range,
  scaled,
  showParts,
  softmax,
  temperatureSlider,
} from "./toolkit.js";
import { uploader } from "./upload.js";

// pure: attention, mixed kernel and map of every image, or of those at the places in `which`
export const dynamicState = (data, { temperature, num_kernels }, which = data.images.map((_, b) => b)) => {
  const { logits, kernels, maps, kernelArea, area, total } = data;
  return which.map((b) => {
    const weights = softmax(Array.from(part(logits, b, total).subarray(0, num_kernels)), temperature);
    return { weights, kernel: mix(kernels, weights, kernelArea), map: mix(maps, weights, area, b * total * area) };
  });
};

// pure: the arrays of what Python sent
const read = (raw) => {
  const [kh, kw] = raw.kernel_shape;
  const [mh, mw] = raw.map_shape;
  const data = decoded(raw, "logits", "kernels", "maps", "images", "squeeze", "hidden", "wanted");
  const tiles = Array.from({ length: raw.total }, (_, k) => part(data.kernels, k, kh * kw));
  return { ...data, tiles, kernelArea: kh * kw, area: mh * mw, strongest: largestSize(data.maps) };
};

// pure: which image is shown, all that is seen of it, and the shares of all
const state = (data, values) => {
  const b = Math.max(0, data.names.indexOf(values.image)); // who was chosen may have made room for a newer upload
  const shares = data.names.map((_, i) => dynamicState({ ...data, area: 0, kernelArea: 0 }, values, [i])[0].weights);
  const [shown] = dynamicState(data, values, [b]);
  const wanted = data.wanted?.[data.goals[b]];
  return { b, shares, ...shown, wanted, error: wanted && data.exact ? errorOf(shown.map, wanted) : null };
};

// Under each thumbnail that image's shares, one beside the other.
const shareStrips = (data) => {
  const parts = data.names.map(() => data.tiles.map((_, k) => kernelMark(k, "dc-part")));
  const strips = parts.map((marks) => element("span", { class: "dc-stack", "aria-hidden": "true" }, ...marks));
  const draw = (shares) =>
    shares.forEach((some, b) => showParts(parts[b], parts[b].map((_, k) => some[k] ?? 0))); // prettier-ignore
  return { strips, draw };
};

const controls = ({ total }) => ({
  image: thumbnails("image"),
  temperature: temperatureSlider(),
  num_kernels: kernelsSlider(total),
});

const result = ({ map_shape: size, wanted, strongest }) =>
  wanted
    ? [
        { picture: "map", size, title: "restored", note: " " },
        { picture: "wanted", size, title: "wanted", note: " " },
      ]
    : [
        { picture: "map", size, title: "feature map", note: " ", signed: true, full: strongest },
        { scale: "scale", full: strongest },
      ];

const spec = (data) => ({
  label: "a dynamic convolution: the image decides how much of each kernel it gets",
  stages: [
    { picture: "image", size: data.image_shape, title: "image", note: " " },
    {
      vector: "squeeze",
      count: data.squeeze_count,
      reach: data.squeeze_reach,
      title: "squeeze",
      note: data.squeeze_words,
    },
    { vector: "hidden", count: data.hidden_count, reach: data.hidden_reach, title: "hidden", note: "ReLU" },
    {
      rows: data.total,
      columns: [
        {
          bars: "z",
          reach: Math.max(1, Math.ceil(largestSize(data.logits))),
          title: "logit z",
          note: "from this image",
        },
        { shares: "pi", title: "share π", note: "softmax of z ÷ T" },
        { tiles: "kernel", size: data.kernel_shape, title: "kernel", note: "one scale" },
      ],
    },
    { picture: "mixed", size: data.kernel_shape, kernel: true, title: "mixed kernel", note: "for this image" },
    { op: "conv", sign: "∗" },
  ],
  results: result(data),
  wires: [
    { from: "image", to: "squeeze", kind: "live" },
    { from: "squeeze", to: "hidden", kind: "live" },
    { from: "hidden", to: "z", kind: "live" },
    { from: "image", to: "conv", kind: "data", around: true, title: "the image that is convolved" },
    { from: "mixed", to: "conv", kind: "data" },
    { from: "conv", to: "map", kind: "data" },
  ],
  ribbons: [{ from: "kernel", to: "mixed", share: "pi" }],
});

// what is wanted sets the scale of all three pictures; without it each is on its own
const pictures = (data, { b, map, wanted }) => {
  const limits = range(wanted ?? data.images[b]);
  const image = scaled(data.images[b], limits);
  if (!data.wanted) return { image, map };
  return { image, map: scaled(map, limits), wanted: wanted ? scaled(wanted, limits) : new Float32Array(data.area) };
};

const notes = (figure, data, { b, error, wanted }) => {
  const before = data.before?.[b];
  figure.note("image", before === undefined || before === null ? data.names[b] : `error ${before.toFixed(3)}`);
  figure.note("map", error === null ? data.names[b] : `error ${error.toFixed(3)}`);
  if (data.wanted) figure.note("wanted", wanted ? data.names[b] : "not known");
};

const drawing = (data) => {
  const figure = diagram(spec(data));
  const of = (array, b, count) => part(array, b, count);
  const draw = (shown) => {
    const { b, weights, kernel } = shown;
    const computed = {
      squeeze: of(data.squeeze, b, data.squeeze_count),
      hidden: of(data.hidden, b, data.hidden_count),
      z: Array.from(of(data.logits, b, data.total)).slice(0, weights.length),
    };
    figure.draw({ ...pictures(data, shown), ...computed, pi: weights, kernel: data.tiles, mixed: kernel }, b);
    notes(figure, data, shown);
  };
  return { figure, draw };
};

const view = (first, { image, temperature, num_kernels }, { model }) => {
  let strips;
  let drawn;
  const place = element("div");
  const about = element("p", { class: "dc-about" });
  const upload = uploader(model, first);
  // at first, and when an image has been added
  const load = (data) => {
    drawn?.figure.remove();
    drawn = drawing(data);
    place.replaceChildren(drawn.figure.node);
    strips = shareStrips(data);
    const offered = data.names.map((name, b) => {
      const array = scaled(data.images[b], range(data.images[b]));
      return { name, size: data.image_shape, array, below: strips.strips[b] };
    });
    image.offer(offered);
    about.textContent = data.about;
    about.hidden = !data.about;
  };
  const draw = (shown) => {
    drawn.draw(shown);
    strips.draw(shown.shares);
  };
  const remove = () => {
    upload.remove();
    drawn.figure.remove();
  };
  const sliders = element("div", { class: "dc-controls" }, temperature.node, num_kernels.node);
  return { body: [image.node, sliders, about, place, upload.node], load, draw, remove };
};

// how far apart the images are in any one kernel's attention
const spreadOf = (shares) => {
  const spreads = shares[0].map((_, k) => range(shares.map((one) => one[k])));
  return Math.max(...spreads.map(([low, high]) => high - low));
};

const words = (data, { b, weights, shares, error }, { temperature, num_kernels: K }) => {
  const best = indexOfMax(weights);
  const before = data.before?.[b];
  const gain =
    error === null ? "" : ` The error ${before ? `goes from ${before.toFixed(3)} to` : "is"} ${error.toFixed(3)}.`;
  const apart = `Between the images a kernel's share differs by up to ${(100 * spreadOf(shares)).toFixed(1)} percentage points.`;
  return (
    `At T = ${number(temperature)}, ${data.names[b]} gives ${percent(weights[best])} to kernel ${best + 1} and uses `
    + `${number(effectiveNumber(weights))} of ${K} kernels effectively.${gain} ${shares.length > 1 ? apart : ""}`
  ).trim();
};

export default instrument({ className: "dc-dynamic", read, controls, state, view, words });

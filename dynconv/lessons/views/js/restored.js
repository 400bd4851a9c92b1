// Pictures that a network restores while it learns: which one, what it was given and what is wanted; and for each run the kernel
// that it mixes for the picture, and what that makes of it.

import { diagram } from "./diagram.js";
import { conv2d, decoded, errorOf, mix, range, scaled } from "./mathematics.js";
import { thumbnails } from "./thumbnails.js";
import { fixed } from "./words.js";

// pure: of a picture the part that starts at `edge`
const cut = (array, width, edge, [h, w]) => {
  const out = new Float32Array(h * w);
  for (let y = 0; y < h; y++) out.set(array.subarray((y + edge) * width + edge, (y + edge) * width + edge + w), y * w);
  return out;
};

// pure: what Python sent, for kernels of `size` pixels; null where there are no pictures
export const readPictures = (raw, size) => {
  if (!raw.names) return null;
  const { images, wanted } = decoded(raw, "images", "wanted");
  const [height, width] = raw.shape;
  const reached = [height - size + 1, width - size + 1];
  const goals = raw.goals.map((goal) => wanted[goal]);
  const inner = images.map((image) => cut(image, width, size >> 1, reached));
  return { ...raw, images, goals, inner, reached, size, limits: goals.map(range) };
};

// pure: the kernel that picture b gets from a record, the picture restored with it, and its error
export const restoredBy = ({ kernels, shares, biases }, { images, goals, shape, reached, size }, b) => {
  const stack = Float32Array.from(kernels.flatMap((kernel) => Array.from(kernel)));
  const mixed = mix(stack, shares[b], size * size);
  const bias = biases ? mix(biases, shares[b], 1)[0] : 0;
  const picture = cut(conv2d(images[b], ...shape, mixed, size), shape[1], size >> 1, reached).map((v) => v + bias);
  return { mixed, picture, error: errorOf(picture, goals[b]) };
};

// The control that chooses a picture; where there are none, nothing is to be chosen and the trait is empty.
export const pictureChoice = (pictures) => {
  if (!pictures) return { node: "", get: () => "", set: () => {}, fixed: () => true, valid: (v) => v === "" };
  const { names, images, shape, limits } = pictures;
  const control = thumbnails("picture");
  control.offer(names.map((name, b) => ({ name, size: shape, array: scaled(images[b], limits[b]) })));
  return control;
};

export const placeOf = (pictures, image) => Math.max(0, pictures?.names.indexOf(image) ?? 0);

const strip = (label, ...stages) => diagram({ label, class: "dc-strip", stages });

// What is given and what is wanted, side by side.
export const givenAndWanted = ({ reached: size, before, inner, goals, limits }) => {
  const pair = [
    { picture: "given", size, title: "damaged", note: " " },
    { picture: "wanted", size, title: "wanted", note: "the clean photo" },
  ];
  const figure = strip("what the networks are given, and what is wanted", ...pair);
  const draw = (b) => {
    figure.draw({ given: scaled(inner[b], limits[b]), wanted: scaled(goals[b], limits[b]) });
    if (before[b] !== null) figure.note("given", `error ${fixed(before[b], 3)}`);
  };
  return { node: figure.node, draw, remove: figure.remove };
};

// What one run makes of the picture: its mixed kernel, on the scale of its kernels that ends at `full`, and the picture in the
// greys of what is wanted.
export const restoredPicture = ({ reached, size, limits }, of) => {
  const kernel = { picture: "mixed", size: [size, size], signed: true, full: 1, class: "dc-mix" };
  const figure = strip(
    `restored by ${of}`,
    { ...kernel, title: "mixed", note: "kernel" },
    { picture: "restored", size: reached, title: "restored", note: " " },
  );
  const draw = (b, { mixed, picture, error }, full) => {
    figure.draw({ mixed: mixed.map((v) => v / full), restored: scaled(picture, limits[b]) });
    figure.note("restored", `error ${fixed(error, 3)}`);
  };
  return { node: figure.node, draw, remove: figure.remove };
};

// In words: from which error to which.
export const errorInWords = ({ before, names }, b, errors) => {
  const from = before[b] === null ? "" : ` from ${fixed(before[b], 3)}`;
  return `The error of the picture with ${names[b]} goes${from} to ${errors.join(", ")}.`;
};

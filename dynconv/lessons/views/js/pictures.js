// Pictures: arrays as colours. A canvas is as wide as its style says, and keeps its array's proportions.

import { element } from "./elements.js";
import { between, part } from "./mathematics.js";
import { SIGNED, SIGNED_DARK, VIRIDIS } from "./palettes.js";

const GREY = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));

// 256 colours as the canvas keeps them: alpha, blue, green, red
const packed = (palette) =>
  Uint32Array.from({ length: 256 }, (_, i) => {
    const [r, g, b] = part(palette, i, 3);
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });

const PALETTES = {
  viridis: packed(VIRIDIS),
  grey: packed(GREY),
  signed: packed(SIGNED),
  signedDark: packed(SIGNED_DARK),
};

const canvasOf = ([height, width], label, className) => {
  const canvas = element("canvas", {
    width,
    height,
    role: "img",
    "aria-label": label,
    class: `dc-picture ${className}`,
  });
  const context = canvas.getContext("2d");
  return { canvas, context, pixels: context.createImageData(width, height) };
};

// A small canvas that shows one array through a palette between `low` and `high`.
export const picture = (height, width, label, className = "") => {
  const { canvas, context, pixels } = canvasOf([height, width], label, className);
  const data = new Uint32Array(pixels.data.buffer);
  const draw = (array, palette, low, high) => {
    const colours = PALETTES[palette];
    const scale = 255 / (high - low || 1);
    for (let i = 0; i < data.length; i++) data[i] = colours[between(Math.round((array[i] - low) * scale), 0, 255)];
    context.putImageData(pixels, 0, 0);
  };
  return { node: canvas, draw };
};

// A canvas for one to three channels as colours: grey; red and cyan; red, green and blue. `light` dims pixel i below 1.
export const photograph = (size, label, className = "") => {
  const { canvas, context, pixels } = canvasOf(size, label, `dc-photo ${className}`);
  const area = size[0] * size[1];
  const draw = (image, low = 0, high = 1, light = () => 1) => {
    const scale = 255 / (high - low || 1);
    const last = image.length / area - 1;
    for (let i = 0; i < area; i++) {
      const bright = scale * light(i);
      for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = (image[Math.min(c, last) * area + i] - low) * bright;
      pixels.data[4 * i + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
  };
  return { node: canvas, draw };
};

// The dynamic layer on the chosen photo: what it looks at, the K kernels in their shares, their mix, and what that restores.

import { bars, signedBars } from "./bars.js";
import { captioned, row } from "./elements.js";
import { attend } from "./dynamic_network.js";
import { TAPS, WEIGHTS } from "./gram.js";
import { largestSize, part } from "./mathematics.js";
import { kernelPictures, photograph, picture } from "./pictures.js";
import { filtered, GREYS, revived, VIEW } from "./playground_scenes.js";
import { fixed } from "./words.js";

const SIZE = [9, 9];
const REACH = 5; // of a logit's bar

const photoOf = (name) => {
  const view = photograph([VIEW, VIEW], name, "dc-main");
  return { node: captioned(view.node, name), draw: (image) => view.draw(image, ...GREYS) };
};

export const chosen = (most) => {
  const [damaged, restored, clean] = ["damaged", "restored by its mix", "clean"].map(photoOf);
  const logits = signedBars(most, "logits", (v) => fixed(v, 1));
  const shares = bars(most, "shares of the mix");
  const kernels = kernelPictures(most, SIZE);
  const mixed = picture(...SIZE, "the mixed kernel", "dc-mixed");
  const tiles = row("dc-tiles", ...kernels.map((one) => one.node));
  const node = row(
    "dc-chosen",
    damaged.node,
    captioned(logits.node, "logits z, from this image"),
    captioned(shares.node, "softmax(z / T)"),
    tiles,
    captioned(mixed.node, "mixed kernel"),
    restored.node,
    clean.node,
  );
  const drawKernels = (values, K, kernel) => {
    const own = Array.from({ length: K }, (_, k) => part(values, k, WEIGHTS).subarray(0, TAPS));
    const full = Math.max(...own.map(largestSize)); // one scale for all of them and their mix
    own.forEach((one, k) => kernels[k].drawSigned(one, full));
    kernels.forEach((one, k) => one.node.classList.toggle("dc-unused", k >= K));
    mixed.drawSigned(kernel.subarray(0, TAPS), full);
  };
  const draw = (news, scene) => {
    const { K, own, kernel, logits: z, shares: pi } = attend(revived(news.dynamic), scene.seen, news.T);
    damaged.draw(scene.damaged);
    clean.draw(scene.clean);
    logits.draw(Array.from(z), REACH);
    shares.draw(Array.from(pi));
    drawKernels(own.value.kernels, K, kernel);
    restored.draw(filtered(scene, kernel));
  };
  return { node, draw };
};
